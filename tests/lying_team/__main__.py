"""`python -m tests.lying_team`: play the story under each preset, and print what became of the lies."""

import json
from typing import Annotated

import anyio
import typer
from rich.console import Console

from tests.lying_team.report import NOTE, facts, summary, tables
from tests.lying_team.scene import play

PRESETS = ("open", "standard", "strict")


def main(
    preset: Annotated[list[str] | None, typer.Option(help="open, standard or strict; repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="Decides who acts when, and in which order lies are told.")] = 1,
    approvals: Annotated[int, typer.Option(min=1, max=4, help="How many peers must approve an entry.")] = 1,
    plain: Annotated[bool, typer.Option("--plain", help="Only lies that dodge nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Five scripted agents over real MCP, one of which lies: what reaches the context, and who catches it."""
    console, runs = Console(), []
    if not console.is_terminal:
        console.width = 160
    for name in preset or PRESETS:
        if name not in PRESETS:
            raise typer.BadParameter(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
        runs.append(facts(anyio.run(play, name, seed, approvals, plain)))
        if not as_json:
            console.print(tables(runs[-1]))
    if as_json:
        console.print_json(json.dumps({"note": NOTE, "seed": seed, "approvals": approvals, "runs": runs}))
    else:
        console.print(summary(runs))


if __name__ == "__main__":
    typer.run(main)
