"""Writes the bundled trace, which is synthetic: `python -m delm_client.simulate.sample > sample_calls.csv`.

Its calls are drawn, not recorded: prompts grow, most of them is cached, most calls are short. It is there so
that the command runs for everybody and the format has an example; what it shows is no finding about agents.
"""

import csv
import random
import sys
from typing import TextIO

INSTANCES = 40
COLUMNS = ("instance", "call", "prompt", "completion", "cached", "reasoning", "cost", "created")


def write(into: TextIO) -> None:
    """The same calls, each time."""
    draw = random.Random("synthetic calls")  # noqa: S311 - nothing secret is drawn
    lines = csv.writer(into, lineterminator="\n")
    lines.writerow(COLUMNS)
    for instance in range(INSTANCES):
        created = 1_700_000_000 + 5_000 * instance
        prompt, before = 1_200 + draw.randrange(800), 0
        for call in range(max(4, round(draw.lognormvariate(3.1, 0.5)))):
            completion = min(4_000, round(draw.lognormvariate(4.5, 1.2)) + 1)
            cached = int(before * 0.95) if before and draw.random() < 0.9 else 0
            cost = ((prompt - cached) * 0.5 + cached * 0.05 + completion * 3) / 1e6
            row = (f"synthetic-{instance:02}", call, prompt, completion, cached, 0, f"{cost:.6f}", created)
            lines.writerow(row)
            before = prompt
            prompt += completion + round(draw.lognormvariate(5.6, 0.9))
            created += max(1, round(2.5 + completion / 90 + draw.expovariate(0.5)))


if __name__ == "__main__":
    write(sys.stdout)
