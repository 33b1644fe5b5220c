"""The worker loop as a script: what a model would do that follows the board's instructions to the letter.

It has no wits of its own. What it does for a work task stands in the task's detail, as a recipe on a line:

    recipe: {"read": ["slug.py"], "edit": [{"path": "slug.py", "old": "'_'", "new": "'-'"}],
             "run": "python -m pytest -q", "commit": "Join with hyphens",
             "propose": {"kind": "patch", "gist": "slug() joins words with hyphens", "command": "check"}}

(all of it on one line). With `"quote": {"path": "slug.py", "text": "..."}` in `propose` it cites what it
read; with `"artifact": "..."` it brings what it says. Each part may be left out. It judges a peer's entry by
looking itself whether the commit or the quoted words are there, and answers the question whether the run is
done with all that is live. A task without a recipe it gives up, saying why. What an agent before it has done
in the same worktree, and was killed, it does not do again.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from delm_client.scripted.answers import BoardAnswer, board_answer, live_entries
from delm_client.scripted.clients import BOARD_TOOLS, Action, Conversation, Step

PATIENCE = 60
"""How often in a row it tries again when the board does not answer."""
RETRY_S = 1.0
_RECIPE = re.compile(r"^recipe: (\{.*\})\s*$", re.M)
_COMMIT = re.compile(r"\b[0-9a-f]{40}\b")


@dataclass(frozen=True, slots=True)
class Turn:
    """What the model does next: words, or actions; after thinking for so many seconds."""

    text: str = ""
    actions: Sequence[Action] = ()
    think_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Held:
    """The task at hand: what the claim said, and what was done since."""

    claim: BoardAnswer
    steps: Sequence[Step]


def worker(conversation: Conversation) -> Turn:
    """The next turn of a worker."""
    if "claim_task" not in conversation.actions:
        return Turn("The board's tools are missing, so there is nothing that I can do.")
    steps = conversation.steps
    if not steps:
        return _do("claim_task", **_named_in(conversation.prompt))
    silent = _silent(steps)
    if silent > PATIENCE:
        return Turn("The board does not answer any more; I stop.")
    if silent:
        return Turn(actions=(steps[-1].action,), think_s=RETRY_S)
    answered = [step for step in steps if not _unanswered(step)]
    held = _held(answered)
    if held is not None:
        return _next(held, can_look="shell" in conversation.actions)
    return _refused(answered[-1]) or _claim_again(answered, conversation.prompt)


def _named_in(prompt: str) -> dict[str, str]:
    """What the prompt says about agent and run, as `agent=NAME` and `run=NAME`."""
    found = re.findall(r"\b(agent|run)=[\"'`]?([a-z0-9][a-z0-9._-]*)", prompt)
    return {name: value.rstrip(".") for name, value in found}


def _do(name: str, **arguments: Any) -> Turn:
    return Turn(actions=(Action(name, arguments),))


def _unanswered(step: Step) -> bool:
    return step.action.name in BOARD_TOOLS and board_answer(step.output).form == "none"


def _silent(steps: Sequence[Step]) -> int:
    """How many calls in a row the board has not answered."""
    count = 0
    for step in reversed(steps):
        if not _unanswered(step):
            break
        count += 1
    return count


def _held(steps: Sequence[Step]) -> _Held | None:
    """The task that was claimed last, unless it is dealt with."""
    for index in range(len(steps) - 1, -1, -1):
        action = steps[index].action.name
        if action in {"propose_update", "verify", "update_task"}:
            return None
        if action == "claim_task":
            claim = board_answer(steps[index].output)
            return _Held(claim, steps[index + 1 :]) if claim.lease else None
    return None


def _refused(step: Step) -> Turn | None:
    """A proposal that was rejected at once is given up: there are no wits here to mend it."""
    answer = board_answer(step.output)
    if step.action.name != "propose_update" or answer.state != "rejected":
        return None
    lease, note = step.action.arguments["lease"], f"{answer.entry} was rejected: {answer.reasons}"
    return _do("update_task", lease=lease, action="fail", note=note[:1000])


def _claim_again(steps: Sequence[Step], prompt: str) -> Turn:
    answers = [board_answer(step.output) for step in steps if step.action.name == "claim_task"]
    last = board_answer(steps[-1].output)
    if last.next.lower().startswith("stop") and not last.lease:
        return Turn("The run is over, so I stop.")
    known = next((answer for answer in reversed(answers) if answer.agent), None)
    who = {"agent": known.agent, "run": known.run} if known else _named_in(prompt)
    if steps[-1].action.name != "claim_task":
        return _do("claim_task", **who)
    if last.error:
        return Turn(f"The board refuses me: {last.error}")
    # Clients stop a model that repeats itself, so no two waits in a row are the same.
    return _do("claim_task", wait_s=10 + len(steps) % 7, **who)


# -- the three kinds of task ---------------------------------------------------------------------


def _next(held: _Held, *, can_look: bool) -> Turn:
    match held.claim.kind:
        case "verify":
            return _judge(held, can_look=can_look)
        case "decide":
            return _decide(held)
    return _work(held)


def _work(held: _Held) -> Turn:
    match = _RECIPE.search(held.claim.detail)
    if match is None:
        return _give_up(held, "The scripted model does only what a recipe in the task's detail says.")
    recipe = json.loads(match[1])
    plan = _plan(recipe, held.steps)
    for index, (step, wanted) in enumerate(zip(held.steps, plan, strict=False)):
        failed = step.failed and not _has_nothing_to_commit(step)
        if failed or step.action.name != wanted.name:
            return _give_up(held, f"Step {index + 1} ({wanted.name}) did not work: {step.output[:300]}")
    if len(held.steps) < len(plan):
        return Turn(actions=(plan[len(held.steps)],))
    return _propose(held, recipe.get("propose", {}))


def _plan(recipe: Mapping[str, Any], done: Sequence[Step]) -> list[Action]:
    plan = [Action("read", {"path": path}) for path in recipe.get("read", [])]
    read = done[: len(plan)]
    plan += [Action("edit", dict(edit)) for edit in recipe.get("edit", []) if not _is_edited(edit, read)]
    if "run" in recipe:
        plan.append(Action("shell", {"command": recipe["run"]}))
    if "commit" in recipe:
        message = shlex.quote(recipe["commit"])
        plan += [
            Action("shell", {"command": "git add -A"}),
            Action("shell", {"command": f"git commit -q -m {message}"}),
            Action("shell", {"command": "git rev-parse HEAD"}),
        ]
    return plan


def _is_edited(edit: Mapping[str, str], read: Sequence[Step]) -> bool:
    """Whether what was read of a file is as it is to be; clients put numbers before its lines."""
    shown = [step.output for step in read if step.action.arguments.get("path") == edit["path"]]
    return any(_has(text, edit["new"]) and not _has(text, edit["old"]) for text in shown)


def _has(shown: str, lines: str) -> bool:
    return all(line in shown for line in lines.strip("\n").split("\n"))


def _has_nothing_to_commit(step: Step) -> bool:
    command = str(step.action.arguments.get("command", ""))
    return command.startswith("git commit") and "nothing to commit" in step.output


def _propose(held: _Held, wanted: Mapping[str, Any]) -> Turn:
    evidence = []
    if "command" in wanted:
        commits = _COMMIT.findall(held.steps[-1].output) if held.steps else []
        if not commits:
            return _give_up(held, "There is no commit to cite.")
        evidence.append({"type": "command", "ref": wanted["command"], "text": commits[-1]})
    if "quote" in wanted:
        path, text = wanted["quote"]["path"], wanted["quote"]["text"]
        if not any(text in step.output for step in held.steps):
            return _give_up(held, f"{path} does not say «{text}».")
        evidence.append({"type": "quote", "ref": f"{path}@{wanted['quote'].get('at', 'HEAD')}", "text": text})
    if "artifact" in wanted:
        evidence.append({"type": "artifact", "ref": "notes", "text": wanted["artifact"]})
    given = {name: wanted[name] for name in ("kind", "gist", "summary", "scope", "key") if name in wanted}
    return _do("propose_update", lease=held.claim.lease, evidence=evidence, completes=True, **given)


def _judge(held: _Held, *, can_look: bool) -> Turn:
    """Look at what is cited, with git; pass only what is there."""
    entry, lease = held.claim.about, held.claim.lease
    if not held.steps:
        return _do("read_context", entries=[entry], level="raw", agent=held.claim.agent, run=held.claim.run)
    text = board_answer(held.steps[0].output).text
    looks = _looks(text)
    if looks and not can_look:
        reason = "I have no shell to look with."
        return _do("verify", entry=entry, verdict="abstain", reason=reason, lease=lease)
    done = held.steps[1:]
    if len(done) < len(looks):
        return _do("shell", command=looks[len(done)][0])
    missing = [
        what for (_, what), step in zip(looks, done, strict=True) if step.failed or what not in step.output
    ]
    if missing:
        reason = f"I looked for «{missing[0][:200]}», and it is not there."
        return _do("verify", entry=entry, verdict="fail", reason=reason, fails=["support"], lease=lease)
    reason = f"I looked at all of it myself ({len(looks)} places in git), and it is as {entry} says."
    return _do("verify", entry=entry, verdict="pass", reason=reason, lease=lease)


def _looks(text: str) -> list[tuple[str, str]]:
    """For each piece of evidence in git: the command that shows it, and what must be there."""
    looks = []
    for kind, ref, body in re.findall(r"^evidence \d+: (\w+) «(.*?)».*\n((?:\| .*\n?)*)", text, re.M):
        words = [line[2:] for line in body.rstrip("\n").split("\n")]
        path, _, commit = ref.partition("@")
        if kind == "quote" and commit:
            looks.append((f"git show {shlex.quote(f'{commit}:{path}')}", words[0]))
        elif kind == "command":
            looks.append((f"git show --stat --format=%H {words[0]}", words[0]))
    return looks


def _decide(held: _Held) -> Turn:
    claim = held.claim
    if not held.steps:
        return _do("read_context", agent=claim.agent, run=claim.run, budget_tokens=20_000)
    live = live_entries(board_answer(held.steps[-1].output))
    if not live:
        return _give_up(held, "Nothing was admitted, so there is no answer to give.")
    gist = f"All tasks are done; {', '.join(live[-3:])} and what came before say what was found."
    return _do(
        "propose_update", lease=claim.lease, kind="answer", gist=gist, derived_from=live[-50:], completes=True
    )


def _give_up(held: _Held, note: str) -> Turn:
    return _do("update_task", lease=held.claim.lease, action="fail", note=note)
