"""SWE-bench: instances, predictions, what the harness reports, and metrics."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delm_client.bench.errors import DataError, ExtraMissing
from delm_client.bench.items import Instance
from delm_client.bench.reading import Row
from delm_client.bench.swebench import data, outcomes
from delm_client.bench.swebench.metrics import Attempt, summarise, unbiased
from delm_client.bench.swebench.outcomes import Judged, Outcome
from delm_client.bench.swebench.predictions import Prediction, Predictions, read, write_json
from tests.bench_data import instance_row, json_lines, real


def instance(**changed: Any) -> Instance:
    return data.parse([Row("here", instance_row(**changed))])[0]


# --- loading


def test_parquet_json_and_json_lines_give_the_same_instances(tmp_path: Path) -> None:
    core = pytest.importorskip("arro3.core")
    io = pytest.importorskip("arro3.io")
    rows = [instance_row(), instance_row(instance_id="owner__project-2", hints_text="")]
    names = list(rows[0])
    columns = [core.Array([row[name] for row in rows], core.DataType.string()) for name in names]
    parquet = tmp_path / "test.parquet"
    io.write_parquet(core.Table.from_arrays(columns, names=names), str(parquet))
    zipped = tmp_path / "test.parquet.gz"
    zipped.write_bytes(gzip.compress(parquet.read_bytes()))
    listed = tmp_path / "test.json"
    listed.write_text(json.dumps(rows))
    lines = json_lines(tmp_path / "test.jsonl", rows)
    loaded = data.load(parquet)
    assert [found.id for found in loaded] == ["owner__project-1", "owner__project-2"]
    assert loaded[0].fail_to_pass == ("tests/test_x.py::test_new",)
    assert data.load(zipped) == data.load(listed) == data.load(lines) == loaded
    assert loaded[0].shown() == "It is wrong."
    parquet.write_bytes(parquet.read_bytes()[:-20])
    with pytest.raises(DataError, match="its end is missing"):
        data.load(parquet)


def test_parquet_without_a_reader_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("arro3.io", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / "test.parquet"
    path.write_bytes(b"PAR1....PAR1")
    with pytest.raises(ExtraMissing, match=r"pip install 'delm-mcp\[bench\]'"):
        data.load(path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"base_commit": "main"}, "`base_commit` is no full commit: 'main'"),
        ({"FAIL_TO_PASS": "tests/test_x.py"}, "`FAIL_TO_PASS` is not a JSON list"),
        ({"PASS_TO_PASS": "[1]"}, "`PASS_TO_PASS` must be a list of test ids"),
        ({"repo": 3}, "`repo` must be text, and is 3"),
    ],
)
def test_a_wrong_instance_is_named_with_its_line(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=r"x\.jsonl, line 1") as caught:
        data.load(json_lines(tmp_path / "x.jsonl", [instance_row(**changed)]))
    assert said in str(caught.value)


def test_instances_are_chosen_by_id(tmp_path: Path) -> None:
    rows = [instance_row(instance_id=f"a__b-{n}", FAIL_TO_PASS=["x"]) for n in range(3)]
    path = json_lines(tmp_path / "x.jsonl", rows)
    assert [found.id for found in data.load(path, ["a__b-2", "a__b-0"])] == ["a__b-2", "a__b-0"]
    with pytest.raises(DataError, match=r"No instance is called `a_b-1`\. Did you mean `a__b-1`\?"):
        data.load(path, ["a_b-1"])


def test_the_real_instances_are_read() -> None:
    pytest.importorskip("arro3.io")
    found = data.load(real("swe_bench_verified/test.parquet.gz"))
    assert len(found) == 500
    assert all(one.fail_to_pass and one.eval_script and one.patch for one in found)
    assert not any(one.patch in one.shown() for one in found)


# --- predictions


def test_predictions_are_resumed_without_doubles(tmp_path: Path) -> None:
    path = tmp_path / "new" / "preds.jsonl"
    first = Predictions(path)
    assert first.add(Prediction("a-1", "model", "diff --git é\n"))
    assert first.add(Prediction("a-2", "model", ""))
    with path.open("ab") as out:
        out.write(b'{"instance_id": "a-3", "model_name')  # killed while it wrote
    again = Predictions(path)
    assert set(again.done) == {"a-1", "a-2"}
    assert not again.add(Prediction("a-1", "model", "another"))
    assert again.add(Prediction("a-3", "model", "diff"))
    assert "a-3" in again
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"instance_id": "a-1", "model_name_or_path": "model", "model_patch": "diff --git é\n"},
        {"instance_id": "a-2", "model_name_or_path": "model", "model_patch": ""},
        {"instance_id": "a-3", "model_name_or_path": "model", "model_patch": "diff"},
    ]


@given(st.integers(0, 400))
@settings(max_examples=40, deadline=None)
def test_a_writer_may_be_killed_at_any_byte(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "preds.jsonl"
    wanted = [Prediction(f"a-{n}", "m", f"line {n}\n\u2028") for n in range(3)]
    for prediction in wanted:
        Predictions(path).add(prediction)
    path.write_bytes(path.read_bytes()[:cut])
    resumed = Predictions(path)
    assert list(resumed.done.values()) == wanted[: len(resumed.done)]
    for prediction in wanted:
        resumed.add(prediction)
    assert list(read(path)) == wanted


def test_both_official_forms_are_read_and_faults_named(tmp_path: Path) -> None:
    predictions = [Prediction("a-1", "m", "x"), Prediction("a-2", "m", "")]
    write_json(tmp_path / "preds.json", predictions)
    assert list(read(tmp_path / "preds.json")) == predictions
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps([prediction.official() for prediction in predictions]))
    assert list(read(listed)) == predictions
    null = json_lines(tmp_path / "null.jsonl", [{**predictions[0].official(), "model_patch": None}])
    assert read(null)[0].patch == ""
    double = json_lines(tmp_path / "double.jsonl", [predictions[0].official()] * 2)
    with pytest.raises(DataError, match=r"line 2: a-1 has a prediction at double\.jsonl, line 1 already"):
        read(double)
    typo = json_lines(tmp_path / "typo.jsonl", [{"instance_id": "a", "model": "m", "model_patch": ""}])
    with pytest.raises(DataError, match="the field `model_name_or_path` is missing"):
        read(typo)
    with pytest.raises(DataError, match=r"must end in \.jsonl"):
        Predictions(tmp_path / "preds.txt")


# --- outcomes


def run_report(**changed: Any) -> dict[str, Any]:
    """A report as harness 5.0 writes it."""
    return {
        "resolved_ids": ["a-1"],
        "unresolved_ids": ["a-2", "a-3"],
        "empty_patch_ids": ["a-4"],
        "error_ids": ["a-5", "a-6", "a-7"],
        "incomplete_ids": ["a-8"],
        "infra_failure_ids": ["a-3"],
        "ambiguous_failure_ids": ["a-7"],
        "failure_reasons": {"a-3": "out_of_memory", "a-7": "tests_timed_out"},
        "schema_version": 2,
        **changed,
    }


def test_a_broken_environment_is_kept_apart_from_a_wrong_patch(tmp_path: Path) -> None:
    report = tmp_path / "m.run.json"
    report.write_text(json.dumps(run_report()))
    logs = outcomes.log_folder(tmp_path, "run", "org/m")
    assert logs == tmp_path / "logs" / "run_evaluation" / "run" / "org__m"
    for name, text in (("a-5", ">>>>> Patch Apply Failed:\nno"), ("a-6", "Image not found")):
        (logs / name).mkdir(parents=True)
        (logs / name / "run_instance.log").write_text(text)
    judged = outcomes.read_run_report(report, logs)
    assert {name: (one.outcome.value, one.reason) for name, one in judged.items()} == {
        "a-1": ("resolved", ""),
        "a-2": ("unresolved", ""),
        "a-3": ("environment_broke", "out_of_memory"),
        "a-4": ("empty_patch", ""),
        "a-5": ("unresolved", "patch_does_not_apply"),
        "a-6": ("environment_broke", ""),
        "a-7": ("unresolved", "tests_timed_out"),
        "a-8": ("not_run", ""),
    }


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.run.json"
    with pytest.raises(DataError, match="the harness writes its report when it ends"):
        outcomes.read_run_report(path)
    for content, said in (
        ("{", "no report of the harness"),
        ("[]", "holds no object"),
        ('{"resolved_id": []}', "`resolved_ids` is missing.*Did you mean `resolved_id`"),
        (json.dumps(run_report(error_ids={"a": 1})), "`error_ids` must be a list"),
    ):
        path.write_text(content)
        with pytest.raises(DataError, match=said):
            outcomes.read_run_report(path)


def test_the_report_on_one_instance_is_read(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for report, outcome in (
        ({"resolved": True}, Outcome.RESOLVED),
        ({"resolved": False, "patch_exists": True}, Outcome.UNRESOLVED),
        ({"resolved": False, "patch_exists": False, "patch_is_None": True}, Outcome.EMPTY_PATCH),
        ({"resolved": False, "patch_exists": True, "infra_failure": True}, Outcome.ENVIRONMENT_BROKE),
    ):
        path.write_text(json.dumps({"a-1": report}))
        assert outcomes.read_instance_report(path)["a-1"].outcome is outcome
    path.write_text(json.dumps(run_report()))
    with pytest.raises(DataError, match="no report on an instance"):
        outcomes.read_instance_report(path)


def test_every_instance_has_an_outcome() -> None:
    instances = [instance(instance_id=f"a-{n}") for n in range(4)]
    predictions = [Prediction("a-0", "m", "x"), Prediction("a-1", "m", " \n"), Prediction("a-2", "m", "x")]
    judged = {"a-0": Judged("a-0", Outcome.RESOLVED)}
    found = outcomes.complete(instances, predictions, judged)
    assert [one.outcome for one in found.values()] == [
        Outcome.RESOLVED,
        Outcome.EMPTY_PATCH,
        Outcome.ENVIRONMENT_BROKE,
        Outcome.NOT_RUN,
    ]


# --- metrics


def attempts(spelled: str, cost: float | None = 0.1) -> list[Attempt]:
    kinds = {
        "R": Outcome.RESOLVED,
        "u": Outcome.UNRESOLVED,
        "e": Outcome.EMPTY_PATCH,
        "b": Outcome.ENVIRONMENT_BROKE,
        "n": Outcome.NOT_RUN,
    }
    return [Attempt(Judged("x", kinds[letter]), cost) for letter in spelled]


def test_the_metrics_of_several_attempts() -> None:
    summary = summarise(
        {"i1": attempts("uR"), "i2": attempts("RR"), "i3": attempts("bu"), "i4": attempts("en")}
    )
    assert (summary.instances, summary.attempts) == (4, 2)
    assert summary.avg_at_1 == 3 / 8
    assert summary.avg_at_1_judged == 3 / 6
    assert summary.oracle_pass_at == {1: 1 / 4, 2: 2 / 4}
    assert summary.unbiased_pass_at == {1: pytest.approx(3 / 8), 2: pytest.approx(2 / 4)}
    assert summary.outcomes[Outcome.ENVIRONMENT_BROKE] == summary.outcomes[Outcome.NOT_RUN] == 1
    assert summary.cost.known_usd == pytest.approx(0.7)  # what did not run cost nothing
    assert summary.cost.per_task_usd == pytest.approx(0.7 / 4)
    assert summary.cost.per_submission_usd == pytest.approx(0.1)


def test_an_unknown_cost_is_never_taken_for_nothing() -> None:
    cost = summarise({"i1": [*attempts("R"), *attempts("u", None)]}).cost
    assert (cost.known_usd, cost.unknown) == (0.1, 1)
    assert cost.per_task_usd is cost.per_submission_usd is None


def test_metrics_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="same number of attempts"):
        summarise({"i1": attempts("R"), "i2": attempts("RR")})
    with pytest.raises(ValueError, match="same number of attempts"):
        summarise({})
    with pytest.raises(ValueError, match="1 <= k <= 2"):
        summarise({"i1": attempts("Ru")}, [1, 4])
    assert summarise({"i1": attempts("bn")}).avg_at_1_judged is None


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
@settings(max_examples=60, deadline=None)
def test_the_unbiased_estimate_is_the_mean_over_all_choices(tries: list[bool], picked: st.DataObject) -> None:
    from itertools import combinations

    k = picked.draw(st.integers(1, len(tries)))
    choices = list(combinations(tries, k))
    expected = sum(any(choice) for choice in choices) / len(choices)
    assert unbiased(len(tries), sum(tries), k) == pytest.approx(expected)
