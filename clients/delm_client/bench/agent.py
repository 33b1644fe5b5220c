"""An agent on a board: the whole loop, over real MCP like everyone else's.

    claim a task -> read what is new in the context -> do it with the model -> propose, verify or decide

The harness makes the calls of the board: it claims, reads the news, hands the model the part that the task
names, puts the model's note into `propose_update` with each quote as evidence, and shows the model why the
board refused it. The model does all that takes judgement: what a part establishes, which passages show it,
whether a peer's note may be relied on, which notes to unfold, what to read again, and the letter. It is asked
in the same words in every topology (`reader.py`); what differs here is only who gets which part, what is
known before reading it, and what has to be mended before others see it. Coding agents call the board
themselves; here a model without tool calls can take part, and every token is the task's.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from delm_client.bench.board import PAGE_TOKENS, BoardAgent
from delm_client.bench.forms import BadForm
from delm_client.bench.longbench.anchors import anchor
from delm_client.bench.longbench.scoring import extract_answer
from delm_client.bench.parts import Part
from delm_client.bench.reader import Note, Reader, Wish
from delm_client.session import BoardError, BoardGone, Session

MENDS = 2
"""How often a note that the board refused may be mended before the task is given up."""
PARENTS_MAX = 50
RAW_MAX = 40_000
_PART = re.compile(r"^part: (\d+)$", re.M)
_FOCUS = re.compile(r"^for: (.+)$", re.M)
_ROUND = re.compile(r"^round: (\d+)$", re.M)
_ROUND_OF_SCOPE = re.compile(r"\bround (\d+)$")


def task_of(part: Part, focus: str = "", round_: int = 0) -> dict[str, str]:
    """A task that reads a part, as `add_tasks` and `init --tasks-file` take it."""
    again = f" again, for {focus}" if focus else ""
    detail = f"part: {part.number}\nsource: {part.source}\nround: {round_}"
    return {
        "subject": f"Read part {part.number}{again}"[:300],
        "detail": detail + (f"\nfor: {focus}" if focus else ""),
    }


class Agent(BoardAgent):
    """One worker.

    Attributes:
        replies: The model's reply behind each answer that this agent proposed, by entry.
        notes: What the board said to its notes: how many were admitted, rejected, or left to peers (pending).
    """

    def __init__(self, board: Session, reader: Reader, parts: Sequence[Part]) -> None:
        super().__init__(board)
        self._reader = reader
        self._parts: Mapping[int, Part] = {part.number: part for part in parts}
        self.replies: dict[str, str] = {}
        self.notes: Counter[str] = Counter()

    async def do(self, task: Mapping[str, Any], lease: str) -> None:
        """See `BoardAgent.do`."""
        if task["kind"] == "verify":
            await self.verdict(task, await self._reader.judge(task["case"]), lease)
        elif task["kind"] == "decide":
            await self._decide(lease)
        else:
            await self._read(task, lease)

    # -- a part ----------------------------------------------------------------------------------

    async def _read(self, task: Mapping[str, Any], lease: str) -> None:
        """Take a note of the part, and mend it as long as the board refuses it."""
        part = self._parts[int(_found(_PART, task["detail"]))]
        focus = _found(_FOCUS, task["detail"])
        refused = [str(reason) for reason in task.get("earlier", ())]
        for _ in range(1 + MENDS):
            notes = await self.news()
            try:
                note = await self._reader.read(part, notes, focus, refused)
            except BadForm as error:
                refused = [str(error)]
                break
            scope = f"part {part.number}, round {_found(_ROUND, task['detail'])}"
            answer = await self._propose(note, part, lease, scope)
            if answer["state"] != "rejected":
                return
            refused = list(answer["reasons"])
        await self.leave(lease, "fail", " ".join(refused))

    async def _propose(self, note: Note, part: Part, lease: str, scope: str) -> dict[str, Any]:
        call = {
            "lease": lease,
            "kind": "fact",
            "gist": note.gist,
            "summary": note.summary,
            "raw": part.text[:RAW_MAX],
            "evidence": [{"type": "quote", "ref": part.source, "text": text} for text in quoted(note, part)],
            "scope": scope,
            "base_version": self.seen,
            "completes": True,
        }
        answer = await self.board.call("propose_update", **call)
        if answer["state"] == "rejected" and any("secret" in reason for reason in answer["reasons"]):
            # The text itself looks as if a key stood in it: nothing that the model could mend.
            answer = await self.board.call("propose_update", **call | {"raw": ""})
        self.notes[answer["state"]] += 1
        return answer

    # -- the answer ------------------------------------------------------------------------------

    async def _decide(self, lease: str) -> None:
        """Queue what is missing, or answer with what is known."""
        notes = await self.news()
        facts = await self.live("fact")
        rounds = max([int(_found(_ROUND_OF_SCOPE, fact["scope"]) or 0) for fact in facts], default=0)
        wishes = await self._reader.look(notes, rounds_left=self._reader.habits.rounds - rounds)
        if await self._queued(wishes.look, rounds + 1, lease):
            return
        live = [fact["entry"] for fact in facts]
        text = notes + await self._unfolded(wishes.unfold, "summary", live)
        text += await self._unfolded(wishes.deep, "raw", live)
        reply = await self._reader.answer(text)
        letter = extract_answer(reply)
        gist = (
            f"The correct answer is ({letter})" if letter else "The reply names no letter in the asked form"
        )
        call = {
            "lease": lease,
            "kind": "answer",
            "gist": gist,
            "derived_from": live[-PARENTS_MAX:],
            "base_version": self.seen,
            "completes": True,
        }
        answer = await self.board.call("propose_update", **call)
        self.replies[answer["entry"]] = reply
        if answer["state"] == "rejected":
            await self.leave(lease, "fail", " ".join(answer["reasons"]))

    async def _queued(self, wishes: Sequence[Wish], round_: int, lease: str) -> bool:
        """Whether tasks were added; the board bounds how often."""
        tasks = [
            task_of(self._parts[wish.part], wish.focus or "what was missed", round_)
            for wish in wishes
            if wish.part in self._parts
        ]
        if not tasks:
            return False
        try:
            await self.board.call("add_tasks", tasks=tasks, lease=lease)
        except BoardGone:
            raise
        except BoardError:
            return False
        return True

    async def _unfolded(self, labels: Sequence[str], level: str, live: Sequence[str]) -> str:
        wanted = [label for label in dict.fromkeys(labels) if label in live]
        if not wanted:
            return ""
        page = await self.board.call(
            "read_context", entries=wanted, level=level, budget_tokens=PAGE_TOKENS, agent=self.name
        )
        return f"\n{page.get('text', '')}"


def quoted(note: Note, part: Part) -> list[str]:
    """The note's quotes as the part has them: with its spaces, signs and line breaks.

    One that is not there stays as it is, for the board to refuse.
    """
    found = [(anchor(part.text, quote), quote) for quote in note.quotes]
    return list(dict.fromkeys(place.exact if place else quote for place, quote in found if quote.strip()))


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""
