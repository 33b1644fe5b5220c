"""What the tests of coding runs share: tiny exercises, the command, and a scripted programmer."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from delm_client.bench.coding.scripted import Knowledge, ScriptedCoder
from delm_client.bench.scripted import Scripted, scripted
from tests.bench_data import json_lines
from tests.bench_model import command, found
from tests.test_bench_exercises import humaneval_row

SECRET = "hidden-from-agents"
TIMES = {"double": 2, "triple": 3, "fourfold": 4}


def program(name: str, times: int) -> str:
    """What an item asks for, with a factor that may be wrong."""
    return f'def {name}(x: int) -> int:\n    """Give x {TIMES[name]} times."""\n    return {times} * x\n'


def exercises(folder: Path, *names: str) -> Path:
    """A data file as HumanEval's, with an item for each of these functions."""
    rows = [
        humaneval_row(
            task_id=f"HumanEval/{number}",
            prompt=f'def {name}(x: int) -> int:\n    """Give x {TIMES[name]} times."""\n',
            entry_point=name,
            canonical_solution=f"    return {TIMES[name]} * x\n",
            test=f"def check(candidate):\n    # {SECRET}\n    assert candidate(5) == {5 * TIMES[name]}\n",
        )
        for number, name in enumerate(names, 1)
    ]
    return json_lines(folder / "HumanEval.jsonl", rows)


def knows(*right: str, wrong: tuple[str, ...] = ()) -> Knowledge:
    """Solutions of some items, and wrong ones of others; nothing of the rest."""

    def known(prompt: str) -> Mapping[str, str]:
        asked = next(name for name in TIMES if f"def {name}(" in prompt)
        if asked in right:
            return {"solution.py": program(asked, TIMES[asked])}
        return {"solution.py": program(asked, 7)} if asked in wrong else {}

    return known


def solved(
    data: Path,
    into: Path,
    model: Scripted,
    *words: str | Path,
    benchmark: str = "humaneval",
    code: int = 0,
) -> dict[str, Any]:
    """Run a benchmark to its end with this model and give its results."""
    named = ("--model", "openai:any", "--base-url", model.openai_url)
    result = command("bench", benchmark, "--data", data, "--into", into, *named, *words)
    assert result.exit_code == code, result.output
    return found(into)


def only(folder: Path) -> dict[str, Any]:
    """The result of a run's only item."""
    (path,) = (folder / "items").iterdir()
    return dict(json.loads(path.read_text(encoding="utf-8")))


def coder(known: Knowledge, trouble: Callable[[int], str] = lambda _: "") -> Any:
    """The scripted programmer as a server; a context."""
    return scripted(ScriptedCoder(known), trouble, "scripted-coder")


def acting(*actions: Mapping[str, Any] | str) -> Callable[[str], str]:
    """A script of one agent's actions, one a step; the last one again and again."""

    def script(prompt: str) -> str:
        number = prompt.count("\n--- step ")
        chosen = actions[min(number, len(actions) - 1)]
        return chosen if isinstance(chosen, str) else json.dumps(chosen)

    return script


DONE = {"action": "done", "gist": "It is done.", "summary": "- as scripted"}
