"""Two runs side by side, on the items that both of them ran."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from delm_client.bench.errors import BenchError
from delm_client.bench.folder import Folder
from delm_client.bench.limits import Spending
from delm_client.bench.results import SCRIPTED_WORDS
from delm_client.bench.runner import DONE, scripted
from delm_client.bench.statistics import bootstrap, mcnemar, tally

MEANS = (
    "cost_usd",
    "cost_uncached_usd",
    "calls",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "seconds",
)


def compare(first: Folder, second: Folder) -> dict[str, Any]:
    """The paired comparison.

    Returns:
        `a`, `b`: Rate and mean spending an item; `difference`: b - a in rate with its 95 % bootstrap interval
        over items; `only_a`, `only_b`: items that only one of them got right; `mcnemar_p`: exact, two-sided;
        `means`: of b - a with intervals, null where a cost is unknown.

    Raises:
        BenchError: There is no item that both ran.
    """
    ours, theirs = (
        {
            key: item
            for key, item in each.items().items()
            if item["state"] == DONE and item["right"] is not None
        }
        for each in (first, second)
    )
    shared = sorted(set(ours) & set(theirs))
    if not shared:
        raise BenchError(f"{first.path} and {second.path} have no item in common that both of them ran.")
    pairs = [(ours[key], theirs[key]) for key in shared]
    only_a = sum(a["right"] and not b["right"] for a, b in pairs)
    only_b = sum(b["right"] and not a["right"] for a, b in pairs)
    served = [name for pair in pairs for item in pair for name in item["served_by"]]
    return {
        "items": len(pairs),
        "not_shared": len(set(ours) ^ set(theirs)),
        "scripted_model": scripted(served),
        "a": _side(first, [a for a, _ in pairs]),
        "b": _side(second, [b for _, b in pairs]),
        "difference": _difference([float(b["right"]) - float(a["right"]) for a, b in pairs]),
        "only_a": only_a,
        "only_b": only_b,
        "mcnemar_p": mcnemar(only_a, only_b),
        "means": {name: _means(pairs, name) for name in MEANS},
    }


def _side(folder: Folder, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    spent = Spending()
    for item in items:
        spent = spent.plus(Spending.of_json(item["spent"]))
    plan = folder.config["plan"]
    return {
        "folder": str(folder.path),
        "model": folder.config["model"]["name"],
        **{name: plan[name] for name in ("topology", "agents", "policy", "habits")},
        "right": tally(item["right"] for item in items),
        "spent": spent.as_json(),
        "seconds": sum(item["seconds"] for item in items),
    }


def _value(item: Mapping[str, Any], name: str) -> float | None:
    value = item["seconds"] if name == "seconds" else item["spent"][name]
    return None if value is None else float(value)


def _means(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], name: str) -> dict[str, Any] | None:
    values = [(_value(a, name), _value(b, name)) for a, b in pairs]
    known = [(a, b) for a, b in values if a is not None and b is not None]
    if len(known) < len(values):
        return None
    size = len(known)
    return {
        "a": sum(a for a, _ in known) / size,
        "b": sum(b for _, b in known) / size,
        **_difference([b - a for a, b in known]),
    }


def _difference(differences: Sequence[float]) -> dict[str, Any]:
    return {"mean": sum(differences) / len(differences), "interval": bootstrap(differences)}


def show(out: Console, found: Mapping[str, Any]) -> None:
    """Print it as a table."""
    if found["scripted_model"]:
        out.print(f"SCRIPTED MODEL: {SCRIPTED_WORDS}", style="yellow", highlight=False)
    a, b = found["a"], found["b"]
    table = Table("a mean per item", _named(a), _named(b), "difference", "95 %")
    low, high = found["difference"]["interval"]
    table.add_row(
        "right",
        *(f"{side['right']['rate']:.1%} ({side['right']['right']} of {found['items']})" for side in (a, b)),
        f"{100 * found['difference']['mean']:+.1f} points",
        f"{100 * low:+.1f} to {100 * high:+.1f}",
    )
    for name, each in found["means"].items():
        if each is None:
            table.add_row(name.replace("_", " "), "unknown", "unknown", "", "")
            continue
        low, high = each["interval"]
        shown = [_figure(each["a"]), _figure(each["b"]), _figure(each["mean"], "+")]
        shown.append(f"{_figure(low, '+')} to {_figure(high, '+')}")
        table.add_row(name.replace("_", " "), *shown)
    out.print(table)
    out.print(
        f"Only A right: {found['only_a']}; only B right: {found['only_b']}; McNemar's exact p = "
        f"{found['mcnemar_p']:.3g}. {found['not_shared']} items were run by one of them only and left out.",
        highlight=False,
    )


def _figure(value: float, sign: str = "") -> str:
    return f"{value:{sign},.0f}" if abs(value) >= 1000 else f"{value:{sign}.4g}"


def _named(side: Mapping[str, Any]) -> str:
    tests = f", tests {side['habits']['tests']}" if "tests" in side["habits"] else ""
    return f"{side['topology']} x{side['agents']}, gate {side['policy']}{tests}\n{side['model']}"
