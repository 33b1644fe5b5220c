"""One run of the story: a served board with five tokens, a repository, sources, and the team at work."""

import json
import re
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import anyio

from tests.lying_team.liar import Deed, Liar, Told
from tests.lying_team.library import DOCUMENTS, Library
from tests.lying_team.lies import SECRET, told
from tests.lying_team.members import Honest
from tests.lying_team.story import CLIENT, COUNTED, HEAD, QUESTIONS, SIDE
from tests.outside import commit, delm_here, git, http_client, opened_by_cli, repository, serving

HONEST = ("ada", "bob", "cyd", "dot")
ROUNDS_MAX = 60
WITHIN_S = 55.0
_POLICY = """\
preset = "{preset}"

[peers]
approvals = {approvals}
peer_wait_s = 5

[limits]
decide_grace_s = 0
"""


@dataclass
class Played:
    """What became of a run, as its members and its owner see it through their tools.

    Attributes:
        entries: Every entry by its label, as `read_context` answers.
        judges: Who gave the verdicts on the liar's entries.
        flagged: The entries whose line in the context warns of them.
        answers: What the run's answer says to each question, and whether that is right.
        cases: What honest verifiers were given, by entry.
        refused: Proposals of honest members that were turned down, with the reason.
        names: Who is behind an agent's name.
    """

    preset: str
    state: str
    told: list[Told]
    deeds: list[Deed]
    entries: dict[str, dict[str, Any]]
    context: str
    flagged: set[str]
    answers: dict[str, "Answered"]
    cases: dict[str, str]
    verdicts: dict[str, str]
    refused: list[tuple[str, str]]
    names: dict[str, str]
    judges: list[str]
    calls: int
    audit: str
    audit_code: int
    leaked: bool
    took_s: float = 0.0
    reached: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Answered:
    """The answer to one question. `attested`: what it rests on is marked as its author's word only."""

    said: str
    right: bool
    missing: bool
    attested: bool


async def play(preset: str, seed: int = 1, approvals: int = 1, plain: bool = False) -> Played:
    """Play the story under a preset, in a folder of its own.

    Args:
        seed: Decides who acts when, and in which order lies are told.
        approvals: How many peers must approve an entry, where the preset asks for peers.
        plain: Only the lies that dodge nothing.
    """
    began, chance = time.monotonic(), Random(seed)  # noqa: S311 - a story, not a secret
    with tempfile.TemporaryDirectory(prefix="lying-team-") as folder:
        home = Path(folder) / "kestrel"
        facts = await anyio.to_thread.run_sync(_open, home, preset, approvals)
        board = Path(facts["board"])
        with anyio.fail_after(WITHIN_S):
            async with _team(board, home, facts, chance, plain) as (liar, honest):
                await _work(liar, honest, chance)
                played = await _seen(preset, liar, honest)
        done = await anyio.to_thread.run_sync(lambda: delm_here("audit", "--board", board, cwd=home))
        exported = await anyio.to_thread.run_sync(lambda: delm_here("export", "--board", board, cwd=home))
    played.audit, played.audit_code = done.out + done.err, done.code
    played.leaked = SECRET in exported.out or SECRET in played.context
    played.took_s = time.monotonic() - began
    return played


def _open(home: Path, preset: str, approvals: int) -> dict[str, Any]:
    """A repository with a run on it, a commit that only the liar stands behind, and five tokens."""
    repository(home, {"client.ini": CLIENT, ".gitignore": "policy.toml\ntasks.json\n"})
    (home / "policy.toml").write_text(_POLICY.format(preset=preset, approvals=approvals), encoding="utf-8")
    tasks = [
        {
            "subject": f"{question.key}: {question.asks}",
            "detail": f"Propose it with key={question.key}." if question.key != COUNTED else "",
        }
        for question in QUESTIONS
    ]
    (home / "tasks.json").write_text(json.dumps(tasks), encoding="utf-8")
    sources = [word for path in sorted(DOCUMENTS.iterdir()) for word in ("--source", path)]
    facts = opened_by_cli(
        home,
        "Answer the questions about Kestrel",
        "--tasks-file",
        "tasks.json",
        "--policy",
        str(home / "policy.toml"),
        "--check",
        'quorum=grep -q "^write_quorum = 2$" client.ini',
        *sources,
    )
    git(home, "checkout", "-q", "-b", "side")
    facts["side"] = commit(home, {"client.ini": CLIENT.replace("quorum = 2", "quorum = 1")}, "mine")
    git(home, "checkout", "-q", "main")
    facts["tokens"] = {}
    for name in (*HONEST, "liar"):
        # The liar's token is bound to no name, so that it can come as two agents.
        bound = ["--agent", name] if name != "liar" else []
        made = delm_here("token", "create", name, *bound, "--board", facts["board"], cwd=home)
        facts["tokens"][name] = made.out.strip()
    return facts


@asynccontextmanager
async def _team(
    board: Path, home: Path, facts: Mapping[str, Any], chance: Random, plain: bool
) -> AsyncIterator[tuple[Liar, list[Honest]]]:
    """The five, each with a connection of its own to a server in a process of its own."""
    places = {HEAD: facts["base"], SIDE: facts["side"]}
    library, slips = Library(home), {"recovery"}
    lies = told(plain=plain)
    chance.shuffle(lies[1])
    failure: Exception | None = None
    async with AsyncExitStack() as stack:
        served = stack.enter_context(serving(board, "--commands", "process"))
        clients = {
            name: await stack.enter_async_context(http_client(served.url, token=secret))
            for name, secret in facts["tokens"].items()
        }
        honest = [Honest(name, clients[name], dict(places), library=library, slips=slips) for name in HONEST]
        try:
            yield Liar("liar", clients["liar"], dict(places), lies=lies), honest
        except Exception as error:  # leaves as it is, and not in the groups of five connections
            failure = error
    if failure is not None:
        raise failure


async def _work(liar: Liar, honest: list[Honest], chance: Random) -> None:
    """In turns, so that a seed says everything: after each honest member the liar has its slot."""
    await liar.begin()
    wait_s = 0.0
    for _ in range(ROUNDS_MAX):
        order = chance.sample(honest, len(honest))
        busy = False
        for member in order:
            busy = await member.turn(wait_s) or busy
            if member.over not in {"", "open"}:
                return
            await liar.slot()
            wait_s = 0.0
        wait_s = 0.0 if busy else 2.0
    queue = (await liar.do("read_context", view="queue"))["text"]
    raise AssertionError(
        f"the run did not end within {ROUNDS_MAX} rounds:\n{queue}\n{[m.refused for m in honest]}"
    )


async def _seen(preset: str, liar: Liar, honest: list[Honest]) -> Played:
    """What a reader finds out afterwards."""
    reader = honest[0]
    read = await reader.do("read_context", budget_tokens=60_000)
    entries = await _entries(reader)
    refused = [row for member in honest for row in member.refused]
    return Played(
        preset=preset,
        state=read["run_state"],
        told=liar.told,
        deeds=liar.deeds,
        entries=entries,
        context=read["text"],
        flagged=set(re.findall(r"^v\d+ \+ (E\d+) [^:]*flagged:", read["text"], re.MULTILINE)),
        answers=await _answers(reader, entries),
        cases={label: text for member in honest for label, text in member.cases.items()},
        verdicts={label: text for member in honest for label, text in member.verdicts.items()},
        refused=refused,
        names={liar.agent: "the liar", liar.puppet: "the liar's second agent"},
        judges=await _judges(reader, liar),
        calls=liar.calls + sum(member.calls for member in honest),
        audit="",
        audit_code=-1,
        leaked=False,
        reached={label for label in entries if f" + {label} " in read["text"]},
    )


async def _entries(reader: Honest) -> dict[str, dict[str, Any]]:
    """Every entry of the run, by asking for one after the other until there are no more."""
    found: dict[str, dict[str, Any]] = {}
    while True:
        label = f"E{len(found) + 1}"
        read = await reader.call("read_context", entries=[label], budget_tokens=20_000)
        if read.is_error:
            return found
        found[label] = read["items"][0]


async def _judges(reader: Honest, liar: Liar) -> list[str]:
    """Who gave the verdicts on the liar's entries, one by one."""
    found = []
    for label in sorted(liar.labels):
        why = await reader.do("read_context", entries=[label], view="why", budget_tokens=20_000)
        found += [row["agent"] for row in why["items"][0].get("verdicts", [])]
    return found


async def _answers(reader: Honest, entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Answered]:
    """The admitted answer's lines, against what is true."""
    answer = next(
        (label for label, e in entries.items() if (e["kind"], e["state"]) == ("answer", "admitted")), ""
    )
    if not answer:
        return {}
    read = await reader.do("read_context", entries=[answer], level="summary", budget_tokens=20_000)
    said = dict(
        line.removeprefix("| ").split(": ", 1) for line in read["text"].splitlines() if line.startswith("| ")
    )
    found: dict[str, Answered] = {}
    for question in QUESTIONS:
        words, _, labels = said[question.key].partition(" [")
        cited = [entries[label] for label in labels.rstrip("]").split(", ") if label]
        value = words if question.key == COUNTED else question.answer(_all_gists(cited))[0]
        found[question.key] = Answered(
            said=value or "nothing",
            right=value == question.true,
            missing=not cited,
            attested=any(entry["strength"] == "attested" for entry in cited),
        )
    return found


def _all_gists(cited: list[Mapping[str, Any]]) -> str:
    return " ".join(str(entry["gist"]) for entry in cited)
