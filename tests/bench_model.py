"""What the tests of benchmark runs share: tiny made-up questions, and the command with a scripted model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from delm_client.bench.scripted import Scripted
from delm_client.cli import app
from tests.bench_data import question_row

SHIPS = {"A": "Argo", "B": "Beagle", "C": "Calypso", "D": "Discovery"}
PARTS = 3
CHUNK = ("--chunk-tokens", "150")
"""So large that each question below has three parts."""


def questions(folder: Path, answers: str = "AB") -> Path:
    """A data file with a question for each right letter; its second part has the sentence that answers it."""
    rows = []
    for number, letter in enumerate(answers, 1):
        told = [
            f"Paragraph {line} of report {number} speaks of weather and of cargo that nobody wanted to have."
            for line in range(18)
        ]
        told[7] = f"The ship that sailed first was the {SHIPS[letter]}, on a windy Monday in the spring."
        rows.append(
            question_row(
                _id=f"q{number}",
                answer=letter,
                sub_domain=("Legal", "Academic")[number % 2],
                context="\n\n".join(told),
                **{f"choice_{each}": f"the {ship}" for each, ship in SHIPS.items()},
            )
        )
    path = folder / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def command(*words: str | Path) -> Result:
    """`delm-run` in this process; what is no error of a user's leaves as it is."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def ran(data: Path, into: Path, model: Scripted | None, *words: str | Path) -> dict[str, Any]:
    """Run the benchmark to its end and give its results."""
    named = ("openai:any", "--base-url", model.openai_url) if model else ("scripted:reader",)
    result = command("bench", "--data", data, "--into", into, "--model", *named, *CHUNK, *words)
    assert result.exit_code == 0, result.output
    return found(into)


def found(folder: Path) -> dict[str, Any]:
    """A run's results."""
    return dict(json.loads((folder / "results.json").read_text(encoding="utf-8")))


def item(folder: Path, name: str) -> dict[str, Any]:
    """One item's result."""
    return dict(json.loads((folder / "items" / f"{name}.json").read_text(encoding="utf-8")))


def calls(folder: Path, name: str = "*") -> list[dict[str, Any]]:
    """The calls of the model, of one item or of all."""
    lines: list[dict[str, Any]] = []
    for path in sorted(folder.glob(f"trajectories/{name}/*/*.jsonl")):
        lines += map(json.loads, filter(None, path.read_text(encoding="utf-8").split("\n")))
    return lines


def every(count: int, *troubles: str) -> Callable[[int], str]:
    """Every so-manieth request goes wrong, in one of these ways after the other."""

    def trouble(number: int) -> str:
        return "" if number % count else troubles[(number // count - 1) % len(troubles)]

    return trouble
