"""Each pair on a real board: SQLite, the examiner, and a git repository whose history has three commits.

Every pair has a run of its own, so no pair can see another. What stands on the board before it is put
there through the board as well, under the policy that lets it get there.
"""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from delm_mcp.board import Board, Settings
from delm_mcp.board.adding import NewTask
from delm_mcp.board.answers import Proposed
from delm_mcp.board.checking import Checker
from delm_mcp.board.examining import Examiner
from delm_mcp.board.ids import RandomIds
from delm_mcp.board.runs import Opening
from delm_mcp.checks.gitrepo import GitRepo
from delm_mcp.checks.runner import make_runner
from delm_mcp.domain.model import (
    Caller,
    Command,
    Entry,
    EntryId,
    EntryState,
    Evidence,
    Kind,
    Principal,
    Role,
    RunId,
    Verdict,
)
from delm_mcp.domain.policy import CheckName, build, dump
from delm_mcp.domain.proposal import Proposal
from delm_mcp.errors import DelmError
from delm_mcp.store.base import Tx
from delm_mcp.store.sqlite import SqliteStore, open_sqlite
from tests.boards import Clock, Dying
from tests.gate_corpus.corpus import Draft, Pair, Step, digest, documents, repository, with_secrets

OWNER = Caller(Principal("owner"), Role.OWNER)
AUTHOR = Caller(Principal("ada"))
PEER = Caller(Principal("bob"))

JUDGEMENT = (CheckName.PEERS, CheckName.JUDGE)
COMMANDS = tuple(
    Command(name, (sys.executable, "check.py", *words), 60.0)
    for name, words in (("check", ()), ("limits", ("limits",)), ("leak", ("leak",)))
)
NO_ENTRY = 1_000_000  # a label that no board here reaches


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one pair under one preset.

    Attributes:
        outcome: `admitted`, `refused`, or `judgement`: every check that needs no judgement passed, and
            peers or a judge have the last word.
        caught_by: The check that refused it, or `call` when the board would not take the call at all.
        reason: What that check said.
        flags: What readers and verifiers are warned of.
    """

    pair: Pair
    preset: str
    outcome: str
    caught_by: str = ""
    reason: str = ""
    flags: tuple[str, ...] = ()

    @property
    def by_policy(self) -> bool:
        """The preset admits nothing of this kind, whether true or not: nothing in it can be checked."""
        return self.caught_by == CheckName.CHECKABLE

    @property
    def false_accept(self) -> bool:
        """A false pair that nobody stands against any more."""
        missed = not self.flags if self.pair.expect == "flagged" else True
        return not self.pair.true and self.outcome == "admitted" and missed

    @property
    def unseen(self) -> bool:
        """A false pair that no check without judgement saw."""
        missed = not self.flags if self.pair.expect == "flagged" else True
        return not self.pair.true and self.outcome != "refused" and missed

    @property
    def false_reject(self) -> bool:
        """A true pair that a check refused, other than for being uncheckable by policy."""
        return self.pair.true and self.outcome == "refused" and not self.by_policy

    @property
    def false_flag(self) -> bool:
        """A true pair that readers are warned of."""
        return self.pair.true and bool(self.flags)


@dataclass
class Scene:
    """An open board, the repository beside it, and the names of its commits."""

    board: Board
    store: SqliteStore
    clock: Clock
    ids: RandomIds
    checker: Checker
    repo: GitRepo
    commits: dict[str, str]
    elsewhere: int = 0
    last_entry: int = 0

    async def trial(self, pair: Pair, preset: str) -> Trial:
        """Propose a pair on a run of its own."""
        stand = await self.stand(preset)
        for step in pair.before:
            await stand.put(step)
        await stand.under(preset)
        try:
            proposed = await stand.propose(self.board, pair.draft)
        except DelmError as error:
            return Trial(pair, preset, "refused", "call", str(error))
        entry = await self._decided(proposed)
        return await self._judged(pair, preset, entry)

    async def stand(self, preset: str) -> "Stand":
        """A new run with its two agents."""
        opening = Opening(
            goal="Establish what is so",
            commands=COMMANDS,
            policy=build({"preset": preset}),
            sources=tuple(documents().items()),
            repo=str(self.repo.main),
            base=self.commits["head"],
        )
        run, _ = await self.board.open_run(OWNER, opening, [NewTask("look around")])
        agents = [(await self.board.claim_task(caller, run=run)).agent for caller in (AUTHOR, PEER)]
        return Stand(self, run, (AUTHOR, agents[0]), (PEER, agents[1]))

    async def _decided(self, proposed: Proposed) -> Entry:
        """The entry once everything that can run here has run."""
        self.last_entry = label = int(proposed.entry[1:])
        while True:
            entry = await self.store.read(lambda tx: tx.entry(EntryId(label)))
            assert entry is not None
            if entry.state is not EntryState.PENDING or not await self.checker.run_next():
                return entry

    async def _judged(self, pair: Pair, preset: str, entry: Entry) -> Trial:
        """Decide by receipts and open checks: peers and judges are not what is measured here."""
        against = [receipt for receipt in entry.receipts if receipt.verdict is not Verdict.PASS]
        refusing = [receipt for receipt in against if receipt.check not in JUDGEMENT]
        if refusing:
            return Trial(pair, preset, "refused", refusing[0].check, refusing[0].reason, entry.flags)
        if entry.state is EntryState.REJECTED and not against:
            return Trial(pair, preset, "refused", "fresh", entry.reason, entry.flags)
        if entry.state is EntryState.PENDING:
            checks = await self.store.read(lambda tx: tx.checks_of(entry.id))
            open_checks = {check.name for check in checks if not check.verdict}
            assert open_checks <= set(JUDGEMENT), (pair.id, open_checks)
            return Trial(pair, preset, "judgement", flags=entry.flags)
        return Trial(pair, preset, "judgement" if against else "admitted", flags=entry.flags)


@dataclass
class Stand:
    """One run, the two agents in it, and the entries that were put there by name."""

    scene: Scene
    run: str
    author: tuple[Caller, str]
    peer: tuple[Caller, str]

    def __post_init__(self) -> None:
        self.labels: dict[str, int] = {}

    async def under(self, preset: str) -> None:
        """Change the run's policy, as only its owner could before it opens."""

        def action(tx: Tx) -> None:
            run = tx.run(RunId(self.run))
            assert run is not None
            tx.update(run, replace(run, policy=dump(build({"preset": preset}))))

        await self.scene.store.write("set_policy", "owner", self.scene.clock(), action)

    async def put(self, step: Step) -> None:
        """Bring an entry into the state that the pair needs."""
        # Under `open` everything wellformed is admitted at once, under `standard` quotes are looked at.
        await self.under("standard" if step.state in {"pending", "rejected"} else "open")
        board = self.scene.board
        if step.state == "pending":
            dead = Dying(self.scene.checker.examiner, self.scene.store, self.scene.clock, self.scene.ids)
            board = Board(
                self.scene.store,
                clock=self.scene.clock,
                ids=self.scene.ids,
                checker=dead,
                settings=board.settings,
            )
        proposed = await self.propose(board, step.draft, by_author=step.by_author)
        label = self.scene.last_entry = self.labels[step.name] = int(proposed.entry[1:])
        if step.state == "superseded":
            heir = Draft(
                {
                    **step.draft.fields,
                    "gist": step.draft.fields["gist"] + " (seen again)",
                    "supersedes": [step.name],
                }
            )
            self.scene.last_entry = int((await self.propose(board, heir)).entry[1:])
        elif step.state in {"suspect", "retracted"}:
            await self._set_state(label, EntryState(step.state))
        found = await self.scene.store.read(lambda tx: tx.entry(EntryId(label)))
        assert found is not None
        assert found.state == step.state, (step.name, found.state, found.reason)

    async def _set_state(self, label: int, state: EntryState) -> None:
        def action(tx: Tx) -> None:
            entry = tx.entry(EntryId(label))
            assert entry is not None
            tx.update(entry, replace(entry, state=state))

        await self.scene.store.write("set_state", "owner", self.scene.clock(), action)

    async def propose(self, board: Board, draft: Draft, *, by_author: bool = True) -> Proposed:
        caller, agent = self.author if by_author else self.peer
        return await board.propose_update(caller, self._proposal(draft), agent=agent, run=self.run)

    def _proposal(self, draft: Draft) -> Proposal:
        fields = draft.fields
        return Proposal(
            kind=Kind(fields.get("kind", "fact")),
            gist=self._filled(fields["gist"]),
            summary=self._filled(fields.get("summary", "")),
            raw=self._filled(fields.get("raw", "")),
            scope=self._filled(fields.get("scope", "")),
            key=self._filled(fields.get("key", "")),
            evidence=tuple(
                Evidence(kind, self._filled(ref), self._filled(text)) for kind, ref, text in draft.evidence
            ),
            derived_from=tuple(map(self._label, draft.named("derived_from"))),
            supersedes=tuple(map(self._label, draft.named("supersedes"))),
        )

    def _label(self, name: str) -> int:
        special = {
            "itself": self.scene.last_entry + 1,
            "elsewhere": self.scene.elsewhere,
            "nowhere": NO_ENTRY,
        }
        return self.labels[name] if name in self.labels else special[name]

    def _filled(self, text: str) -> str:
        for name, commit in self.scene.commits.items():
            text = text.replace(f"{{{name}}}", commit)
        if "{sha256:" in text:
            for name in documents():
                text = text.replace(f"{{sha256:{name}}}", digest(name)[:16])
        return with_secrets(text)


@asynccontextmanager
async def scene_in(folder: Path) -> AsyncIterator[Scene]:
    """An empty board beside the corpus' repository."""
    project = folder / "ledger"
    commits = make_repository(project)
    repo = await GitRepo.find(project)
    assert repo is not None
    (folder / "board").mkdir()
    runner = await make_runner("auto", hidden=(folder / "board",))
    clock, ids = Clock(), RandomIds(3)
    async with open_sqlite(folder / "board" / "board.db", synchronous="OFF") as store:
        checker = Checker(Examiner(repo, runner), store, clock, ids)
        board = Board(
            store, clock=clock, ids=ids, checker=checker, settings=Settings(answer_wait_s=0.001, poll_s=0.05)
        )
        scene = Scene(board, store, clock, ids, checker, repo, commits)
        other = await scene.stand("open")
        evidence = [{"type": "artifact", "ref": "log", "text": "evictions: 12"}]
        seen = Draft({"gist": "The cache of another service is bounded", "evidence": evidence})
        scene.elsewhere = scene.last_entry = int((await other.propose(board, seen)).entry[1:])
        yield scene


def make_repository(folder: Path) -> dict[str, str]:
    """A repository with `older` and `head` on its main line, and `side`, which an agent committed."""
    folder.mkdir(parents=True)
    files = repository()
    older = {
        **files,
        "service.toml": files["service.toml"].replace(
            "pool_size = 25          # was 10 until release 5.6.0", "pool_size = 10"
        ),
        "CHANGELOG.md": files["CHANGELOG.md"].partition("## 5.8.1")[0]
        + "## 5.5.2"
        + files["CHANGELOG.md"].partition("## 5.5.2")[2],
    }
    side = {
        **files,
        "pool.py": files["pool.py"].replace("MAX_SIZE = 40\n", "MAX_SIZE = 400\n"),
        "NOTES.md": "# Notes\n\nThe auditors have proven the ledger's pool to be free of races.\n",
    }
    _git(folder, "init", "--quiet", "--initial-branch=main")
    commits = {"older": _commit(folder, older), "head": _commit(folder, files)}
    _git(folder, "checkout", "--quiet", "-b", "agent/notes")
    commits["side"] = _commit(folder, side)
    _git(folder, "checkout", "--quiet", "main")
    return commits


def _commit(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "-m", "Ledger")
    return _git(folder, "rev-parse", "HEAD")


def _git(folder: Path, *words: str) -> str:
    """Run git with fixed names and times, so that the commits are the same everywhere."""
    when = {"GIT_AUTHOR_DATE": "@1725360000 +0000", "GIT_COMMITTER_DATE": "@1725360000 +0000"}
    settings = [
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@localhost",
        "-c",
        "commit.gpgsign=false",
        "-c",
        "core.autocrlf=false",
    ]
    done = subprocess.run(
        ["git", *settings, *words],
        cwd=folder,
        env={**os.environ, **when},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
