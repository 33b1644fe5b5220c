"""The coding agents that a team can be made of, by the name that `--agents` calls them."""

from collections.abc import Mapping

from delm_client.team.harness import Harness
from delm_client.team.harnesses.claude import Claude
from delm_client.team.harnesses.codex import Codex
from delm_client.team.harnesses.gemini import Gemini
from delm_client.team.harnesses.opencode import OpenCode

HARNESSES: Mapping[str, Harness] = {
    harness.name: harness for harness in (Claude(), Codex(), Gemini(), OpenCode())
}
