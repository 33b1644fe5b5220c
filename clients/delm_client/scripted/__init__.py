"""A scripted model: what stands in for a model where none can be reached, in tests and to try a team out.

One server on loopback speaks the protocols of Anthropic, OpenAI (chat completions and responses) and Gemini,
streaming, so that real coding agents work with it: they start, read files, edit, run commands, and call the
board, as a script says. It shows that agents, board and launcher work together. It shows nothing about
models: whatever is made with it is simulated, and has to be called that.

    async with scripted_model(worker) as model:
        ...  # ANTHROPIC_BASE_URL=model.url, an OpenAI base address of model.openai_url, and so on

or `python -m delm_client.scripted --script worker`, which prints its address.
"""

from delm_client.scripted.app import SCRIPTS, Script, ScriptedModel, scripted_model
from delm_client.scripted.clients import Action, Conversation, Step
from delm_client.scripted.worker import Turn, worker

__all__ = [
    "SCRIPTS",
    "Action",
    "Conversation",
    "Script",
    "ScriptedModel",
    "Step",
    "Turn",
    "scripted_model",
    "worker",
]
