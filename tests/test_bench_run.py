"""Benchmark runs end to end, with a scripted model over real HTTP: nothing here is about real models."""

import json
import os
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

from delm_client.bench import models
from delm_client.bench.errors import BenchError
from delm_client.bench.folder import Folder
from delm_client.bench.limits import Call
from delm_client.bench.scripted import reader, scripted
from tests.bench_model import CHUNK, PARTS, calls, command, every, found, item, questions, ran

LIE = "Paragraph 12 was written by 77 sailors."


@pytest.mark.parametrize(
    ("topology", "reads"), [("single", PARTS), ("independent", 2 * PARTS), ("central", PARTS), ("direct", 0)]
)
def test_every_topology_reads_all_of_the_text_and_answers(topology: str, reads: int, tmp_path: Path) -> None:
    results = ran(questions(tmp_path), tmp_path / "run", None, "--topology", topology, "-n", "2")
    assert results["overall"]["right"] == results["overall"]["total"] == 2
    assert results["scripted_model"]
    assert [line["step"] for line in calls(tmp_path / "run", "q1")].count("read") == reads
    agents = {line["agent"] for line in calls(tmp_path / "run", "q1")}
    assert len(agents) == {"independent": 2, "central": 3}.get(topology, 1)
    assert ("oracle_best_of_2" in results["each_agent"]) == (topology == "independent")


@pytest.mark.parametrize("policy", ["standard", pytest.param("open", marks=pytest.mark.long)])
def test_a_team_on_a_board_mends_what_its_gate_refuses(policy: str, tmp_path: Path) -> None:
    def liar(prompt: str) -> str:
        if "Paragraph 12" in prompt and "<part>" in prompt and "was refused" not in prompt:
            return json.dumps({"gist": LIE, "quotes": ["Paragraph 12 of report 1 speaks of weather"]})
        return reader(prompt)

    with scripted(liar) as model:
        ran(questions(tmp_path, "A"), tmp_path / "run", model, "-n", "2", "--policy", policy)
    done = item(tmp_path / "run", "q1")
    assert done["right"]
    assert done["board"]["notes"] == {"admitted": PARTS} | ({"rejected": 1} if policy == "standard" else {})
    (last,) = (line for line in calls(tmp_path / "run") if line["step"] == "answer")
    assert (LIE in last["prompt"]) == (policy == "open")


def test_a_run_goes_on_where_it_could_not_and_repeats_nothing(tmp_path: Path) -> None:
    data, folder = questions(tmp_path, "ABC"), tmp_path / "run"
    refused = [True]

    def trouble(_: int) -> str:
        return "400" if refused[0] and "report 2" in model.asked[-1] else ""

    with scripted(trouble=trouble) as model:
        words = ("--model", "openai:any", "--base-url", model.openai_url, "--topology", "single", *CHUNK)
        broken = command("bench", "--data", data, "--into", folder, *words)
        assert broken.exit_code == 1
        assert "could not be run" in broken.output
        results = found(folder)
        assert results["overall"]["total"] == 2  # what could not be run is not wrong
        assert list(results["could_not_be_run"]) == ["q2"]
        refused[0], before = False, len(model.asked)
        assert command("bench", "--resume", folder).exit_code == 0
        assert all("report 2" in prompt or "first" in prompt for prompt in model.asked[before:])
    assert found(folder)["overall"] == {**found(folder)["overall"], "right": 3, "total": 3}
    assert [item(folder, name)["attempt"] for name in ("q1", "q2", "q3")] == [1, 2, 1]
    assert len(model.asked) - before == len(calls(folder, "q1"))


def test_a_folder_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ran(questions(tmp_path, "AB"), folder, None, "--topology", "direct")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["items_sha256"]
    config["plan"].pop("preset", None)
    config["plan"]["habits"] = {
        name: config["plan"]["habits"][name]
        for name in ("gist_tokens", "hierarchy", "rounds", "chunk_tokens", "context_tokens")
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "items" / "q2.json").unlink()
    assert command("bench", "--resume", folder).exit_code == 0
    assert (found(folder)["overall"]["right"], item(folder, "q2")["attempt"]) == (2, 2)
    assert command("compare", folder, folder).exit_code == 0


def test_a_reply_with_half_a_character_is_kept_without_it(tmp_path: Path) -> None:
    with scripted(lambda _: "The correct answer is (A) \ud800\u2028") as model:
        ran(questions(tmp_path, "A"), tmp_path / "run", model, "--topology", "direct")
    (call,) = calls(tmp_path / "run", "q1")
    assert call["reply"] == "The correct answer is (A) ?\u2028"
    assert found(tmp_path / "run")["spent"]["calls"] == 1


def test_a_reply_without_a_letter_is_wrong_and_counted(tmp_path: Path) -> None:
    def silent(prompt: str) -> str:
        return "" if "report 1" in prompt else "I would say B." if "report 2" in prompt else reader(prompt)

    with scripted(silent) as model:
        results = ran(questions(tmp_path, "ABC"), tmp_path / "run", model, "--topology", "direct")
    assert (results["overall"]["right"], results["overall"]["total"], results["answered"]) == (1, 3, 1)


def test_refusals_and_broken_answers_of_the_model_are_tried_again(tmp_path: Path) -> None:
    with scripted(trouble=every(3, "429", "500", "malformed", "empty")) as model:
        results = ran(questions(tmp_path), tmp_path / "run", model, "--topology", "single")
    assert results["overall"]["right"] == 2
    assert len(model.asked) > results["spent"]["calls"] == 2 * (PARTS + 2)


def test_a_cap_on_an_item_ends_it_and_a_cap_on_the_run_stops_it_until_it_is_raised(tmp_path: Path) -> None:
    data, folder = questions(tmp_path), tmp_path / "run"
    results = ran(data, tmp_path / "capped", None, "--topology", "single", "--item-calls", "2")
    assert (results["overall"]["right"], results["spent"]["calls"]) == (0, 4)
    assert "calls limit of the item" in item(tmp_path / "capped", "q1")["ended"]

    words = (
        "--topology",
        "single",
        "--model",
        "scripted:reader",
        "--at-once",
        "1",
        "--run-calls",
        "7",
        *CHUNK,
    )
    stopped = command("bench", "--data", data, "--into", folder, *words)
    assert stopped.exit_code == 1
    assert "calls limit of the run is reached (7 of 7)" in stopped.output
    assert found(folder)["overall"]["total"] == 1
    assert command("bench", "--resume", folder, "--run-calls", "100").exit_code == 0
    assert found(folder)["spent"]["calls"] == 7 + PARTS + 2  # what the stopped attempt cost is in it


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "gpt-5.4"], "not a provider and a name"),
        (["--model", "openai:x"], "OPENAI_API_KEY is not set"),
        (["--model", "openai:x", "--base-url", "localhost"], "is no address"),
        (["--run-cost", "0"], "cost limit of the run is 0"),
        (["--run-cost", "1"], "No price of scripted:reader is known"),
        (["--price", "cheap"], "not INPUT/CACHED/OUTPUT"),
        (["--policy", "lax"], "open, standard, strict, or a TOML file"),
        pytest.param(["--policy", "nowhere.toml"], "nowhere.toml cannot be read", marks=pytest.mark.long),
        pytest.param(["--policy", "data.jsonl.toml"], "is not TOML", marks=pytest.mark.long),
        (["--policy", "wrong.toml"], "there is no such setting"),
        (["--data", "nowhere.json"], "does not exist"),
        (["--data", "empty.json"], "is empty"),
        (["--into", "."], "is there already"),
        (["--resume", "."], "not the folder of a benchmark run"),
        (["--item-seconds", "nan"], "The seconds limit of an item is nan"),
        (["--price", "-1/nan/0"], "is not INPUT/CACHED/OUTPUT"),
        (["--data", "odd.jsonl"], "`context` has half a character"),
        (["swebench"], "name their folder with --clones"),
    ],
)
def test_what_a_user_can_mend_is_said_in_plain_words(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    questions(tmp_path)
    (tmp_path / "empty.json").write_text("[]", encoding="utf-8")
    odd = (tmp_path / "data.jsonl").read_text(encoding="utf-8").replace('"context": "', '"context": "\\ud800')
    (tmp_path / "odd.jsonl").write_text(odd, encoding="utf-8")
    (tmp_path / "data.jsonl.toml").write_text("{", encoding="utf-8")
    (tmp_path / "wrong.toml").write_text("[limit]\nmax_attempts = 1\n", encoding="utf-8")
    result = command("bench", "--data", "data.jsonl", "--model", "scripted:reader", *words)
    assert result.exit_code == 2
    assert said in result.output.replace("\n", " ")
    assert "Traceback" not in result.output


@pytest.mark.long
def test_a_policy_from_a_file_holds_for_the_whole_run_whatever_becomes_of_the_file(tmp_path: Path) -> None:
    data, folder, mine = questions(tmp_path, "AB"), tmp_path / "run", tmp_path / "mine.toml"
    mine.write_text(
        'preset = "strict"  # but for facts\n[fact]\nchecks = ["novel", "quotes"]\n'
        "[answer]\nchecks = []\n[limits]\ngist_tokens = 77\ndecide_grace_s = 0\n",
        encoding="utf-8",
    )
    words = ("--model", "scripted:reader", "-n", "1", "--policy", mine, "--at-once", "1", *CHUNK)
    command("bench", "--data", data, "--into", folder, "--run-calls", "7", *words)
    mine.write_text('preset = "open"\n', encoding="utf-8")
    again = command("bench", "--resume", folder, "--run-calls", "100")
    assert again.exit_code == 0, again.output
    assert found(folder)["policy"] == "mine.toml"
    assert item(folder, "q2")["board"]["notes"] == {"admitted": PARTS}, "peers are not asked for facts"
    for attempt in folder.glob("boards/*/*"):
        policy = tomllib.loads((attempt / "policy.toml").read_text(encoding="utf-8"))
        assert (policy["preset"], policy["fact"]) == ("strict", {"checks": ["novel", "quotes"]})
        assert policy["limits"] == {
            **{"gist_tokens": 77, "decide_grace_s": 0},  # the file's own, and the harness's
            **{"max_rounds": 3, "max_attempts": 1},
        }


def test_a_folder_holds_any_id_and_forgives_a_line_that_a_kill_cut_off(tmp_path: Path) -> None:
    folder = Folder.create(tmp_path / "run", {})
    for name in ("a/b", "a_b", "../up", "..", "x" * 300):
        folder.finish({"id": name, "state": "done"})
    assert set(folder.items()) == {"a/b", "a_b", "../up", "..", "x" * 300}
    assert len(list((tmp_path / "run" / "items").iterdir())) == 5
    attempt = folder.attempt("a/b")
    attempt.keep("agent-1", {**asdict(Call(10, 5, 1, 0.5, 0.75)), "reply": "Zürich\u2028\x85"})
    (trajectory,) = (tmp_path / "run").glob("trajectories/*/1/agent-1.jsonl")
    with trajectory.open("ab") as file:
        file.write('{"input_tokens": 99, "reply": "Zü'.encode()[:-1])
    spent = Folder.open(tmp_path / "run").spending()
    assert (spent.calls, spent.input_tokens, spent.cost_usd) == (1, 10, 0.5)
    assert folder.attempt("a/b").number == 2
    with folder.held(), pytest.raises(BenchError, match="Another process is running"), folder.held():
        pytest.fail("two processes would run the same items")
    (tmp_path / "run" / "items" / "a_b.json").write_text("{", encoding="utf-8")
    with pytest.raises(BenchError, match="Delete it, and --resume"):
        folder.items()


def test_a_missing_extra_is_named_with_the_command_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydantic_ai", None)
    result = command("bench", "--data", questions(tmp_path), "--model", "scripted:reader")
    assert result.exit_code == 2
    assert 'pip install "delm-mcp[bench]"' in result.output.replace("\n", " ")


def test_a_model_that_is_not_there_stops_the_run_with_a_word(tmp_path: Path) -> None:
    with scripted(trouble=lambda _: "404") as model:
        words = ("--data", questions(tmp_path), "--into", tmp_path / "run", "--topology", "direct")
        result = command("bench", *words, "--model", "openai:nobody", "--base-url", model.openai_url)
    assert result.exit_code == 1
    assert "There is no openai:nobody there" in result.output
    assert not (tmp_path / "run" / "items").exists()


def test_a_full_disk_stops_a_run_before_more_is_paid_for_and_loses_nothing(tmp_path: Path) -> None:
    data, folder = questions(tmp_path, "ABCDA"), tmp_path / "run"
    words = ("--data", data, "--into", folder, "--topology", "direct", "--at-once", "1")
    with scripted() as model:
        named = ("--model", "openai:any", "--base-url", model.openai_url)
        assert command("bench", *words, *named, "--run-calls", "1").exit_code == 1
        first = len(model.asked)
        full = folder / "items" / f".q2.json.{os.getpid()}"  # what is written before it is put in place
        full.symlink_to("/dev/full")
        stopped = command("bench", "--resume", folder)
        said = stopped.output.replace("\n", " ")
        assert stopped.exit_code == 1
        assert len(model.asked) <= first + 2, "the next item was under way at most"
        assert "No space left on device. What is finished is kept; go on with" in said
        assert not full.is_symlink(), "nothing half-written is left"
        again = command("bench", "--resume", folder)
    assert again.exit_code == 0, again.output
    assert (found(folder)["overall"]["right"], item(folder, "q1")["attempt"]) == (5, 1)


def test_a_model_that_never_answers_in_time_is_named_and_asked_so_often_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "SDK_RETRIES", 1)
    words = ("bench", "--data", questions(tmp_path, "A"), "--into", tmp_path / "run", "--topology", "direct")
    with scripted(trouble=lambda _: "late") as model:
        named = ("--model", "openai:slow", "--base-url", model.openai_url, "--call-timeout", "0.3")
        result = command(*words, *named)
    said = result.output.replace("\n", " ")
    assert result.exit_code == 1
    assert len(model.asked) == 2
    assert "openai:slow has not answered within 0.3 s (--call-timeout): 2 times so far" in said
    assert "did not answer within 0.3 s, in 2 tries" in item(tmp_path / "run", "q1")["ended"]
    with scripted(trouble=lambda _: "late") as model:
        short = ("--base-url", model.openai_url, "--call-timeout", "9", "--item-seconds", "0.3")
        assert command("bench", "--resume", tmp_path / "run", *short).exit_code == 1
    assert "has not answered any call" in item(tmp_path / "run", "q1")["ended"]
    assert found(tmp_path / "run")["overall"]["total"] == 0, "a server that is down makes no answer wrong"
    with scripted() as model:
        again = command("bench", "--resume", tmp_path / "run", "--base-url", model.openai_url)
    assert again.exit_code == 0, again.output
    assert found(tmp_path / "run")["overall"]["right"] == 1


def test_a_dry_run_tells_what_is_ahead_and_asks_nothing(tmp_path: Path) -> None:
    result = command(
        *("bench", "--data", questions(tmp_path), "--into", tmp_path / "run", "--topology", "single"),
        *("--model", "openai:any", "--base-url", "http://127.0.0.1:9/v1", "--dry-run", *CHUNK),
    )
    assert result.exit_code == 0
    assert f"about {2 * (PARTS + 2)} calls" in result.output
    assert "cost unknown" in result.output
    assert not (tmp_path / "run").exists()
