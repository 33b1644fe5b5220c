"""`python -m tests.gate_corpus`: what the gate lets through and turns down, for each preset."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import anyio
from rich.console import Console

from delm_mcp.domain.policy import PRESETS
from tests.gate_corpus.corpus import FAMILIES, HELD_OUT, PAIRS, Family, load
from tests.gate_corpus.results import LEGEND, all_figures, misses, table
from tests.gate_corpus.staging import Trial, scene_in


async def run(families: Sequence[Family], presets: Sequence[str]) -> list[Trial]:
    """Every pair under every preset, each on a run of its own."""
    trials = []
    for preset in presets:
        with tempfile.TemporaryDirectory(prefix="gate-corpus-") as folder:
            async with scene_in(Path(folder)) as scene:
                for family in families:
                    trials += [await scene.trial(pair, preset) for pair in family.pairs]
    return trials


def main() -> None:
    """Read the options, run, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.gate_corpus", description=__doc__)
    parser.add_argument("--preset", action="append", choices=list(PRESETS), help="only this one; repeatable")
    parser.add_argument("--family", action="append", choices=FAMILIES, help="only this one; repeatable")
    parser.add_argument("--held-out", action="store_true", help="the pairs that no check was mended by")
    parser.add_argument("--show", action="store_true", help="list each false accept and false reject")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    chosen = parser.parse_args()
    families = load(HELD_OUT if chosen.held_out else PAIRS)
    if chosen.family:
        families = [family for family in families if family.name in chosen.family]
    presets = chosen.preset or list(PRESETS)
    trials = anyio.run(run, families, presets)
    tables = [all_figures(families, preset, [t for t in trials if t.preset == preset]) for preset in presets]
    console = Console() if sys.stdout.isatty() else Console(width=120)
    if chosen.json:
        shown = {"misses": misses(trials)} if chosen.show else {}
        console.print_json(data={"figures": [row.as_dict() for rows in tables for row in rows], **shown})
        return
    for rows in tables:
        console.print(table(rows))
    console.print(LEGEND)
    if chosen.show:
        for line in misses(trials):
            console.print(line, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
