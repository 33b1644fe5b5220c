"""Reports of benchmark runs: all outputs say the same, what is unknown stays so, and text is only text."""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from delm_client.bench.folder import Folder
from delm_client.bench.scripted import reader, scripted
from delm_client.bench.statistics import holm
from delm_client.git import git
from delm_client.scripted.conversation import Usage
from delm_client.team.folder import Folder as TeamFolder
from tests.bench_model import PARTS, command, questions, ran
from tests.bench_report import call, config, figures, keep, result
from tests.pages import Skeleton
from tests.team_story import START, facts

MARK = "says nothing about models"


def reported(folder: Path, *words: str | Path) -> dict[str, str]:
    """The report of a folder, by output."""
    done = command("report", folder, *words)
    assert done.exit_code == 0, done.output
    texts = {kind: (folder / f"report.{kind}").read_text(encoding="utf-8") for kind in ("html", "md", "json")}
    return texts | {"terminal": done.stdout}


def shown(texts: dict[str, str]) -> dict[str, str]:
    """What people read of each output, on one line."""
    return {
        "html": Skeleton(texts["html"]).said,
        "md": " ".join(texts["md"].replace("\\", "").split()),
        "terminal": " ".join(texts["terminal"].split()),
    }


# -- money ---------------------------------------------------------------------------------------


def test_what_a_trajectory_cost_is_what_it_comes_to_by_hand(tmp_path: Path) -> None:
    """At 0.5, cached 0.05, out 3 USD a million, five calls in USD a million:

      in   cached  out    with the cache                    without
    1000       0  100     500       + 300 = 800             500 + 300 =  800
    1500    1000   50     250 +  50 + 150 = 450             750 + 150 =  900
    2000    1500   20     250 +  75 +  60 = 385            1000 +  60 = 1060
     400     400    0       0 +  20       =  20             200       =  200
    3000       0   10    1500       +  30 = 1530           1500 +  30 = 1530
    7900    2900  180                      3185                        4490
    """
    used = [
        Usage(1000, 0, 100),
        Usage(1500, 1000, 50),
        Usage(2000, 1500, 20),
        Usage(400, 400, 0),
        Usage(3000, 0, 10),
    ]

    def script(prompt: str) -> str:
        model.usage = used[len(model.asked) - 1]
        return reader(prompt)

    with scripted(script) as model:
        words = ("--topology", "single", "--price", "0.5/0.05/3")
        ran(questions(tmp_path, "A"), tmp_path / "run", model, *words)
    assert len(model.asked) == PARTS + 2 == len(used)
    texts = reported(tmp_path / "run")
    (one,) = figures(tmp_path / "run")["items"]
    for spent in (one["spent"], figures(tmp_path / "run")["spending"]["all"]):
        tokens = (spent["input_tokens"], spent["cached_tokens"], spent["output_tokens"])
        assert tokens == (7900, 2900, 180)
        assert spent["cost_usd"] == pytest.approx(3185e-6)
        assert spent["cost_uncached_usd"] == pytest.approx(4490e-6)
    steps = figures(tmp_path / "run")["spending"]["by_step"]
    costs = {step: 1e6 * each["cost_usd"] for step, each in steps.items()}
    assert costs == pytest.approx({"read": 1635, "look": 20, "answer": 1530})
    for text in shown(texts).values():
        assert "7,900" in text
        assert "2,900" in text
        assert "$0.0032" in text
        assert "$0.0045" in text


def test_a_cost_that_nobody_knows_is_unknown_in_every_output(tmp_path: Path) -> None:
    ran(questions(tmp_path, "A"), tmp_path / "run", None, "--topology", "direct")
    texts = reported(tmp_path / "run")
    assert figures(tmp_path / "run")["spending"]["all"]["cost_usd"] is None
    for text in shown(texts).values():
        assert "unknown" in text
        assert "$" not in text


# -- one run -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A run of an orchestrator and two agents, whose first reply is not what was asked for."""
    folder = tmp_path_factory.mktemp("report")

    def script(prompt: str) -> str:
        return "Gladly!" if len(model.asked) == 1 else reader(prompt)

    with scripted(script) as model:
        words = ("--topology", "central", "-n", "2", "--price", "1/0.1/5", "--at-once", "1")
        ran(questions(folder, "AB"), folder / "run", model, *words)
    return folder / "run", reported(folder / "run", "--item", "q1")


def test_all_outputs_of_a_report_say_the_same(run: tuple[Path, dict[str, str]]) -> None:
    folder, texts = run
    found, read = figures(folder), shown(texts)
    spent, waiting = found["spending"]["all"], found["bubbles"]["all"]["waiting_share"]
    assert found["results"]["overall"]["right"] == 2
    assert set(found["bubbles"]["agents"]) == {"orchestrator", "agent-1", "agent-2"}
    assert found["trouble"]["asked_again"] == 1  # by the words of the prompts themselves
    assert 0 < waiting < 1
    for text in read.values():
        for figure in (
            "100.0%",
            "34% to 100%",
            f"{spent['input_tokens']:,}",
            f"{spent['cached_tokens']:,}",
            f"${spent['cost_usd']:.4f}",
            f"{100 * waiting:.0f}%",
            "sub-domain: Legal",
            "orchestrator",
        ):
            assert figure in text
        for word in (
            "scripted-reader",
            "central x2",
            "policy none",
            str(folder),
            str(found["source"]["date"])[:16] * False or "delm-run",
        ):
            assert word in text
        assert text.count(MARK) > 7  # beside every figure


def test_a_report_is_one_page_that_loads_nothing_and_marks_its_pictures(
    run: tuple[Path, dict[str, str]],
) -> None:
    folder, texts = run
    page = Skeleton(texts["html"])
    assert not page.open
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.elements}
    addresses = re.findall(r'(?:href|src)="(?!#)([^"]*)"', texts["html"])
    assert not addresses
    names = [dict(attributes).get("id") for _, attributes in page.elements]
    assert max(Counter(filter(None, names)).values()) == 1
    drawn = [dict(attributes) for tag, attributes in page.elements if tag == "svg" and attributes]
    assert sum(each.get("role") == "img" and bool(each.get("aria-label")) for each in drawn) == 2
    (beside,) = (folder / "plots").iterdir()
    assert MARK in beside.read_text(encoding="utf-8")
    assert f"](plots/{beside.name})" in texts["md"]


def test_without_matplotlib_a_report_has_no_plots_and_says_what_brings_them(
    run: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = command("report", run[0], "--into", tmp_path)
    assert done.exit_code == 0
    assert 'pip install "delm-mcp[bench]"' in " ".join(done.stdout.split())
    assert not (tmp_path / "plots").exists()
    assert figures(tmp_path)["spending"] == figures(run[0])["spending"]


def test_a_timeline_adds_up(tmp_path: Path) -> None:
    folder = Folder.create(tmp_path / "run", config(["q1", "q2"]))
    lines = {
        "agent-1": [call(0, 2), call(3, 4, "answer")],
        "agent-2": [call(1, 3, "judge"), call(2.5, 6)],  # two at once, until the later one ends
    }
    folder.finish(result("q1", keep(folder, "q1", lines)))
    keep(folder, "q2", {"agent-1": [call(10, 13)]})  # cut off: it has no result
    folder.finish(result("q2", keep(folder, "q2", {"agent-1": [call(20, 24)]}), seconds=4.0))
    done = command("report", folder.path, "--json")
    found = json.loads(done.stdout)
    assert found["bubbles"]["shown"] == "q1"
    one, other = found["bubbles"]["agents"]["agent-1"], found["bubbles"]["agents"]["agent-2"]
    assert [one[name] for name in ("calling_s", "verifying_s", "waiting_s")] == pytest.approx([3, 0, 3])
    assert [other[name] for name in ("calling_s", "verifying_s", "waiting_s")] == pytest.approx([5, 2, 1])
    everything = found["bubbles"]["all"]  # with q2: 4 s of one, and 4 s in which the other had no call
    assert [everything[name] for name in ("calling_s", "waiting_s")] == pytest.approx([12, 8])
    assert everything["waiting_share"] == pytest.approx(0.4)
    assert found["spending"]["lost"]["calls"] == 1
    assert found["spending"]["all"]["calls"] == 6
    assert [item["lost_calls"] for item in found["items"]] == [0, 1]
    assert not (folder.path / "report.json").exists()


HOSTILE = (
    "<script>alert(1)</script>",
    "\x1b[31mred\x1b[0m\x07 [bold]x[/]",
    "a|b `c` ](javascript:x) $x^2$ ]]> --> https://evil.example",
    "x" * 300,
    "船🚢\u202e",
)


def test_text_of_others_is_text_in_every_output(tmp_path: Path) -> None:
    told = config(HOSTILE, command="delm-run `<b>` \x1b[2J", model={"name": "openai:<i>\x1b]0;x\x07$a$"})
    folder = Folder.create(tmp_path / "run", told)
    for text in HOSTILE:
        lines = {text: [call(0, 1, text, model=text, finish=text), call(1, 2, text, reply=text)]}
        row = {"sub_domain": text, "ended": text, "served_by": [text]}
        folder.finish(result(text, keep(folder, text, lines), **row))
    folder.finish(result("b", 1, state="broken", ended=HOSTILE[0] + HOSTILE[1]))
    for item in HOSTILE:
        texts = reported(folder.path, "--item", item)
        page = Skeleton(texts["html"])
        assert not page.open
        assert not {"script", "b", "i", "a"} & {tag for tag, _ in page.elements}
        assert HOSTILE[0] in page.said
        tags = {token.type for token in _flat(MarkdownIt("commonmark").enable("table").parse(texts["md"]))}
        assert not {"html_block", "html_inline", "link_open"} & tags
        for kind, text in texts.items():
            if kind != "json":
                assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text), kind
        for picture in (folder.path / "plots").iterdir():
            assert not Skeleton(picture.read_text(encoding="utf-8")).open


def _flat(tokens: Any) -> Iterator[Any]:
    for token in tokens:
        yield token
        yield from _flat(token.children or [])


def test_what_is_no_run_or_not_whole_is_said_in_plain_words(tmp_path: Path) -> None:
    nothing = command("report", tmp_path)
    assert nothing.exit_code == 2
    assert "not the folder of a benchmark run" in nothing.output.replace("\n", " ")

    folder = Folder.create(tmp_path / "run", config(["q1", "q2"]))
    assert "No item is done yet" in reported(folder.path)["terminal"]

    keep(folder, "q1", {"agent-1": [call(0, 1)]})
    assert "2 not run yet, 1 of them begun" in reported(folder.path)["terminal"]

    folder.finish(result("q1", keep(folder, "q1", {"agent-1": [call(5, 6)]})))
    assert "1 of 2 items done, 1 not run yet" in reported(folder.path)["md"]
    unknown = command("report", folder.path, "--item", "q11")
    assert (unknown.exit_code, "not an item of this run. Did you mean `q1`?" in unknown.output) == (2, True)

    (folder.path / "items" / "q1.json").write_text('{"id": "q1", "state": "done"}', encoding="utf-8")
    broken = command("report", folder.path)
    assert broken.exit_code == 2
    assert "cannot read, or was changed" in broken.output.replace("\n", " ")
    (folder.path / "config.json").write_text("{", encoding="utf-8")
    assert "no readable config.json" in command("report", folder.path).output.replace("\n", " ")


def test_a_report_is_of_the_team_or_of_the_folder_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    nowhere = command("report", "r-abc")
    assert (nowhere.exit_code, "no folder r-abc" in nowhere.output.replace("\n", " ")) == (2, True)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x")
    team = TeamFolder(tmp_path / ".delm" / "teams" / "r-abc")
    assert team.make()
    team.write_facts(facts(repository=str(tmp_path), ended_at=START + 60, outcome="finished"))
    (tmp_path / "r-abc").mkdir()  # a folder of that name is no reason to leave the team
    for words in ([], ["r-abc"]):
        done = command("report", *words)
        assert done.exit_code == 0, done.output
        assert str(team.root / "report.html") in done.output.replace("\n", "")
    assert command("report", "r-abc", "--json").exit_code == 2
    Folder.create(tmp_path / "run", config(["q1"]))
    assert "0 of 1 item done" in command("report", "run").output


# -- several -------------------------------------------------------------------------------------


@pytest.mark.long
def test_all_outputs_of_a_comparison_say_the_same(tmp_path: Path) -> None:
    data = questions(tmp_path, "ABCD")
    priced = ("--price", "1/0.1/5")
    ran(data, tmp_path / "alone", None, "--topology", "single", *priced)
    ran(data, tmp_path / "led", None, "--topology", "central", "-n", "2", *priced)
    with scripted(lambda _: "The correct answer is (A)") as model:
        ran(data, tmp_path / "direct", model, "--topology", "direct", *priced)
    folders = [tmp_path / name for name in ("alone", "led", "direct")]
    done = command("compare", *folders, "--into", tmp_path / "both")
    assert done.exit_code == 0, done.output
    found = figures(tmp_path / "both", "compare")
    assert [run["right"]["right"] for run in found["runs"]] == [4, 4, 1]
    assert [pair["mcnemar_p"] for pair in found["pairs"]] == pytest.approx([1, 0.25])
    assert [pair["holm_p"] for pair in found["pairs"]] == pytest.approx([1, 0.5])
    assert found["speed_up"]["against"] == "A"
    assert [run["agents"] for run in found["speed_up"]["runs"]] == [2]
    texts = {
        kind: (tmp_path / "both" / f"compare.{kind}").read_text(encoding="utf-8") for kind in ("html", "md")
    }
    for text in shown(texts | {"terminal": done.stdout}).values():
        assert text.count(MARK) > 5
        for word in (
            "A single x1",
            "B central x2",
            "C direct x1",
            "25.0%",
            "-75.0",
            "0.25",
            "0.5",
            *map(str, folders),
        ):
            assert word in text
    assert {path.stem for path in (tmp_path / "both" / "plots").iterdir()} == {
        f"compare-{name}" for name in ("scatter", "speed-up", "bubbles", "growth")
    }
    assert command("compare", folders[0]).exit_code == 2


def test_holm_is_that_of_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


# -- the gate ------------------------------------------------------------------------------------


@pytest.mark.long
def test_the_economics_of_the_gate_are_those_of_its_boards(tmp_path: Path) -> None:
    lie = json.dumps(
        {"gist": "Paragraph 12 was written by 77 sailors.", "quotes": ["Paragraph 12 of report 1"]}
    )

    def liar(prompt: str) -> str:
        lies = "Paragraph 12" in prompt and "<part>" in prompt and "was refused" not in prompt
        return lie if lies else reader(prompt)

    with scripted(liar) as model:
        ran(questions(tmp_path, "A"), tmp_path / "run", model, "-n", "3", "--policy", "strict")
    texts = reported(tmp_path / "run")
    gate = figures(tmp_path / "run")["gate"]
    proposals = gate["told"]["stats"]["proposals"]
    assert (proposals["admitted"], proposals["rejected"]) == (PARTS + 1, 1)
    assert proposals["refused"] == {"quotes": 1}
    assert figures(tmp_path / "run")["trouble"]["mended"] == gate["mending"]["calls"] == 1
    assert gate["verifying"]["calls"] == gate["told"]["stats"]["verifying"]["done"] == PARTS + 1
    assert gate["told"]["admission"]["all"]["count"] == PARTS + 1
    assert figures(tmp_path / "run")["context"]["admitted"][-1]["entries"] == PARTS + 1
    assert 0 < gate["share_of_tokens"] < 1
    for text in shown(texts).values():
        assert "quotes 1" in text
    for board in (tmp_path / "run").glob("boards/*/*/board.db"):
        board.write_bytes(b"no board")
    assert "could not be read" in shown(reported(tmp_path / "run"))["terminal"]
