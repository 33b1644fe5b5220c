"""The benchmark command: that it runs to its end and reports every row. Never how fast anything is."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from delm_mcp.cli import bench
from delm_mcp.cli.bench import Part, Plan, measure
from delm_mcp.cli.benchmarks import plain
from delm_mcp.cli.benchmarks.watched import Watch, batch_sizes

pytestmark = pytest.mark.anyio

TINY = {
    "callers": (1, 3),
    "clients": (2,),
    "queue_sizes": (50,),
    "entries": 40,
    "pass_s": 0.05,
    "rounds": 1,
}


async def _measured(folder: Path, part: Part, **more: Any) -> list[dict[str, Any]]:
    report = await measure(Plan(parts=(part,), **{**TINY, **more}), folder, lambda text: None)
    assert report["machine"]["sqlite"]
    assert set(report) == {"machine", "settings", part.value}
    assert "FULL" in report[part.value]["durability"] or part is Part.READS
    return list(report[part.value]["rows"])


async def test_writes_are_reported_for_each_operation_and_number_of_callers(tmp_path: Path) -> None:
    rows = await _measured(tmp_path, Part.WRITES)
    assert [(row["operation"], row["callers"]) for row in rows] == [
        ("claim", 1),
        ("claim", 3),
        ("propose", 1),
        ("propose", 3),
    ]
    for row in rows:
        assert row["calls"] > 0
        assert 1 <= row["batch"] <= row["callers"]
        for yardstick in ("same_batches", "replayed", "single"):
            assert row[f"sqlite_{yardstick}_per_s"] > 0
            assert row[f"x_{yardstick}"] > 0


async def test_claims_are_timed_inside_the_transaction_for_each_queue(tmp_path: Path) -> None:
    rows = await _measured(tmp_path, Part.CLAIMS)
    assert [(row["ready_tasks"], row["sets_of_needs"]) for row in rows] == [(50, 1), (50, 3)]
    for row in rows:
        assert 0 < row["inside_sqlite_p50_us"] <= row["inside_p50_us"] <= row["call_p99_us"]


async def test_reads_see_the_lines_that_they_are_named_after(tmp_path: Path) -> None:
    rows = await _measured(tmp_path, Part.READS)
    assert [row["lines"] for row in rows] == [20, 0, 40]
    assert all(row["calls"] > 0 for row in rows)


async def test_tools_are_called_over_http_beside_one_that_does_nothing(tmp_path: Path) -> None:
    rows = await _measured(tmp_path, Part.HTTP)
    assert [row["tool"] for row in rows] == ["noop", "claim_task", "propose_update", "read_context"]
    assert all(row["calls"] > 0 for row in rows)
    assert rows[0]["x_noop"] == 1


def test_a_slower_disk_is_slept_in_every_commit_of_sqlite_alone(tmp_path: Path) -> None:
    timing = plain.small(tmp_path / "slow.db", "claim", iter([1, 2]), 5, flush_s=0.02, tasks=10)
    assert timing.count == 3
    assert len(timing.calls_s) == 2
    assert min(timing.calls_s) >= 0.02


def test_recorded_statements_tell_the_batches_and_can_be_run_again(tmp_path: Path) -> None:
    watch = Watch(recording=True)
    connection = watch.connect(tmp_path / "recorded.db")
    connection.execute("CREATE TABLE t (x)")
    for size in (1, 3):
        connection.execute("BEGIN IMMEDIATE")
        for number in range(size):
            connection.execute("SAVEPOINT operation")
            connection.execute("INSERT INTO t VALUES (?)", (number,))
            connection.execute("RELEASE operation")
        connection.execute("COMMIT")
    connection.close()
    recorded = watch.take()
    assert batch_sizes(recorded) == [1, 3]
    (again,) = plain.replayed(tmp_path / "copy.db", [recorded], 5, 0.0)
    assert again.count == 4


def test_the_command_prints_json_and_leaves_nothing_behind(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command("bench")(bench.bench)
    words = ["--folder", str(tmp_path), "--part", "reads", "--seconds", "0.05", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["reads"]["rows"]) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command("bench")(bench.bench)
    done = CliRunner().invoke(app, ["--folder", str(tmp_path / "missing")])
    assert done.exit_code == 1
    assert "Nothing can be written" in done.stderr
