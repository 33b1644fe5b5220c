"""`delm-run bench`."""

import json
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.console import Console

from delm_client.bench import jobs
from delm_client.bench.coding.scripted import ScriptedCoder
from delm_client.bench.errors import BenchError, PlugError
from delm_client.bench.estimate import estimate
from delm_client.bench.folder import Folder
from delm_client.bench.items import Benchmark, Item, Question
from delm_client.bench.limits import Caps, OverLimit
from delm_client.bench.longbench.data import MULTI_DOC
from delm_client.bench.longbench.floors import floors as floors_of
from delm_client.bench.longbench.floors import show_floors
from delm_client.bench.longbench.prompts import ANSWER_TOKENS
from delm_client.bench.models import SCRIPTED, Model, ModelRefused, Price, Wanted, insist
from delm_client.bench.results import results, show, spent_words
from delm_client.bench.runner import Progress, run
from delm_client.bench.scripted import Script, reader, scripted
from delm_client.bench.subjects import JudgedLater, Team, Topology
from delm_client.bench.swebench.plugs import Environment, Judging, chosen

CODING = "Items that are solved by changing files"
out = Console(emoji=False)  # or `openai:x:` would become one
err = Console(stderr=True, emoji=False)
SWEBENCH = "SWE-bench"

BENCH_HELP = "\n\n".join(
    [
        "Run a benchmark with one model through one topology, so that topologies can be compared.",
        "All topologies use the same agent, model, prompts and caps: [bold]single[/] (one agent), "
        "[bold]independent[/] (n, nothing shared; oracle best-of), [bold]central[/] (an orchestrator "
        "assigns, waits, merges), [bold]delm[/] (n on a board with a gate; --policy open: without it).",
        "[bold]longbench[/]: agents read the whole text in parts; [bold]direct[/] is its own way, one call, "
        "for reference. [bold]humaneval, mbpp, exercism, quixbugs[/]: agents change files in git worktrees, "
        "and the exercise's own tests judge what they submit. Programs that a model wrote run with your "
        "rights: use a container or a user of their own.",
        "Everything is kept in one folder. Ctrl-C or a kill loses nothing that is finished: "
        "--resume FOLDER runs what is left, and what could not be run.",
        "Models: openai:NAME, anthropic:NAME, google:NAME; for vLLM, Ollama and the like openai:NAME with "
        "--base-url. scripted:reader (longbench) and scripted:coder (the rest) stand in for a model, to try "
        "the harness. "
        'Needs the extra: pip install "delm-mcp\\[bench]".',
        "[bold]swebench[/]: agents leave patches, written as official predictions; when all are through, a "
        "judge says what became of them: the official harness (docker), its scripts in bubblewrap (local), "
        "or nobody (--no-judge). Where the environment broke, --resume judges again and asks no agent.",
        "Example: delm-run bench longbench --data data.json --topology delm -n 4 --model openai:gpt-5.4 "
        "--limit 10 --run-cost 5 --dry-run",
        "Without a model: delm-run bench humaneval --topology central -n 2 --model scripted:coder --limit 5",
        "Exit code 0 when every item was run, 1 when some could not be run or judged or a cap stopped it, 2 "
        "for bad input.",
    ]
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(help=BENCH_HELP)(bench)


def bench(
    name: Annotated[str, typer.Argument(help=f"The benchmark: {', '.join(Benchmark)}.")] = "longbench",
    file: Annotated[Path | None, typer.Argument(help="Its data: the same as --data.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Its data: a file, or a clone; default: what is installed, or the hub."),
    ] = None,
    domain: Annotated[str, typer.Option(help="Of LongBench-v2's questions, or `all`.")] = MULTI_DOC,
    topology: Annotated[Topology, typer.Option(help="Who reads what and who knows what.")] = Topology.DELM,
    agents: Annotated[int, typer.Option("--agents", "-n", min=1, max=64, help="Agents an item.")] = 4,
    model: Annotated[str, typer.Option(help="openai:NAME, anthropic:NAME or google:NAME.")] = "",
    base_url: Annotated[str, typer.Option(help="Another server that speaks that protocol.")] = "",
    key_env: Annotated[
        str, typer.Option(help="The variable with the key; default: the provider's own.")
    ] = "",
    temperature: Annotated[float, typer.Option(help="-1: the model's own; LongBench says 0.1.")] = 0.1,
    max_tokens: Annotated[
        int, typer.Option(min=0, help="Of one answer; models that think need more. 0: the benchmark's own.")
    ] = 0,
    call_timeout: Annotated[
        float | None,
        typer.Option(min=0.1, help="Seconds until a call without an answer is made again; default: 300."),
    ] = None,
    price: Annotated[str, typer.Option(help="USD for a million tokens: INPUT/CACHED/OUTPUT.")] = "",
    policy: Annotated[
        str, typer.Option(help="Of the board: open, standard, strict, or a TOML file.")
    ] = "standard",
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Ablation: the same as --policy open.")
    ] = False,
    no_hierarchy: Annotated[
        bool, typer.Option("--no-hierarchy", help="Ablation: answer from gists, nothing unfolds.")
    ] = False,
    gist_tokens: Annotated[int, typer.Option(min=10, max=800, help="How long a gist may be.")] = 100,
    chunk_tokens: Annotated[int, typer.Option(min=50, max=10_000, help="How large a part is.")] = 4000,
    context_tokens: Annotated[int, typer.Option(min=1000, help="Of one prompt at most.")] = 120_000,
    cot: Annotated[
        bool,
        typer.Option("--cot", help="With direct: LongBench's own chain of thought (1024 tokens, then 128)."),
    ] = False,
    rounds: Annotated[int, typer.Option(min=0, max=5, help="How often parts may be asked for again.")] = 1,
    tests: Annotated[
        str,
        typer.Option(
            rich_help_panel=CODING,
            help="hidden: agents do not see an exercise's tests. shown: they lie in the worktree, can be "
            "run, and are what the board judges patches with.",
        ),
    ] = "hidden",
    tests_seconds: Annotated[
        float, typer.Option(min=0.1, rich_help_panel=CODING, help="How long an exercise's tests may take.")
    ] = 60,
    steps: Annotated[
        int,
        typer.Option(
            min=0,
            rich_help_panel=CODING,
            help="Calls of the model for one piece of work; what is in the worktree then counts. "
            "0: the benchmark's own (30; swebench 80).",
        ),
    ] = 0,
    output_chars: Annotated[
        int, typer.Option(min=100, rich_help_panel=CODING, help="What one action may print.")
    ] = 8000,
    environment: Annotated[
        Environment,
        typer.Option(
            help="Where agents work. worktree: checkouts of --clones, where nothing can be run; "
            "local: the same, and commands run in bubblewrap; docker: the official images.",
            rich_help_panel=SWEBENCH,
        ),
    ] = Environment.WORKTREE,
    clones: Annotated[
        Path | None,
        typer.Option(help="A folder of clones, called owner__name or name.", rich_help_panel=SWEBENCH),
    ] = None,
    python: Annotated[
        list[str] | None,
        typer.Option(
            help="For local: a virtual environment with what a project needs, owner/name=FOLDER or "
            "owner/name@version=FOLDER; may be given several times.",
            rich_help_panel=SWEBENCH,
        ),
    ] = None,
    judge: Annotated[
        Judging | None,
        typer.Option(
            help="docker: the official harness; local: the official evaluation scripts in bubblewrap; none: "
            "only predictions are written. Default: local where the environment is local, else docker.",
            rich_help_panel=SWEBENCH,
        ),
    ] = None,
    no_judge: Annotated[
        bool, typer.Option("--no-judge", help="The same as --judge none.", rich_help_panel=SWEBENCH)
    ] = False,
    harness_python: Annotated[
        str,
        typer.Option(
            help="An interpreter that has `swebench` 5; default: this one.", rich_help_panel=SWEBENCH
        ),
    ] = "",
    limit: Annotated[int, typer.Option(min=0, help="So many items, drawn by --seed; 0: all.")] = 0,
    seed: Annotated[int, typer.Option(help="Draws the items of --limit.")] = 0,
    at_once: Annotated[int, typer.Option(min=1, max=64, help="Items at the same time.")] = 2,
    item_cost: Annotated[float | None, typer.Option(help="Cap in USD an item.")] = None,
    item_tokens: Annotated[int | None, typer.Option(help="Cap on tokens an item.")] = None,
    item_calls: Annotated[int | None, typer.Option(help="Cap on calls an item.")] = None,
    item_seconds: Annotated[float | None, typer.Option(help="Cap on time an item.")] = 3600,
    run_cost: Annotated[float | None, typer.Option(help="Cap in USD on the run.")] = None,
    run_tokens: Annotated[int | None, typer.Option(help="Cap on tokens of the run.")] = None,
    run_calls: Annotated[int | None, typer.Option(help="Cap on calls of the run.")] = None,
    run_seconds: Annotated[float | None, typer.Option(help="Cap on time of the run.")] = None,
    into: Annotated[Path | None, typer.Option(help="A new folder for the run.")] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on with this folder; only caps, --at-once, --base-url, --key-env, --call-timeout and "
            "what judges are taken anew."
        ),
    ] = None,
    floors: Annotated[
        bool,
        typer.Option(
            "--floors", help="Print what these items score without any model, and stop (longbench)."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the estimate and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Run a benchmark."""
    with clear_errors(into or resume):
        if file is not None and data is not None:
            raise BenchError("The data are named twice: as an argument, and with --data.")
        data = data or file
        if floors:
            _floors(jobs.Choice(name, data, domain, limit, seed), as_json=as_json)
            return
        item_caps = Caps(item_cost, item_tokens, item_calls, item_seconds)
        run_caps = Caps(run_cost, run_tokens, run_calls, run_seconds)
        item_caps.refuse_nothing("an item")
        run_caps.refuse_nothing("the run")
        if cot and topology is not Topology.DIRECT and resume is None:
            raise BenchError("--cot is LongBench's own way of asking, so it goes with --topology direct.")
        insist()
        judging = Judging.NONE if no_judge else judge
        plugs = chosen(environment if resume is None else None, clones, python or (), judging, harness_python)
        if resume is not None:
            job = jobs.resumed(resume, base_url, key_env, plugs)
        else:
            habits = {
                "gist_tokens": gist_tokens,
                "hierarchy": not no_hierarchy,
                "rounds": rounds,
                "chunk_tokens": chunk_tokens,
                "context_tokens": context_tokens,
                "tests": tests,
                "tests_s": tests_seconds,
                "output_chars": output_chars,
                **({"steps_max": steps} if steps else {}),
                "cot": cot,
                # A model that thinks before it answers needs more, and whoever says so gets it for both.
                "answer_tokens": ANSWER_TOKENS if cot and not max_tokens else 0,
                **plugs,
            }
            team = Team(topology, agents, "open" if no_verify else policy)
            warmth = temperature if temperature >= 0 else None
            priced = Price.parse(price) if price else None
            wanted = Wanted(model, base_url, key_env, warmth, max_tokens, price=priced)
            job = jobs.begun(jobs.Choice(name, data, domain, limit, seed), team, habits, wanted, into)
        job = job.within(item_caps, run_caps, at_once)
        if call_timeout is not None:
            job = replace(job, wanted=replace(job.wanted, timeout_s=call_timeout))
        forecast = str(estimate(job.left(), job.subject, job.plan.team, job.wanted))
        (out if dry_run else err).print(forecast, highlight=False, soft_wrap=True)
        if not dry_run and not _conducted(job, as_json=as_json):
            raise typer.Exit(1)


def _floors(choice: jobs.Choice, *, as_json: bool) -> None:
    """Print the floors of the items. Raises BenchError where none are known."""
    questions = [item for item in jobs.items_of(choice) if isinstance(item, Question)]
    if not questions:
        raise BenchError(f"--floors are known of {Benchmark.LONGBENCH} only, and not of {choice.name}.")
    found = floors_of(questions)
    if as_json:
        print(json.dumps(found, indent=1))  # noqa: T201 - for programs
    else:
        show_floors(out, found)


def _conducted(job: jobs.Job, *, as_json: bool) -> bool:
    """Run the job, print its results, and tell whether every item was run."""
    left = job.left()
    if left:
        job.wanted.key()
    if isinstance(job.subject, JudgedLater) and (left or job.unjudged()):
        job.subject.ready(job.path, job.data, working=bool(left))
    folder = job.opened()
    err.print(f"folder {folder.path}", highlight=False, markup=False, soft_wrap=True)
    with folder.held():
        whole = _worked(folder, job, left)
        found = results(folder)
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))  # noqa: T201 - for programs
    else:
        show(out, found)
        more = f"more: delm-run report {shlex.quote(str(folder.path))}"
        err.print(more, highlight=False, markup=False, soft_wrap=True)
    return whole


def _worked(folder: Folder, job: jobs.Job, left: list[Item]) -> bool:
    """Run and judge what is left, keep the sums, and tell whether every item was run."""
    whole = True
    if left:
        with _model(job.wanted) as asked:
            whole = _run(folder, job, asked)
    if isinstance(job.subject, JudgedLater):
        whole = _judged(folder, job, job.subject) and whole
    folder.save("results.json", results(folder))
    return whole


@contextmanager
def _model(wanted: Wanted) -> Iterator[Model]:
    """The model; a scripted one is started for as long as the run lasts."""
    if wanted.provider != SCRIPTED:
        yield Model(wanted, _warn)
        return
    script: Script = ScriptedCoder() if wanted.model == "coder" else reader
    with scripted(script, name=f"{SCRIPTED}-{wanted.model}") as stand_in:
        yield Model(replace(wanted, name=f"openai:{wanted.name}", base_url=stand_in.openai_url), _warn)


def _warn(text: str) -> None:
    err.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)


def _run(folder: Folder, job: jobs.Job, model: Model) -> bool:
    """Run with progress; True when every item was run."""
    stopped = ""
    try:
        progress = anyio.run(run, folder, job.subject, job.items, job.plan, model, _tell)
        return progress.done == len(job.items)
    except OverLimit as error:
        stopped = f"Stopped: {error}."
    except ModelRefused as error:
        stopped = f"Stopped: {error}"
    except OSError as error:
        # Such as a full disk: no results can be written either, and they can be made anew at any time.
        where = error.filename or folder.path
        stopped = f"Stopped: {where}: {error.strerror or error}."
        err.print(f"{stopped} {_go_on(folder)}", style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        stopped = "Stopped."
        folder.save("results.json", results(folder))
        err.print(f"{stopped} {_go_on(folder)}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    err.print(f"{stopped} {_go_on(folder)}", style="red", highlight=False, markup=False, soft_wrap=True)
    return False


def _judged(folder: Folder, job: jobs.Job, subject: JudgedLater) -> bool:
    """Judge what the agents left; False where something could not be judged."""

    def told(text: str) -> None:
        err.print(text, highlight=False, markup=False, soft_wrap=True)

    try:
        subject.judge(folder, job.items, told)
    except PlugError as error:
        err.print(f"Judging stopped: {error} {_go_on(folder)}", style="red", markup=False, soft_wrap=True)
        return False
    except KeyboardInterrupt:
        folder.save("results.json", results(folder))
        told(f"Stopped. {_go_on(folder)}")
        raise typer.Exit(130) from None
    return not any(row.get("outcome") == "environment_broke" for row in folder.items().values())


def _go_on(folder: Folder) -> str:
    return f"What is finished is kept; go on with: delm-run bench --resume {shlex.quote(str(folder.path))}"


def _tell(progress: Progress) -> None:
    """One line whenever an item is through."""
    if progress.meter is None or not progress.here:
        return
    took = time.monotonic() - progress.started
    rate = progress.here / took if took else 0.0
    open_ = progress.total - progress.done - progress.broken
    line = f"{progress.done} of {progress.total} done, "
    line += f"{progress.open} to be judged" if progress.open else f"{progress.right} right"
    line += f", {progress.broken} could not be run" if progress.broken else ""
    line += f"; {60 * rate:.1f} items/min, {open_ / rate / 60:.0f} min left; " if rate else "; "
    err.print(line + spent_words(progress.meter.spent.as_json()), highlight=False, soft_wrap=True)


@contextmanager
def clear_errors(folder: Path | None) -> Iterator[None]:
    """What a user can mend is said in plain words."""
    try:
        yield
    except BenchError as error:
        err.print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
    except OSError as error:
        where = error.filename or folder or "writing"  # a write that fails names no file
        err.print(f"{where}: {error.strerror or error}", style="red", highlight=False, markup=False)
    else:
        return
    raise typer.Exit(2)
