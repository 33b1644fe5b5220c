"""`python -m delm_client.scripted`: the scripted model until it is interrupted."""

import signal
from typing import Annotated

import anyio
import typer

from delm_client.scripted.app import SCRIPTS, scripted_model


async def _serve(port: int, script: str) -> None:
    async with scripted_model(SCRIPTS[script], port=port) as model:
        print(model.url, flush=True)  # noqa: T201 - its only output, for whoever started it
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                break


def main(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 picks a free one.")] = 0,
    script: Annotated[str, typer.Option(help=f"What decides its turns: {', '.join(SCRIPTS)}.")] = "worker",
) -> None:
    """Answer coding agents in place of a model, by a script; prints the address and serves until Ctrl-C.

    Give agents a dummy key and this address: ANTHROPIC_BASE_URL, GOOGLE_GEMINI_BASE_URL, or an OpenAI base
    address of <address>/v1. Whatever they do then is simulated.
    """
    if script not in SCRIPTS:
        raise typer.BadParameter(f"There is no script {script!r}; there are: {', '.join(SCRIPTS)}.")
    anyio.run(_serve, port, script)


if __name__ == "__main__":
    typer.run(main)
