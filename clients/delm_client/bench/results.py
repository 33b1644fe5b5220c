"""What a run came to: counts beside rates, intervals, floors, and what it took."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from delm_client.bench.folder import Folder
from delm_client.bench.runner import BROKEN, DONE, scripted
from delm_client.bench.statistics import percentile, tally
from delm_client.bench.subjects import Row, subject_of
from delm_client.words import plural

SCRIPTED_WORDS = "a scripted model took the place of a model: these figures say nothing about models"


def results(folder: Folder) -> dict[str, Any]:
    """The sums of a folder.

    Rates are of what was run and judged. What could not be run is counted apart, and is neither right nor
    wrong; an empty reply is wrong.
    """
    items = list(folder.items().values())
    done = [item for item in items if item["state"] == DONE and item["right"] is not None]
    seconds = [item["seconds"] for item in items if item["state"] == DONE]
    broken = [item for item in items if item["state"] == BROKEN]
    served = sorted({name for item in items for name in item["served_by"]})
    subject = subject_of(folder.config["benchmark"], folder.config["plan"]["habits"])
    return {
        "benchmark": folder.config["benchmark"],
        "model": folder.config["model"]["name"],
        "served_by": served,
        "scripted_model": scripted(served),
        "topology": folder.config["plan"]["topology"],
        "agents": folder.config["plan"]["agents"],
        "policy": folder.config["plan"]["policy"],
        "habits": folder.config["plan"]["habits"],
        "asked": len(folder.config["items"]),
        "could_not_be_run": {item["id"]: item["ended"] for item in broken},
        "overall": tally(item["right"] for item in done),
        "not_judged": sum(item["state"] == DONE and item["right"] is None for item in items),
        "could_not_be_judged": {
            item["id"]: item["reason"] for item in items if item.get("outcome") == "environment_broke"
        },
        "by": {group: _by(done, group) for group in subject.groups},
        **subject.sums(done),
        "cut_off": sum(line["finish"] == "length" for line in folder.calls()),
        "spent": folder.spending().as_json(),
        "item_seconds": {
            "p50": percentile(seconds, 0.5),
            "p95": percentile(seconds, 0.95),
        },
    }


def _by(done: Sequence[Row], group: str) -> dict[str, dict[str, Any]]:
    members: dict[str, list[bool]] = defaultdict(list)
    for item in done:
        members[item[group]].append(item["right"])
    return {name: tally(rights) for name, rights in sorted(members.items())}


def show(out: Console, found: Mapping[str, Any]) -> None:
    """Print the tables."""
    if found["scripted_model"]:
        out.print(f"SCRIPTED MODEL: {SCRIPTED_WORDS}", style="yellow", highlight=False)
    team = f"{found['topology']}, {plural(found['agents'], 'agent')}, {found['model']}"
    table = Table("", "right", "of", "rate", "95 %", title=team)
    table.add_row("all", *cells(found["overall"]), style="bold")
    for group, members in found["by"].items():
        table.add_section()
        for name, each in members.items():
            table.add_row(f"{group.replace('_', '-')}: {name}", *cells(each))
    table.add_section()
    for name, each in found["each_agent"].items():
        table.add_row(name.replace("_", " "), *cells(each))
    floors = found.get("floors")
    if floors:
        table.add_row(f"floor: always {floors['majority_letter'] or '-'}", *cells(floors["majority"]))
        table.add_row("floor: chance", "", "", f"{floors['chance']:.1%}", "")
    out.print(table)
    _show_own(out, found)
    out.print(spent_words(found["spent"]), highlight=False)
    seconds = found["item_seconds"]
    if found["overall"]["total"] or found["not_judged"]:
        took = f"{seconds['p50']:.1f} s an item (median), {seconds['p95']:.1f} s (95th percentile)"
        out.print(took, highlight=False)
    if found.get("cost_usd_a_submission") is not None:
        item, submission = found["cost_usd_an_item"], found["cost_usd_a_submission"]
        out.print(f"${item:.4f} an item, ${submission:.4f} a submission", highlight=False)
    if found["cut_off"]:
        out.print(
            f"{found['cut_off']} replies were cut off at --max-tokens: models that think first need more",
            style="yellow",
            highlight=False,
        )
    _show_open(out, found)


def _show_open(out: Console, found: Mapping[str, Any]) -> None:
    """What has no result yet, and why."""
    for name, why in found["could_not_be_run"].items():
        out.print(f"{name} {why}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    for name, why in found["could_not_be_judged"].items():
        out.print(f"{name}: the environment broke: {why}", style="yellow", highlight=False, soft_wrap=True)
    if found["not_judged"]:
        out.print(
            f"{found['not_judged']} are not judged, and neither right nor wrong: --resume judges them",
            highlight=False,
        )
    left = found["asked"] - found["overall"]["total"] - found["not_judged"] - len(found["could_not_be_run"])
    if left or found["could_not_be_run"]:
        broken = len(found["could_not_be_run"])
        parts = [f"{plural(broken, 'item')} could not be run"] if broken else []
        parts += [f"{plural(left, 'item')} not run yet"] if left else []
        out.print(f"{', '.join(parts)}: --resume goes on with what is left", highlight=False)


def _show_own(out: Console, found: Mapping[str, Any]) -> None:
    """What only some benchmarks have."""
    if "tests" in found["habits"]:
        out.print(f"tests {found['habits']['tests']} (--tests)", highlight=False)
    if found.get("outcomes"):
        counted = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in found["outcomes"].items())
        out.print(f"submissions of the team: {counted}", highlight=False)
    if found.get("sub_domain_mean") is not None:
        out.print(f"mean of the sub-domains {found['sub_domain_mean']:.1%}", highlight=False)


def cells(each: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """A tally as the cells of a table."""
    low, high = each["interval"]
    return str(each["right"]), str(each["total"]), f"{each['rate']:.1%}", f"{low:.0%} to {high:.0%}"


def spent_words(spent: Mapping[str, Any]) -> str:
    """`12 calls, 3,400 tokens in (50 % cached), 500 out, $0.0123 ($0.0200 without the cache)`."""
    share = spent["cached_tokens"] / spent["input_tokens"] if spent["input_tokens"] else 0.0
    return (
        f"{spent['calls']:,} calls, {spent['input_tokens']:,} tokens in ({share:.0%} cached), "
        f"{spent['output_tokens']:,} out, {_dollars(spent)}"
    )


def _dollars(spent: Mapping[str, Any]) -> str:
    if spent["cost_usd"] is None:
        return f"cost unknown ({spent['unpriced_calls']:,} calls without a price)"
    return f"${spent['cost_usd']:.4f} (${spent['cost_uncached_usd']:.4f} without the cache)"
