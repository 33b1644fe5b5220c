"""The benchmark command: that it runs to its end and reports every row. Never how fast anything is."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from delm_mcp.board.runs import Opening
from delm_mcp.cli import bench
from delm_mcp.cli.bench import Part, Plan, measure
from delm_mcp.cli.benchmarks import plain
from delm_mcp.cli.benchmarks.scene import finding, scene
from delm_mcp.cli.benchmarks.team import Team
from delm_mcp.cli.benchmarks.watched import Watch, batch_sizes
from delm_mcp.domain.policy import build

pytestmark = pytest.mark.anyio

TINY = {
    "callers": (1, 3),
    "clients": (2,),
    "queue_sizes": (50,),
    "entries": 40,
    "agents": (2, 3),
    "facts": 5,
    "commands": 2,
    "gate_s": 0.0,
    "pass_s": 0.05,
    "rounds": 1,
}


async def _reported(folder: Path, part: Part, **more: Any) -> dict[str, Any]:
    report = await measure(Plan(parts=(part,), **{**TINY, **more}), folder, lambda text: None)
    assert report["machine"]["sqlite"]
    assert set(report) == {"machine", "settings", part.value}
    assert "FULL" in report[part.value]["durability"] or part is Part.READS
    return dict(report[part.value])


async def _measured(folder: Path, part: Part, **more: Any) -> list[dict[str, Any]]:
    return list((await _reported(folder, part, **more))["rows"])


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


@pytest.mark.long
async def test_the_gate_is_measured_for_each_preset_beside_open(tmp_path: Path) -> None:
    rows = await _measured(tmp_path, Part.GATE)
    presets = ["open", "standard", "strict"]
    assert [(row["fact_with"], row["agents"], row["preset"]) for row in rows] == [
        *(("quote", agents, preset) for agents in (2, 3) for preset in presets),
        *(("artifact", 3, preset) for preset in presets[:2]),
        *(("command", 3, preset) for preset in presets),
        ("command, again", 3, "strict"),
    ]
    for row in rows:
        assert row["admitted"] == (2 if "command" in row["fact_with"] else 5)
        assert row["admitted_per_s_range"] == [row["admitted_per_s"]] * 2
        assert row["x_open_range"] == [row["x_open"]] * 2
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["x_open"] == 1 or row["preset"] != "open"
        assert row["x_open_p50"] == row["x_open_cpu"] == 1 or row["preset"] != "open"
        assert row["cpu_us"] > 0


@pytest.mark.long
async def test_each_entry_of_the_gate_passed_the_checks_of_its_preset(tmp_path: Path) -> None:
    rows = await _measured(tmp_path, Part.GATE, rounds=2)
    for row in rows:
        preset, fact = row["preset"], row["fact_with"].split(",")[0]
        judged, ran = preset == "strict", preset == "strict" and fact == "command"
        looked_up = preset != "open" and fact == "quote"
        wanted = [*["quotes"] * looked_up, *["command"] * ran, *["peers"] * judged]
        assert row["checks"] == (", ".join(wanted) or "-")
        assert (row["case_tokens"] or 0) > 100 if judged else row["case_tokens"] is None
        assert (row["command_p50_ms"] is not None) == ran
        assert row["admitted"] == (4 if fact == "command" else 10)


async def test_without_git_the_gate_is_measured_without_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = await _reported(tmp_path, Part.GATE)
    assert {row["fact_with"] for row in found["rows"]} == {"quote", "artifact"}
    assert "commands are left out: git is not installed" in found["durability"]


async def test_an_entry_that_the_gate_turns_down_ends_the_measurement(tmp_path: Path) -> None:
    strict = Opening("Measure", policy=build({"preset": "strict"}))
    async with scene(tmp_path / "board.db", Watch()) as opened:
        team = await Team.assemble(opened.board, strict, 2)
        with pytest.raises(RuntimeError, match="E1 was rejected: checkable"):
            await team.work([finding(1)])


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


def test_a_range_or_a_ratio_stands_in_brackets_behind_its_figure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = {"preset": "strict", "admitted_per_s": 1234.5, "admitted_per_s_range": [987.6, 4321.0]}
    row |= {"x_open": 0.25, "x_open_range": [0.2, 0.3], "case_tokens": None, "admitted": 3}
    bench._show_part({"title": "Gate", "durability": "FULL", "rows": [row]}, "note")
    shown = " ".join(capsys.readouterr().out.split())
    for figure in ("strict", "1,234", "(988-4,321)", "0.25 (0.2-0.3)", "-"):
        assert figure in shown


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command("bench")(bench.bench)
    done = CliRunner().invoke(app, ["--folder", str(tmp_path / "missing")])
    assert done.exit_code == 1
    assert "Nothing can be written" in done.stderr
