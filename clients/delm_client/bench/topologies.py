"""Who reads what, and who knows what: five ways to answer the same question with the same agent.

    single        one agent reads all parts in turn and keeps its own notes
    independent   n agents do that, each by itself; their majority answers
    central       an orchestrator assigns parts to n agents, waits for all of them, merges, and assigns again
    delm          n agents on a board: a queue of parts, a shared context behind a gate
    direct        one call with the whole text, cut in the middle: LongBench's own way, for reference

All but `direct` read every part, with the prompts of `reader.py`. `delm` with the policy `open` is the same
without the gate.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from delm_client.bench.agent import Agent, quoted, task_of
from delm_client.bench.board import live_entries
from delm_client.bench.forms import Ask, BadForm
from delm_client.bench.items import Question
from delm_client.bench.longbench.scoring import extract_answer
from delm_client.bench.parts import Part, parts_of, sources_of
from delm_client.bench.reader import Habits, Note, Reader, Wishes
from delm_client.bench.server import told
from delm_client.bench.subjects import Outcome, Topology
from delm_client.session import connected


@dataclass(frozen=True, slots=True)
class Reading:
    """One question and the team that is to answer it.

    Attributes:
        ask: Gives each agent, by name, its way to the model.
        folder: Where the board and the documents go.
        rules: Gives the policy of the board, with settings that the user has not named.
    """

    question: Question
    habits: Habits
    agents: int
    ask: Callable[[str], Ask]
    folder: Path
    rules: Callable[[Mapping[str, Any]], str]

    @property
    def parts(self) -> tuple[Part, ...]:
        return parts_of(self.question, self.habits.chunk_tokens)

    def reader(self, name: str) -> Reader:
        return Reader(self.ask(name), self.question, self.habits)


async def answer(topology: Topology, scene: Reading) -> Outcome:
    """Let the team answer.

    Raises:
        BenchError: A cap is reached, or the model broke.
        BoardError: The board broke.
    """
    match topology:
        case Topology.SINGLE:
            return Outcome(await _alone(scene, scene.reader("agent-1")))
        case Topology.INDEPENDENT:
            return await _independent(scene)
        case Topology.CENTRAL:
            return await _central(scene)
        case Topology.DELM:
            return await _delm(scene)
        case Topology.DIRECT:
            return Outcome(await scene.reader("agent-1").answer(scene.question.context))


class Notebook:
    """Notes that one agent keeps for itself, in the form in which a board would show them."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = {part.number: part for part in parts}
        self._notes: list[tuple[Part, Note]] = []

    def add(self, part: Part, note: Note) -> None:
        self._notes.append((part, note))

    def part(self, number: int) -> Part | None:
        return self._parts.get(number)

    @property
    def gists(self) -> str:
        return "\n".join(
            f"E{number} fact, part {part.number}: «{note.gist}»"
            for number, (part, note) in enumerate(self._notes, 1)
        )

    def with_unfolded(self, wishes: Wishes) -> str:
        """The gists, and behind them what was asked to be seen."""
        shown = [self.gists]
        for number, (part, note) in enumerate(self._notes, 1):
            label = f"E{number}"
            if label in wishes.unfold or label in wishes.deep:
                quotes = "\n".join(f"| {text}" for text in quoted(note, part))
                shown.append(f"{label} summary:\n{note.summary}\nquotes:\n{quotes}")
            if label in wishes.deep:
                shown.append(f"{label} raw:\n{part.text}")
        return "\n".join(shown)


async def _alone(scene: Reading, reader: Reader) -> str:
    book = Notebook(scene.parts)
    for part in scene.parts:
        await _noted(book, reader, part, book.gists)
    return await _concluded(scene, book, reader)


async def _noted(book: Notebook, reader: Reader, part: Part, notes: str, focus: str = "") -> None:
    """Read a part; a model that gives no note of it has read it for nothing."""
    try:
        book.add(part, await reader.read(part, notes, focus))
    except BadForm:
        return


async def _concluded(scene: Reading, book: Notebook, reader: Reader) -> str:
    """Look over the notes, read again what is asked for, and answer."""
    wishes = Wishes()
    for rounds_left in range(scene.habits.rounds, -1, -1):
        wishes = await reader.look(book.gists, rounds_left=rounds_left)
        wanted = [(book.part(wish.part), wish.focus) for wish in wishes.look]
        again = [(part, focus) for part, focus in wanted if part is not None]
        if not again:
            break
        for part, focus in again:
            await _noted(book, reader, part, book.gists, focus)
    return await reader.answer(book.with_unfolded(wishes))


async def _independent(scene: Reading) -> Outcome:
    replies: dict[int, str] = {}

    async def one(number: int) -> None:
        replies[number] = await _alone(scene, scene.reader(f"agent-{number}"))

    async with anyio.create_task_group() as group:
        for number in range(1, scene.agents + 1):
            group.start_soon(one, number)
    ordered = tuple(replies[number] for number in sorted(replies))
    return Outcome(majority(ordered), replies=ordered)


def majority(replies: Sequence[str]) -> str:
    """The first reply with the commonest letter; among equally common ones, the earliest agent's."""
    letters = [extract_answer(reply) for reply in replies]
    given = Counter(letter for letter in letters if letter)
    return replies[letters.index(given.most_common(1)[0][0])] if given else ""


async def _central(scene: Reading) -> Outcome:
    """Scatter, wait for the slowest, gather, and again until every part is read."""
    book = Notebook(scene.parts)
    lead = scene.reader("orchestrator")
    unread = {part.number: part for part in scene.parts}
    while unread:
        asked = await lead.assign(book.gists, list(unread), scene.agents)
        chosen = {wish.part: wish.focus for wish in asked if wish.part in unread}
        # Whoever got nothing takes the next part, so that every topology reads all of the text.
        chosen |= {number: "" for number in unread if number not in chosen}
        this_round = list(chosen.items())[: scene.agents]
        async with anyio.create_task_group() as group:
            for worker, (number, focus) in enumerate(this_round, 1):
                reader = scene.reader(f"agent-{worker}")
                group.start_soon(_noted, book, reader, unread.pop(number), "", focus)
    return Outcome(await _concluded(scene, book, lead))


# -- delm ----------------------------------------------------------------------------------------


async def _delm(scene: Reading) -> Outcome:
    scene.folder.mkdir(parents=True, exist_ok=True)
    board = scene.folder / "board.db"
    run = await anyio.to_thread.run_sync(_opened, scene, board)
    async with AsyncExitStack() as stack:
        sessions = [
            await stack.enter_async_context(connected(scene.folder, board=board, principal=f"agent-{number}"))
            for number in range(1, scene.agents + 1)
        ]
        agents = [
            Agent(session, scene.reader(f"agent-{number}"), scene.parts)
            for number, session in enumerate(sessions, 1)
        ]
        async with anyio.create_task_group() as group:
            for agent in agents:
                group.start_soon(agent.work)
        answers = await live_entries(sessions[0], "answer", run=run)
    facts = {"run": run, "notes": dict(sum((agent.notes for agent in agents), Counter[str]()))}
    replies = {entry: reply for agent in agents for entry, reply in agent.replies.items()}
    if answers:
        return Outcome(replies[answers[-1]["entry"]], board=facts)
    if not replies:
        return Outcome("", "the run ended without an answer", board=facts)
    # The other topologies answer whatever their notes are worth, so here the last word counts as well.
    last = max(replies, key=lambda entry: int(entry[1:]))
    return Outcome(replies[last], f"answered, but the gate did not admit {last}", board=facts)


def _opened(scene: Reading, board: Path) -> str:
    """Write the documents, open a run with a task for every part, and give its name."""
    documents = scene.folder / "documents"
    documents.mkdir(parents=True)
    words: list[str] = []
    for name, text in sources_of(scene.question):
        path = documents / name
        path.write_bytes(text.encode("utf-8", "replace"))
        words += ["--source", str(path)]
    tasks = scene.folder / "tasks.json"
    tasks.write_text(json.dumps([task_of(part) for part in scene.parts]), encoding="utf-8")
    policy = scene.folder / "policy.toml"
    # At four characters a token, so that a gist which is a little long is not refused for it.
    gist_tokens = min(1000, max(10, round(1.2 * scene.habits.gist_tokens)))
    # Whoever gives a part up has mended its note as often as it may; nobody else need read it again.
    limits = {"gist_tokens": gist_tokens, "max_rounds": scene.habits.rounds + 2, "max_attempts": 1}
    policy.write_text(scene.rules({"limits": limits}), encoding="utf-8")
    goal = f"Choose the right answer to this question about the documents:\n{scene.question.shown()}"
    words += ["--tasks-file", str(tasks), "--policy", str(policy), "--json"]
    return str(json.loads(told(scene.folder, "init", goal[:4000], *words, board=board))["run"])
