"""`judge`: the instructions of the model that judges, and a try of the one that a policy names."""

import time
from dataclasses import dataclass
from typing import Annotated

import typer

from delm_mcp.checks.judge import Judge, Opinion
from delm_mcp.cli.runs import OWNER
from delm_mcp.cli.serving import BoardFile
from delm_mcp.cli.wiring import err, opened, out, run
from delm_mcp.config import judge_key, load_policy
from delm_mcp.domain.model import Verdict
from delm_mcp.domain.policy import JudgePolicy
from delm_mcp.domain.text import fenced
from delm_mcp.errors import ConfigError
from delm_mcp.prompts import shipped

app = typer.Typer(no_args_is_help=True, help="See and try the model that judges entries.")

_SOURCE = (
    "We measured 240 requests against the staging server. Of these, 18 failed with a timeout; all 18 were "
    "uploads larger than 10 MB. Smaller uploads were not affected in this measurement."
)


@dataclass(frozen=True, slots=True)
class _Example:
    """A case whose verdict is beyond doubt."""

    name: str
    gist: str
    expected: Verdict

    @property
    def case(self) -> str:
        return (
            f"An entry of the kind fact; its author says that it is quoted.\n\n"
            f"gist: {fenced(self.gist)}\n\n"
            f"evidence 1, a quote from the source {fenced('load-test.md')}, found there word for word:\n"
            f"| {_SOURCE}\n"
        )


_EXAMPLES = (
    _Example(
        "true example",
        "In a load test of the staging server 18 of 240 requests (7.5 %) failed with a timeout, all of them "
        "uploads larger than 10 MB.",
        Verdict.PASS,
    ),
    _Example(
        "false example",
        "Every upload larger than 10 MB times out in production, which is 18 % of all requests.",
        Verdict.FAIL,
    ),
)


@app.command("prompt")
def prompt() -> None:
    """Print the instructions that come with delm-mcp, to be edited and named by a policy (judge.prompt).

    The word {axes} in them stands for the axes along which entries are judged.
    """
    typer.echo(shipped("judge"), nl=False)


@app.command("try")
def try_(
    policy: Annotated[str, typer.Option(help="The TOML file whose judge is to be tried.")],
) -> None:
    """Ask the judge of a policy about a true and a false example, and print what it says and costs.

    Ends with exit code 1 when it cannot be asked, or is wrong about one of them.
    """

    async def main() -> int:
        wanted = load_policy(policy, (), ()).judge
        if not wanted.model:
            raise ConfigError(
                f"{policy} names no judge.",
                'Add [judge] with model = "anthropic:<name>", or "openai:<name>" and base_url.',
            )
        judge, wrong = Judge(judge_key), 0
        for example in _EXAMPLES:
            began = time.monotonic()
            opinion = await judge.opinion(wanted, example.case)
            _show(example, opinion, time.monotonic() - began)
            wrong += opinion.verdict is not example.expected
        return _conclude(wanted, wrong)

    if code := run(main):
        raise typer.Exit(code)


def _show(example: _Example, opinion: Opinion, duration_s: float) -> None:
    verdict = opinion.verdict.value + (f" ({', '.join(opinion.fails)})" if opinion.fails else "")
    cost = "cost unknown" if opinion.cost_usd is None else f"{opinion.cost_usd:.6f} USD"
    requests = "1 request" if opinion.requests == 1 else f"{opinion.requests} requests"
    _print(
        f"{example.name}: {verdict} by {opinion.model}; {requests}, {opinion.input_tokens} tokens in, "
        f"{opinion.output_tokens} out, {cost}, {duration_s:.1f} s"
    )
    _print(f"  {fenced(opinion.reason)}")


def _conclude(policy: JudgePolicy, wrong: int) -> int:
    if not wrong:
        _print("The judge is right about both.")
        return 0
    hint = "" if policy.output == "prompted" else ', or output = "prompted" for a small local one'
    err.print(
        f"The judge is wrong about {wrong} of {len(_EXAMPLES)}. Try another model{hint}.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return 1


def _print(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)


@app.command("allow")
def allow(
    board: BoardFile = None,
    run_name: Annotated[str, typer.Option("--run", help="The run, where there are several.")] = "",
    usd: Annotated[float | None, typer.Option(min=0, help="Dollars, for all judgements of the run.")] = None,
    tokens: Annotated[int | None, typer.Option(min=0, help="Tokens, for all judgements of the run.")] = None,
) -> None:
    """Change what the judge of a run may spend in all. What waits for it is then judged."""

    async def main() -> None:
        if usd is None and tokens is None:
            raise ConfigError("Nothing was allowed.", "Pass --usd, --tokens, or both.")
        async with opened(board) as served:
            policy = await served.board.allow_judging(OWNER, run_name, usd=usd, tokens=tokens)
        dollars = "any sum" if policy.judge.spend_usd is None else f"{policy.judge.spend_usd:g} USD"
        err.print(
            f"the judge may spend {dollars} and {policy.judge.spend_tokens} tokens in this run",
            highlight=False,
        )

    run(main)
