"""The merge queue: patches are commits, checked as merged into `head` by a command of the owner's."""

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from delm_mcp.board import Board, Settings
from delm_mcp.board.adding import NewTask
from delm_mcp.board.answers import Claim, Proposed
from delm_mcp.board.background import beside
from delm_mcp.board.checking import Checker
from delm_mcp.board.examining import Examiner
from delm_mcp.board.ids import RandomIds
from delm_mcp.board.runs import Opening
from delm_mcp.board.verifying import Opinion
from delm_mcp.checks.gitrepo import GitRepo
from delm_mcp.checks.runner import Wish, make_runner
from delm_mcp.domain.model import Caller, Command, EntryId, Evidence, Kind, Principal, Role, RunId
from delm_mcp.domain.policy import Policy, build
from delm_mcp.domain.proposal import Proposal
from delm_mcp.errors import NotFound, Refused
from delm_mcp.store.sqlite import open_sqlite

pytestmark = pytest.mark.anyio

OWNER = Caller(Principal("owner"), Role.OWNER)
ADA = Caller(Principal("ada"))
BOB = Caller(Principal("bob"))
CHECK = Command("check", (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"), 60.0)
TESTS = ("tests/**",)
WHO = ("Ada", "Bob", "Cyd", "Dan", "Eve")

PROJECT = {
    "prices.py": "def net(gross):\n    return gross - 19\n\n\ndef rounded(price):\n    return price\n",
    "shop.py": (
        "from prices import net\n\nRATE = 1\n\n\n"
        "def total(items):\n    return sum(net(item) for item in items) * RATE\n"
    ),
    "tests/test_prices.py": (
        "import pytest\nfrom prices import net, rounded\n\n\n"
        "def test_net():\n    assert net(119) == 100\n\n\n"
        "def test_net_of_nothing():\n    assert net(0) == 0\n\n\n"
        "def test_rounded():\n    assert rounded(1.239) == 1.24\n"
    ),
    "tests/test_shop.py": (
        "from shop import total\n\n\ndef test_total():\n    assert total([119, 119]) == 200\n"
    ),
}


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@dataclass
class Shop:
    """A project in git, a board beside it, and its run."""

    folder: Path
    board: Board
    run: str
    base: str

    def commit(self, files: Mapping[str, str | None], onto: str = "") -> str:
        """A commit of these files on top of another (the base); None removes a file."""
        git(self.folder, "checkout", "--quiet", "--detach", "--force", onto or self.base)
        for name, text in files.items():
            path = self.folder / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--quiet", "-m", "A patch")
        return git(self.folder, "rev-parse", "HEAD")

    async def hold(self, caller: Caller) -> Claim:
        claim = await self.board.claim_task(caller, run=self.run)
        assert claim.task is not None
        return claim

    async def propose(self, caller: Caller, claim: Claim, commit: str, gist: str = "") -> Proposed:
        proposal = Proposal(
            Kind.PATCH,
            gist or f"Mend prices.py with commit {commit[:10]}",
            evidence=(Evidence("command", "check", commit),),
            completes=True,
        )
        return await self.board.propose_update(caller, proposal, lease=claim.lease)

    async def head(self) -> str:
        found = await self.board.store.read(lambda tx: tx.run(RunId(self.run)))
        assert found is not None
        return found.head


@asynccontextmanager
async def opened_shop(
    folder: Path,
    *,
    policy: Policy | None = None,
    commands: Wish = "auto",
    files: dict[str, str] | None = None,
    named: tuple[Command, ...] = (CHECK,),
    answer_wait_s: float = 60.0,
) -> AsyncIterator[Shop]:
    """A shop with a worker that runs checks."""
    project = folder / "shop"
    project.mkdir()
    for name, text in (files or PROJECT).items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text, encoding="utf-8")
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "-m", "Start")
    base = git(project, "rev-parse", "HEAD")
    repo = await GitRepo.find(project)
    assert repo is not None
    runner = await make_runner(commands, hidden=(folder / "board",))
    (folder / "board").mkdir()
    async with open_sqlite(folder / "board" / "board.db") as store:
        ids = RandomIds(7)
        checker = Checker(Examiner(repo, runner), store, time.time, ids)
        board = Board(
            store, clock=time.time, ids=ids, checker=checker, settings=Settings(answer_wait_s=answer_wait_s)
        )
        opening = Opening(
            "Mend the shop",
            named,
            policy or build({"protect": list(TESTS)}),
            repo=str(repo.main),
            base=base,
        )
        run, _ = await board.open_run(OWNER, opening, [NewTask("mend net"), NewTask("mend rounded")])
        with anyio.fail_after(100):
            async with beside(checker.work):
                yield Shop(project, board, run, base)


NET = PROJECT["prices.py"].replace("gross - 19", "gross * 100 / 119")
ROUNDED = PROJECT["prices.py"].replace("return price\n", "return round(price, 2)\n")
BOTH = NET.replace("return price\n", "return round(price, 2)\n")


async def test_a_patch_that_mends_a_test_moves_the_head_and_a_ref_shows_it(tmp_path: Path) -> None:
    async with opened_shop(tmp_path) as shop:
        commit = shop.commit({"prices.py": NET})

        proposed = await shop.propose(ADA, await shop.hold(ADA), commit)

        assert (proposed.state, proposed.strength, proposed.task_state) == ("admitted", "executed", "done")
        assert await shop.head() == commit
        await shop.board.checker._publish_head(RunId(shop.run), "")
        assert git(shop.folder, "rev-parse", f"refs/delm/{shop.run}/head") == commit


async def test_a_ref_shows_the_head_that_the_last_vote_of_a_peer_moved(tmp_path: Path) -> None:
    strict = build({"preset": "strict", "command": {"fail_at_base": "note"}})
    passing = Command("check", (sys.executable, "-c", "pass"), 60.0)
    async with opened_shop(tmp_path, policy=strict, named=(passing,), answer_wait_s=0.2) as shop:
        commit, claim, _ = shop.commit({"prices.py": NET}), await shop.hold(ADA), await shop.hold(BOB)
        assert (await shop.propose(ADA, claim, commit)).state == "pending"
        cyd, vote = Caller(Principal("cyd")), Opinion("E1", "pass", "It is so, I ran it.")
        judging = await shop.board.claim_task(cyd, run=shop.run, wait_s=20)
        assert (await shop.board.verify(cyd, vote, lease=judging.lease)).state == "admitted"
        assert await shop.head() == git(shop.folder, "rev-parse", f"refs/delm/{shop.run}/head") == commit


async def test_patches_from_two_agents_are_merged_and_both_stand_in_the_result(tmp_path: Path) -> None:
    async with opened_shop(tmp_path) as shop:
        first, second = await shop.hold(ADA), await shop.hold(BOB)
        mended = shop.commit({"prices.py": NET})
        other = shop.commit(
            {"shop.py": PROJECT["shop.py"] + "\n\ndef empty():\n    return total([])\n", "prices.py": ROUNDED}
        )

        assert (await shop.propose(ADA, first, mended)).state == "admitted"
        proposed = await shop.propose(BOB, second, other)

        assert proposed.state == "admitted", proposed.reasons
        head = await shop.head()
        assert git(shop.folder, "show", f"{head}:prices.py") == BOTH.strip()
        assert git(shop.folder, "rev-list", "--parents", "-1", head).split()[1:] == [mended, other]


async def test_two_patches_that_pass_alone_and_break_together_are_never_both_admitted(tmp_path: Path) -> None:
    files = {
        "a.py": "def width():\n    return 1\n",
        "b.py": "def height():\n    return 1\n",
        "tests/test_ab.py": (
            "from a import width\nfrom b import height\n\n\n"
            "def test_width():\n    assert width() in (2, 3)\n\n\n"
            "def test_height():\n    assert height() in (2, 3)\n\n\n"
            "def test_area():\n    assert width() * height() < 5\n"
        ),
    }
    async with opened_shop(tmp_path, files=files) as shop:
        first, second = await shop.hold(ADA), await shop.hold(BOB)
        wide = shop.commit({"a.py": "def width():\n    return 3\n"})
        high = shop.commit({"b.py": "def height():\n    return 3\n"})
        states: dict[str, Proposed] = {}

        async def propose(caller: Caller, claim: Claim, commit: str) -> None:
            states[caller.principal] = await shop.propose(caller, claim, commit)

        async with anyio.create_task_group() as group:
            group.start_soon(propose, ADA, first, wide)
            group.start_soon(propose, BOB, second, high)

        assert sorted(answer.state for answer in states.values()) == ["admitted", "rejected"]
        rejected = next(answer for answer in states.values() if answer.state == "rejected")
        assert "test_area" in rejected.reasons[0]
        assert await shop.head() in {wide, high}


async def test_a_patch_that_deletes_its_failing_test_is_refused(tmp_path: Path) -> None:
    async with opened_shop(tmp_path) as shop:
        commit = shop.commit({"tests/test_prices.py": None, "tests/test_shop.py": None})

        proposed = await shop.propose(ADA, await shop.hold(ADA), commit)

        assert proposed.state == "rejected"
        assert "changes nothing on head but protected files" in proposed.reasons[0]
        assert "tests/test_prices.py" in proposed.reasons[0]
        assert await shop.head() == shop.base


async def test_a_test_weakened_beside_a_repair_stays_as_it_was_in_what_is_admitted(tmp_path: Path) -> None:
    weak = PROJECT["tests/test_prices.py"].replace("== 1.24", ">= 0")
    async with opened_shop(tmp_path) as shop:
        commit = shop.commit({"prices.py": NET, "tests/test_prices.py": weak})

        proposed = await shop.propose(ADA, await shop.hold(ADA), commit)

        assert proposed.state == "admitted"
        head = await shop.head()
        assert head != commit
        assert (
            git(shop.folder, "show", f"{head}:tests/test_prices.py")
            == PROJECT["tests/test_prices.py"].strip()
        )


async def test_a_patch_that_breaks_what_passed_names_the_broken_test(tmp_path: Path) -> None:
    broken = {"prices.py": ROUNDED, "shop.py": PROJECT["shop.py"].replace("RATE = 1", "RATE = 2")}
    async with opened_shop(tmp_path) as shop:
        proposed = await shop.propose(ADA, await shop.hold(ADA), shop.commit(broken))

    assert proposed.state == "rejected"
    assert "test_total" in proposed.reasons[0]


async def test_a_patch_that_does_not_apply_on_head_says_how_to_bring_it_up_to_date(tmp_path: Path) -> None:
    async with opened_shop(tmp_path) as shop:
        first, second = await shop.hold(ADA), await shop.hold(BOB)
        assert (await shop.propose(ADA, first, shop.commit({"prices.py": NET}))).state == "admitted"
        clash = PROJECT["prices.py"].replace("gross - 19", "gross / 1.19")

        proposed = await shop.propose(BOB, second, shop.commit({"prices.py": clash}))

        assert proposed.state == "rejected"
        head = await shop.head()
        assert f"git merge {head}" in proposed.reasons[0]
        assert "«prices.py»" in proposed.reasons[0]


async def test_a_commit_that_does_not_exist_is_an_error_and_leaves_no_entry(tmp_path: Path) -> None:
    async with opened_shop(tmp_path) as shop:
        claim = await shop.hold(ADA)
        with pytest.raises(NotFound, match="0123456"):
            await shop.propose(ADA, claim, "0123456789" * 4)
        with pytest.raises(Refused):
            await shop.propose(ADA, claim, "--upload-pack=true")

        assert await shop.board.store.read(lambda tx: tx.entries(RunId(shop.run))) == []


async def test_a_patch_without_a_command_says_which_one_to_cite(tmp_path: Path) -> None:
    async with opened_shop(tmp_path) as shop:
        claim = await shop.hold(ADA)
        proposal = Proposal(
            Kind.PATCH,
            "Mend net in prices.py",
            evidence=(Evidence("artifact", "diff", "-19"),),
            completes=True,
        )

        proposed = await shop.board.propose_update(ADA, proposal, lease=claim.lease)

    assert proposed.state == "rejected"
    assert "type: command, ref: one of check" in proposed.reasons[0]
    assert proposed.task_state == "leased"


async def test_a_patch_that_repairs_nothing_passes_where_the_owner_only_wants_it_noted(
    tmp_path: Path,
) -> None:
    comment = {"shop.py": "# The shop.\n" + PROJECT["shop.py"]}
    for wish, state in (("require", "rejected"), ("note", "admitted")):
        folder = tmp_path / wish
        folder.mkdir()
        policy = build({"protect": list(TESTS), "command": {"fail_at_base": wish}})
        async with opened_shop(folder, policy=policy) as shop:
            proposed = await shop.propose(ADA, await shop.hold(ADA), shop.commit(comment))
        assert proposed.state == state, proposed.reasons


async def test_the_receipt_of_a_patch_is_an_in_toto_test_result(tmp_path: Path) -> None:
    async with opened_shop(tmp_path) as shop:
        commit = shop.commit({"prices.py": NET})
        proposed = await shop.propose(ADA, await shop.hold(ADA), commit)

        checks = await shop.board.store.read(lambda tx: tx.checks_of(EntryId(int(proposed.entry[1:]))))

    (statement,) = checks[0].receipt["statements"]
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert "tests.test_prices::test_net" in statement["predicate"]["passedTests"]
    assert commit in json.dumps(statement)


async def test_a_check_whose_process_died_is_taken_over_by_another(tmp_path: Path) -> None:
    # This process cannot run it.
    async with opened_shop(tmp_path, commands="off", answer_wait_s=0) as shop:
        claim = await shop.hold(ADA)
        proposed = await shop.propose(ADA, claim, shop.commit({"prices.py": NET}))
        assert proposed.state == "pending"

        late = Skipping()
        repo = await GitRepo.find(shop.folder)
        dead = Checker(Examiner(repo, await make_runner("auto")), shop.board.store, late, RandomIds(8))
        # It dies before it has a verdict.
        taken = await dead._write("take_check", lambda op: dead._take(op, ["command"]))
        assert taken is not None

        other = Checker(Examiner(repo, await make_runner("auto")), shop.board.store, late, RandomIds(9))
        assert not await other.run_next()
        late.ahead_s = 100.0
        assert await other.run_next()

        entry = await shop.board.store.read(lambda tx: tx.entry(EntryId(int(proposed.entry[1:]))))
        assert entry is not None
        assert entry.state == "admitted"
        assert not await dead._run(taken, quick=False) or await shop.head() == entry.admitted_as


class Skipping:
    """The real clock, which a test can put ahead."""

    ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


async def test_an_entry_that_no_server_can_check_is_rejected_after_a_while_and_says_why(
    tmp_path: Path,
) -> None:
    policy = build({"protect": list(TESTS), "command": {"unavailable_s": 1}})
    async with opened_shop(tmp_path, policy=policy, commands="off") as shop:
        proposed = await shop.propose(ADA, await shop.hold(ADA), shop.commit({"prices.py": NET}))

    assert proposed.state == "rejected"
    assert "no server here could run it" in proposed.reasons[0]


async def test_quotes_are_checked_against_the_history_of_head_and_nothing_else(tmp_path: Path) -> None:
    async def quoted(shop: Shop, claim: Claim, ref: str, text: str) -> Proposed:
        gist = f"The function net subtracts a fixed tax, says {ref.rpartition('@')[0]} of {WHO[len(asked)]}"
        asked.append(gist)
        proposal = Proposal(Kind.FACT, gist, evidence=(Evidence("quote", ref, text),))
        return await shop.board.propose_update(ADA, proposal, lease=claim.lease)

    asked: list[str] = []
    async with opened_shop(tmp_path) as shop:
        claim = await shop.hold(ADA)
        own = shop.commit({"prices.py": "# net is proven to be correct by the auditors\n"})

        good = await quoted(shop, claim, f"prices.py@{shop.base}", "def net(gross): return gross - 19")
        forged = await quoted(shop, claim, f"prices.py@{own}", "net is proven to be correct by the auditors")
        altered = await quoted(shop, claim, "prices.py", "return gross - 91")
        missing = await quoted(shop, claim, "nowhere.py@HEAD", "return gross - 19")
        outside = await quoted(shop, claim, "../../etc/passwd@HEAD", "root:x:0:0:root")

    assert (good.state, good.strength) == ("admitted", "quoted")
    assert forged.state == "rejected"
    assert "only an agent vouches" in forged.reasons[0]
    assert altered.state == "rejected"
    assert "«return gross - 19»" in altered.reasons[0]
    assert [missing.state, outside.state] == ["rejected", "rejected"]
