"""JSON objects asked of a model, and the verdict on a peer's entry, asked in the same form everywhere."""

import json
from typing import Protocol, TypeVar

from pydantic import BaseModel, Field, ValidationError

Form = TypeVar("Form", bound=BaseModel)


class Ask(Protocol):
    """An agent's way to the model; keeps the trajectory and the caps."""

    async def __call__(self, step: str, instructions: str, prompt: str, *, max_tokens: int = 0) -> str:
        """The model's text.

        Args:
            max_tokens: Of this answer; 0: as the run says.
        """


AXES = ("support", "coherence", "arithmetic", "drift", "synthesis", "absence")
JUDGE = """Judge whether this {what} of a peer may be relied on.

{case}

Answer with one JSON object and nothing else: {{"reason": "...", "verdict": "pass", "fails": []}}
verdict: pass, fail or abstain. fails: with fail, which of {axes}."""


class BadForm(Exception):
    """The model's text is not what was asked for, not even after it was told so."""


class Judgement(BaseModel):
    """A verdict on what a peer proposed."""

    reason: str = Field(min_length=1, max_length=2000)
    verdict: str = Field(pattern="^(pass|fail|abstain)$")
    fails: list[str] = Field(default_factory=list)


async def formed(ask: Ask, step: str, instructions: str, prompt: str, form: type[Form]) -> Form:
    """Ask for an object, and once again where the reply is none. Raises BadForm."""
    reply = await ask(step, instructions, prompt)
    try:
        return parsed(reply, form)
    except ValueError as error:
        again = f"{prompt}\n\nYour reply before was not that JSON object ({error}). Give only the object."
    try:
        return parsed(await ask(step, instructions, again), form)
    except ValueError as error:
        raise BadForm(str(error)) from error


async def judged(ask: Ask, instructions: str, known: str, case: str, what: str = "note") -> Judgement:
    """Judge what a peer proposed; abstains where the model gives no judgement.

    Args:
        known: What the prompt begins with.
        case: What the board shows of the entry.
    """
    prompt = f"{known}\n\n" + JUDGE.format(what=what, case=case, axes=", ".join(AXES))
    try:
        given = await formed(ask, "judge", instructions, prompt, Judgement)
    except BadForm:
        return Judgement(reason="The model gave no judgement.", verdict="abstain")
    fails = [axis for axis in given.fails if axis in AXES] if given.verdict == "fail" else []
    if given.verdict == "fail" and not fails:
        fails = ["support"]
    return given.model_copy(update={"fails": fails})


def parsed(reply: str, form: type[Form]) -> Form:
    """The first JSON object in a reply that fits. Raises ValueError with what is wrong, in one line."""
    why = "there is no JSON object in it"
    place = reply.find("{")
    while place >= 0:
        try:
            value, _ = json.JSONDecoder(strict=False).raw_decode(reply, place)
            return form.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            why = f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
        except ValueError as error:
            why = f"it is not well-formed: {error}"
        place = reply.find("{", place + 1)
    raise ValueError(why)
