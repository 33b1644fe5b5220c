"""Check a benchmark's data and say what is in it: `python -m delm_client.bench longbench data.json`."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from delm_client.bench import registry
from delm_client.bench.errors import BenchError, DataError, did_you_mean
from delm_client.bench.exercises.project import materialise
from delm_client.bench.items import Benchmark, Exercise, Instance, Item, Question
from delm_client.bench.longbench.data import MULTI_DOC
from delm_client.bench.longbench.scoring import score
from delm_client.bench.longbench.split import chunks, documents, tokens
from delm_client.git import GitError


def main(arguments: list[str] | None = None) -> int:
    """Print a table of what is there, or one item; 0 when all of it is sound, 2 when it is not."""
    parser = argparse.ArgumentParser(prog="python -m delm_client.bench", description=__doc__)
    parser.add_argument("benchmark", help=", ".join(Benchmark))
    parser.add_argument("source", type=Path, nargs="?", help="the data file, or the clone (default: the hub)")
    parser.add_argument(
        "--domain", default=MULTI_DOC, help="of LongBench-v2's questions, or `all` (%(default)s)"
    )
    parser.add_argument("--show", default="", metavar="ID", help="print what a solver is shown of one item")
    parser.add_argument(
        "--make", type=Path, metavar="FOLDER", help="with --show: write that exercise into a new folder"
    )
    options = parser.parse_args(arguments)
    out, err = Console(), Console(stderr=True)
    try:
        items = registry.load(options.benchmark, options.source, domain=options.domain)
        if options.show:
            item = _chosen(items, options.show)
            out.print(item.shown(), markup=False, highlight=False, soft_wrap=True)
            if options.make:
                out.print(_made(item, options.make), markup=False, highlight=False, soft_wrap=True)
        else:
            _tell(out, items)
    except (BenchError, GitError) as error:
        err.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return 2
    return 0


def _chosen(items: Sequence[Item], wanted: str) -> Item:
    by_id = {item.id: item for item in items}
    if wanted not in by_id:
        raise DataError(f"No item is called `{wanted}`.{did_you_mean(wanted, by_id)}")
    return by_id[wanted]


def _made(item: Item, folder: Path) -> str:
    if not isinstance(item, Exercise):
        raise DataError(f"{item.id} is no exercise: only those are folders with tests.")
    return f"\nmade {folder}; its tests: {materialise(item, folder, commit=True)}"


def _tell(out: Console, items: Sequence[Item]) -> None:
    questions = [item for item in items if isinstance(item, Question)]
    if questions:
        _tell_questions(out, questions)
    repos = Counter(item.repo for item in items if isinstance(item, Instance))
    if repos:
        table = Table("repository", "instances")
        for repo, count in repos.most_common():
            table.add_row(repo, str(count))
        out.print(table)
    out.print(f"{len(items)} items, all sound", highlight=False)


def _tell_questions(out: Console, questions: Sequence[Question]) -> None:
    table = Table("sub-domain", "questions", "tokens, median", "documents found", "chunks of 1,000")
    for name in sorted({question.sub_domain for question in questions}):
        inside = [question.context for question in questions if question.sub_domain == name]
        sizes = sorted(map(tokens, inside))
        table.add_row(
            name,
            str(len(inside)),
            f"{sizes[len(sizes) // 2]:,}",
            str(sum(len(documents(raw)) for raw in inside)),
            f"{sum(len(chunks(raw)) for raw in inside):,}",
        )
    out.print(table)
    floor = score(questions, {})
    out.print(
        f"always answering {floor.majority_letter} is right in {floor.majority.right} "
        f"of {floor.majority.total}: {floor.majority.accuracy:.1%}",
        highlight=False,
    )


if __name__ == "__main__":
    sys.exit(main())
