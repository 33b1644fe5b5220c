"""A scripted programmer: what stands in for a model that writes code, to try the harness without one.

It looks at its folder, reads and writes the first file that its task names, runs what can be run, and is
done. What it writes is what it is given to know: by itself nothing but a stub that returns None, so what it
gets right says nothing about anything.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from delm_client.bench.coding.agent import REFUSED

Knowledge = Callable[[str], Mapping[str, str]]
"""A prompt in, the files that it would write by their path; nothing: it writes its stub."""

_FILE = re.compile(r"^--- (\S+\.\w+)\n(.*?)(?=\n\n--- |\n\nIts tests |\Z)", re.M | re.S)
_STEP = re.compile(r"^Step (\d+) of \d+\.", re.M)
_BEFORE = re.compile(r"^--- step (\d+), ", re.M)
_PATCHED = re.compile(r"^(agent-\d+) \(patch", re.M)
_LOOK = "Look at the files and report what they ask for; change nothing."
MAKE = "Make the change that the task asks for."


def _nothing(_: str) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class ScriptedCoder:
    """The reply to each of the harness's prompts about code."""

    known: Knowledge = _nothing

    def __call__(self, prompt: str) -> str:
        """The reply to a prompt, which is all that it goes by."""
        return json.dumps(self._reply(prompt))

    def _reply(self, prompt: str) -> dict[str, Any]:
        if '"verdict"' in prompt:
            return {"reason": "as scripted", "verdict": "pass", "fails": []}
        if '{"parts"' in prompt:
            return {"parts": [MAKE, _LOOK]}
        if '{"submit"' in prompt:
            return {"submit": next(iter(_PATCHED.findall(prompt)), ""), "assign": []}
        if '"more"' in prompt:
            return {"answer": "As scripted, what is merged is taken for the answer.", "more": []}
        return self._step(prompt)

    def _step(self, prompt: str) -> dict[str, Any]:
        number = int(_STEP.findall(prompt)[-1])
        before = _BEFORE.findall(prompt.rpartition(REFUSED)[0])
        if before:  # goes on where it writes
            number += 2 - int(before[-1])
        path, text = _FILE.findall(prompt)[0]
        writes = [
            {"action": "write", "path": name, "content": content} for name, content in self._files(prompt)
        ]
        looks = [{"action": "list", "path": ""}, {"action": "read", "path": path}]
        if _LOOK in prompt:
            return [*looks, _found(path, text)][min(number, 3) - 1]
        runs = [{"action": "run"}] if '"action": "run"' in prompt else []
        steps = [*looks, *writes, *runs, _done(writes)]
        return steps[min(number, len(steps)) - 1]

    def _files(self, prompt: str) -> list[tuple[str, str]]:
        path, text = _FILE.findall(prompt)[0]
        stub = text.replace("raise NotImplementedError", "return None")
        return list((self.known(prompt) or {path: f"{stub.rstrip()}\n# As scripted.\n"}).items())


def _found(path: str, text: str) -> dict[str, Any]:
    line = max(text.splitlines(), key=len).strip()
    return {
        "action": "done",
        "kind": "fact",
        "gist": f"{path} is what has to be changed.",
        "summary": "- as scripted",
        "quotes": [{"path": path, "text": line}],
    }


def _done(writes: list[dict[str, str]]) -> dict[str, Any]:
    names = ", ".join(write["path"] for write in writes)
    told = sha256(json.dumps(writes).encode()).hexdigest()[:7]  # a board refuses the same gist twice
    gist = f"{names} is written as scripted, version {told}."
    return {"action": "done", "kind": "patch", "gist": gist, "summary": "- done"}
