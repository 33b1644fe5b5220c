"""The procedures behind `quotes` and `command`: what is read or run, and what it shows."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

from anyio import to_thread

from delm_mcp.board import patching
from delm_mcp.board.proposals import Finding, proposal_of
from delm_mcp.board.runs import Opening
from delm_mcp.checks.commands import CommandSpec, Outcome, detect
from delm_mcp.checks.gitrepo import GitRepo
from delm_mcp.checks.judge import Judge, Opinion, Spent
from delm_mcp.checks.judging import Judgement, judge_patch, judge_tree
from delm_mcp.checks.receipts import Inputs, command_receipt, spec_digest
from delm_mcp.checks.runner import Runner
from delm_mcp.domain import admission, patches, quotes
from delm_mcp.domain.economics import bills_of
from delm_mcp.domain.model import Check, Entry, EntryState, Evidence, Kind, Receipt, Run, Source, Verdict
from delm_mcp.domain.policy import CheckName, JudgePolicy, parse
from delm_mcp.domain.text import fenced, one_line, shortened
from delm_mcp.domain.wording import flags_of
from delm_mcp.errors import CheckUnavailable, DelmError, NotFound


@dataclass(frozen=True, slots=True)
class Spending:
    """What judgements have cost a run: tokens in and out, and dollars, None once one price was unknown."""

    tokens: int = 0
    usd: float | None = 0.0


NOTHING = Spending()


def spent_on_judging(checks: Sequence[Check]) -> Spending:
    """The sum over the receipts of judge checks; what is unknown makes the sum unknown."""
    bills = [bill for check in checks for bill in bills_of(check)]
    costs = [bill["cost_usd"] for bill in bills]
    known = [cost for cost in costs if cost is not None]
    return Spending(
        sum(bill["input_tokens"] + bill["output_tokens"] for bill in bills),
        sum(known) if len(known) == len(costs) else None,
    )


class Memory(Protocol):
    """What commands showed before, so that a head is not run twice."""

    async def observed(self, run: Run, key: str) -> str | None: ...
    async def observe(self, run: Run, key: str, outcome: str) -> None: ...


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


class Bench:
    """One check's runs of commands on trees of a repository."""

    def __init__(self, repo: GitRepo, runner: Runner, run: Run, memory: Memory) -> None:
        self._repo = repo
        self._runner = runner
        self._run = run
        self._memory = memory
        self._policy = parse(run.policy)

    def _specs(self) -> list[CommandSpec]:
        specs = []
        for command in self._run.commands:
            argv, report = detect(command.argv)
            specs.append(CommandSpec(command.name, argv, command.timeout_s, report))
        return specs

    async def _outcome(self, spec: CommandSpec, tree: str) -> Outcome:
        """What a command shows on a tree, remembered from an earlier run on it where there is one."""
        key = f"{spec.name}:{spec_digest(spec)[:16]}@{tree}"
        kept = await self._memory.observed(self._run, key)
        if kept is not None:
            facts = json.loads(kept)
            return Outcome(**{**facts, "notes": tuple(facts["notes"])})
        outcome = await self._runner.observe(self._repo, spec, tree)
        if not outcome.killed_reason:  # one timeout on a busy machine must not condemn a tree for ever
            await self._memory.observe(self._run, key, json.dumps(asdict(outcome)))
        return outcome

    async def patch(self, entry: Entry) -> Finding:
        """Merge a patch into head, with protected files as in base, and run the commands before and after."""
        item = patches.text_of(entry.kind, entry.evidence)
        if item is not None:
            entry = replace(entry, commit=await patching.committed(self._repo, self._run, entry, item))
        return await self._merged(entry)

    async def _merged(self, entry: Entry) -> Finding:
        """A patch with its commit; that of a text is known to the receipt only."""
        head = self._run.head
        merged = await self._repo.merge(head, entry.commit)
        if merged.outcome == "contained":
            return _failed(f"{entry.commit[:12]} is part of head {head[:12]} already, so it changes nothing")
        if merged.tree is None:
            return _failed(self._conflict(entry, head, merged.outcome, merged.conflicts))
        base_tree = await self._repo.tree_of(self._run.base)
        restored = await self._repo.restore(merged.tree, base_tree, self._policy.protect)
        head_tree = await self._repo.tree_of(head)
        if restored.tree == head_tree:
            return _failed(
                "it changes nothing on head"
                + (
                    f" but protected files ({patching.named(restored.paths)}), which stay as they are"
                    if restored.paths
                    else ""
                )
            )
        changes = await patching.changes(self._repo, head, entry.commit, restored.tree)
        cited = {item.ref for item in entry.evidence if item.type == "command"}
        judged: list[tuple[CommandSpec, Judgement, Outcome]] = []
        for spec in sorted(self._specs(), key=lambda spec: spec.name not in cited):
            before = await self._outcome(spec, head_tree)
            after = await self._outcome(spec, restored.tree)
            judgement = judge_patch(
                before,
                after,
                cited=spec.name in cited,
                fail_at_base=self._policy.command.fail_at_base,
                head=f"head {head[:12]}",
            )
            judged.append((spec, judgement, after))
            if judgement.verdict != "pass":
                break
        note = f" Put back as in base: {patching.named(restored.paths)}." if restored.paths else ""
        new_head = ""
        if judged[-1][1].verdict == "pass":
            new_head = await self._commit(
                entry, head, restored.tree, merged.outcome == "fast_forward" and not restored.paths
            )
        inputs = Inputs(restored.tree, head, head_tree, entry.commit, restored.paths)
        finding = self._finding(judged, note, inputs, tested_head=head, new_head=new_head)
        detail = {**(finding.detail or {}), "changes": changes.as_json()}
        flags = await to_thread.run_sync(flags_of, [changes.text])
        finding = replace(finding, detail=detail, flags=flags)
        return await self._with_ran(finding, judged, restored.tree, of_head=True)

    async def _commit(self, entry: Entry, head: str, tree: str, fast_forward: bool) -> str:
        if fast_forward:
            return entry.commit
        message = f"{entry.label}: {one_line(entry.gist)}\n\nCommit {entry.commit}, checked by delm-mcp."
        return await self._repo.commit_tree(
            tree, [head, entry.commit], message, author=entry.agent, when_s=int(entry.proposed_at)
        )

    @staticmethod
    def _conflict(entry: Entry, head: str, outcome: str, paths: tuple[str, ...]) -> str:
        if outcome == "unrelated":
            return f"{entry.commit[:12]} shares no history with head {head[:12]}; commit on top of head"
        if patches.text_of(entry.kind, entry.evidence):
            return (
                f"the patch does not apply on head {head}: conflicts in {patching.named(paths)}; bring your "
                "files up to head, mend them, run the tests, and propose the new diff with the same lease"
            )
        return (
            f"{entry.commit[:12]} does not apply on head {head}: conflicts in {patching.named(paths)}; "
            f"`git merge {head}` in your worktree, mend them, run the tests, commit, and propose the new "
            "commit with the same lease"
        )

    async def answer(self, entry: Entry) -> Finding:
        """The run's result is its head: its commands pass there, or nothing that passed at base fails."""
        tree, base_tree = await self._repo.tree_of(self._run.head), await self._repo.tree_of(self._run.base)
        judged: list[tuple[CommandSpec, Judgement, Outcome]] = []
        for spec in self._specs():
            outcome = await self._outcome(spec, tree)
            judgement = judge_tree(outcome, await self._outcome(spec, base_tree))
            judged.append((spec, judgement, outcome))
            if judgement.verdict != "pass":
                break
        inputs = Inputs(tree, self._run.head, tree, self._run.head, ())
        return self._finding(judged, "", inputs, tested_head=self._run.head, new_head="")

    async def claim(self, entry: Entry) -> Finding:
        """A fact's command passes at its commit; a fail's command fails there.

        One that is suspect because head moved is run again at head.
        """
        again = entry.state is EntryState.SUSPECT
        commit = self._run.head if again else entry.commit or self._run.head
        tree = await self._repo.tree_of(commit)
        cited = {item.ref for item in entry.evidence if item.type == "command"}
        judged: list[tuple[CommandSpec, Judgement, Outcome]] = []
        for spec in (spec for spec in self._specs() if spec.name in cited):
            outcome = await self._outcome(spec, tree)
            passed = outcome.exit_code == 0
            expected = passed if entry.kind is Kind.FACT else not passed
            said = "passes" if passed else "fails"
            verdict: Literal["pass", "fail", "abstain"] = "pass" if expected else "fail"
            if again and outcome.killed_reason:  # a busy machine is no reason to retract anything
                verdict, said = "abstain", f"was stopped ({outcome.killed_reason})"
            judged.append((spec, Judgement(verdict, f"{spec.name} {said} at {commit[:12]}"), outcome))
            if verdict != "pass":
                break
        head_tree = await self._repo.tree_of(self._run.head)
        inputs = Inputs(tree, self._run.head, head_tree, commit, ())
        finding = self._finding(judged, "", inputs, tested_head=self._run.head if again else "", new_head="")
        return await self._with_ran(finding, judged, tree, of_head=tree == head_tree)

    async def _with_ran(
        self,
        finding: Finding,
        judged: list[tuple[CommandSpec, Judgement, Outcome]],
        tree: str,
        *,
        of_head: bool,
    ) -> Finding:
        """A finding whose receipt says of which inputs it is, so that it is known when they change."""
        globs = self._policy.command.inputs
        ran = {
            "outcomes": {spec.name: outcome.exit_code == 0 for spec, _, outcome in judged},
            "inputs": {
                spec.name: await self._repo.inputs_digest(tree, globs.get(spec.name, ()))
                for spec, _, _ in judged
            },
            "of_head": of_head,
        }
        return replace(finding, detail={**(finding.detail or {}), "ran": ran})

    def _finding(
        self,
        judged: list[tuple[CommandSpec, Judgement, Outcome]],
        note: str,
        inputs: Inputs,
        *,
        tested_head: str,
        new_head: str,
    ) -> Finding:
        """The verdict of the last command that was run, with a receipt for each."""
        reasons = " ".join(f"{spec.name}: {judgement.reason}" for spec, judgement, _ in judged) + note
        receipt = Receipt(CheckName.COMMAND, Verdict(judged[-1][1].verdict), shortened(reasons, 4000))
        statements = [
            command_receipt(spec, outcome, judgement, inputs) for spec, judgement, outcome in judged
        ]
        return Finding(receipt, tested_head=tested_head, new_head=new_head, detail={"statements": statements})


def bill_for(model: str, used: Opinion | Spent) -> dict[str, Any]:
    """What asking a model took, as the receipt keeps it; an unknown cost is None."""
    return {
        "model": model,
        "requests": used.requests,
        "input_tokens": used.input_tokens,
        "output_tokens": used.output_tokens,
        "cost_usd": used.cost_usd,
    }


def refuse_spending(policy: JudgePolicy, spent: Spending) -> None:
    """Raises: CheckUnavailable: The run has spent what its judge may cost, or nobody knows what it has."""
    if spent.tokens >= policy.spend_tokens:
        raise CheckUnavailable(
            f"The judge has used {spent.tokens} of the run's {policy.spend_tokens} tokens.",
            "The owner can allow more with `delm-mcp judge allow`.",
        )
    if policy.spend_usd is not None and spent.usd is None:
        raise CheckUnavailable(
            f"What {policy.model} costs is unknown, so its {policy.spend_usd:g} USD limit cannot be kept.",
            "Set judge.input_usd and judge.output_usd, or only judge.spend_tokens.",
        )
    if policy.spend_usd is not None and spent.usd is not None and spent.usd >= policy.spend_usd:
        raise CheckUnavailable(
            f"The judge has spent {spent.usd:.4g} of the run's {policy.spend_usd:g} USD.",
            "The owner can allow more with `delm-mcp judge allow`.",
        )


def _failed(reason: str) -> Finding:
    return Finding(Receipt(CheckName.COMMAND, Verdict.FAIL, reason))


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
