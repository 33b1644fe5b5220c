"""The procedures behind `quotes`, `judge` and `command`: what is read, asked or run, and what it shows."""

from dataclasses import replace

from anyio import to_thread

from delm_mcp.board.bench import Bench, Memory
from delm_mcp.board.proposals import Finding, proposal_of
from delm_mcp.board.runs import Opening
from delm_mcp.board.spending import Spending, bill_for, refuse_spending
from delm_mcp.checks.gitrepo import GitRepo
from delm_mcp.checks.judge import Judge
from delm_mcp.checks.runner import Runner
from delm_mcp.domain import admission, quotes
from delm_mcp.domain.model import Entry, Evidence, Kind, Receipt, Run, Source, Verdict
from delm_mcp.domain.policy import CheckName, parse
from delm_mcp.domain.text import fenced, shortened
from delm_mcp.errors import CheckUnavailable, DelmError, NotFound


class Examiner:
    """Reads sources and runs commands for one process.

    Args:
        repo: The repository around this process, or None.
        runner: How commands are run; None when this process must not run any.
        judge: Asks models; None when this process must not ask any.
    """

    def __init__(
        self, repo: GitRepo | None = None, runner: Runner | None = None, judge: Judge | None = None
    ) -> None:
        self.repo = repo
        self.runner = runner
        self.judge = judge

    @property
    def can_run(self) -> tuple[str, ...]:
        """The checks that this process may take."""
        commands = (CheckName.COMMAND,) if self.runner and self.repo else ()
        return (CheckName.QUOTES, *commands, *((CheckName.JUDGE,) if self.judge else ()))

    @property
    def repo_name(self) -> str:
        """The repository that this process works in, as runs name it."""
        return str(self.repo.main) if self.repo else ""

    def _repo_of(self, run: Run) -> GitRepo:
        if self.repo is None or str(self.repo.main) != run.repo:
            raise CheckUnavailable(
                f"The repository of run {run.id}, {run.repo}, is not the one that this server works in.",
                "Start a server inside that repository.",
            )
        return self.repo

    async def opening(self) -> Opening:
        """A run on the repository around this process, from its current commit."""
        if self.repo is None:
            return Opening()
        try:
            return Opening(repo=str(self.repo.main), base=await self.repo.resolve("HEAD"))
        except NotFound:  # a repository without commits: nothing to check against yet
            return Opening()

    async def resolve(self, run: Run, rev: str) -> str:
        """The full commit behind a name. Raises: Refused: There is none."""
        return await self._repo_of(run).resolve(rev)

    async def publish_head(self, run: Run, label: str, head: str) -> None:
        """Point `refs/delm/<run>/head` (and one for the entry) at a commit, for agents to fetch."""
        repo = self._repo_of(run)
        for name in ([label] if label else []) + ["head"]:
            ref = f"refs/delm/{run.id}/{name}"
            await repo.set_ref(ref, head, await repo.read_ref(ref) or "")

    # -- quotes ----------------------------------------------------------------------------------

    async def quotes(self, entry: Entry, run: Run, sources: tuple[Source, ...]) -> Finding:
        """Find every quote in its source; keep where it stands."""
        found: list[Evidence] = []
        for number, item in enumerate(entry.evidence, 1):
            if item.type != "quote":
                found.append(item)
                continue
            name, text, problem = await self._source(run, item.ref.strip(), sources)
            place = await to_thread.run_sync(quotes.locate, text, item.text) if not problem else None
            if place is None:
                reason = problem or await to_thread.run_sync(_not_there, name, text, item.text)
                return Finding(Receipt(CheckName.QUOTES, Verdict.FAIL, f"evidence {number}: {reason}"))
            found.append(replace(item, at={**place, "source": name}))
        located = replace(proposal_of(entry), evidence=tuple(found))
        missing = await to_thread.run_sync(admission.unsupported_numbers, located)
        if missing:
            reason = f"the gist's {', '.join(missing[:5])} stands in no quote; quote where it comes from"
            return Finding(Receipt(CheckName.QUOTES, Verdict.FAIL, reason))
        count = sum(item.type == "quote" for item in found)
        return Finding(Receipt(CheckName.QUOTES, Verdict.PASS, f"{count} found"), evidence=tuple(found))

    async def _source(self, run: Run, ref: str, sources: tuple[Source, ...]) -> tuple[str, str, str]:
        """A source's name and text, or the problem with it."""
        for source in sources:
            if ref == source.name or (len(ref) >= 12 and source.sha256.startswith(ref)):
                return f"sha256:{source.sha256}", source.text, ""
        path, _, rev = ref.rpartition("@")
        if not run.repo or not (path or rev):
            return ref, "", _unknown_source(ref, sources, run)
        if not path:
            path, rev = rev, run.head
        repo = self._repo_of(run)
        try:
            commit = await repo.resolve(rev)
            if not await repo.is_ancestor(commit, run.head):
                return (
                    ref,
                    "",
                    (
                        f"{fenced(ref)} is not part of the run's head {run.head[:12]}, so only an agent "
                        "vouches for it; quote a commit of head's history"
                    ),
                )
            content = await repo.read_file(path, commit)
        except CheckUnavailable:
            raise
        except DelmError as error:
            why = fenced(shortened(error.problem, 200))
            return ref, "", f"it cannot be read ({why}); {_unknown_source(ref, sources, run)}"
        return f"{path}@{commit}", content.decode("utf-8", "replace"), ""

    # -- the judge -------------------------------------------------------------------------------

    async def judged(self, run: Run, case: str, spent: Spending) -> Finding:
        """Ask the run's model for its opinion of a case, within what the run may spend.

        Raises:
            CheckUnavailable: It cannot be asked: unreachable, no key, or nothing is left to spend.
        """
        policy = parse(run.policy).judge
        if self.judge is None:
            raise CheckUnavailable("This server asks no model.", "Start one that does.")
        refuse_spending(policy, spent)
        opinion = await self.judge.opinion(policy, case)
        fails = f" ({', '.join(opinion.fails)})" if opinion.fails else ""
        model = fenced(opinion.model)
        said = f"{model} says {opinion.verdict}{fails}: {fenced(shortened(opinion.reason, 1000))}"
        bill = {"fails": list(opinion.fails), **bill_for(opinion.model, opinion)}
        return Finding(Receipt(CheckName.JUDGE, opinion.verdict, said), detail={"judge": bill})

    # -- commands --------------------------------------------------------------------------------

    async def command(self, entry: Entry, run: Run, memory: Memory) -> Finding:
        """Run the commands that decide on an entry."""
        if self.runner is None:
            raise CheckUnavailable("This server does not run commands.", "Start one that does.")
        repo = self._repo_of(run)
        bench = Bench(repo, self.runner, run, memory)
        if entry.kind is Kind.PATCH:
            return await bench.patch(entry)
        if entry.kind is Kind.ANSWER:
            return await bench.answer(entry)
        return await bench.claim(entry)


def _not_there(name: str, text: str, exact: str) -> str:
    near = quotes.nearest(text, exact)
    hint = f"; the nearest line is {fenced(shortened(near, 200))}" if near else ""
    return (
        f"the quote {fenced(shortened(exact, 120))} does not stand in {fenced(name)}{hint}. Copy it exactly"
    )


def _unknown_source(ref: str, sources: tuple[Source, ...], run: Run) -> str:
    known = [fenced(shortened(source.name, 100)) for source in sources]
    if run.repo:
        known.append("path@commit of the run's repository")
    listed = (
        ", ".join(known[:10])
        if known
        else "this run has none; cite what you have as an artifact, which proves nothing"
    )
    return f"{fenced(ref)} is not a registered source; quotes are checked against: {listed}"
