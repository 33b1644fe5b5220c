"""Instructions for models, as files that a user can read and replace."""

from importlib.resources import files


def shipped(name: str) -> str:
    """The instructions that come with delm-mcp.

    Args:
        name: `judge`.
    """
    return (files(__name__) / f"{name}.md").read_text(encoding="utf-8")
