"""Runs the commands of a run on trees of its repository, and says what that shows of an entry."""

import json
from dataclasses import asdict, replace
from typing import Literal, Protocol

from anyio import to_thread

from delm_mcp.board import patching
from delm_mcp.board.proposals import Finding
from delm_mcp.checks.commands import CommandSpec, Outcome, detect
from delm_mcp.checks.gitrepo import GitRepo
from delm_mcp.checks.judging import Judgement, judge_patch, judge_tree
from delm_mcp.checks.receipts import Inputs, command_receipt, spec_digest
from delm_mcp.checks.runner import Runner
from delm_mcp.domain import patches
from delm_mcp.domain.model import Entry, EntryState, Kind, Receipt, Run, Verdict
from delm_mcp.domain.policy import CheckName, parse
from delm_mcp.domain.text import one_line, shortened
from delm_mcp.domain.wording import flags_of


class Memory(Protocol):
    """What commands showed before, so that a head is not run twice."""

    async def observed(self, run: Run, key: str) -> str | None: ...
    async def observe(self, run: Run, key: str, outcome: str) -> None: ...


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


def _failed(reason: str) -> Finding:
    return Finding(Receipt(CheckName.COMMAND, Verdict.FAIL, reason))
