"""The pairs and their sources, read from text files and validated."""

import base64
import hashlib
import json
import re
import string
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from delm_mcp.domain.evidence import EVIDENCE_TYPES
from delm_mcp.domain.model import Kind

HERE = Path(__file__).parent
PAIRS = HERE / "pairs"
HELD_OUT = HERE / "held_out"

FAMILIES = (
    "altered_number",
    "altered_quote",
    "quote_from_another_source",
    "invented_source",
    "wrong_unit",
    "negation_dropped",
    "scope_widened",
    "absence_overclaimed",
    "arithmetic_wrong",
    "placeholder_evidence",
    "self_citation",
    "circular_evidence",
    "exact_duplicate",
    "instruction_hidden",
    "secret_in_evidence",
)
STATES = ("admitted", "pending", "rejected", "superseded", "suspect", "retracted")
NOWHERE = ("itself", "elsewhere", "nowhere")
"""Parents that no pair stages: its own label, an entry of another run, a label that does not exist."""

_TEXTS = ("gist", "summary", "raw", "scope", "key")
_STEP = {*_TEXTS, "name", "state", "who", "kind", "quotes", "evidence", "derived_from", "supersedes"}
_PAIR = {*_TEXTS, "id", "kind", "quotes", "evidence", "derived_from", "supersedes", "before"}
_BAD = _PAIR | {"why", "decidable"}
_GOOD = _PAIR | {"note"}


def _made_up_secrets() -> dict[str, str]:
    """Credentials that only look real, put together here so that no scanner takes this file for a leak."""
    letters = (string.ascii_letters + string.digits) * 4

    def b64(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    body = "\n".join(letters[start : start + 64] for start in (0, 7, 13))
    return {
        "aws_key_id": "AK" + "IA" + "QX7ZP2M4K9LW3NB5",
        "aws_secret": "wJ9rXUtn" + "FEMI4K7MDENGbPxRfi" + "CYzq8LK2vT5hW1",
        "github_token": "gh" + "p_" + letters[3:39],
        "db_password": "kR7wq2" + "Zp",
        "stripe_key": "sk_" + "live_" + letters[5:29],
        "slack_token": "xo" + "xb-123456789-" + letters[2:26],
        "slack_webhook": "https://hooks.slack" + ".com/services/T02AB3CD4/B05EF6GH7/" + letters[20:44],
        "anthropic_key": "sk-" + "ant-api03-" + letters[:90],
        "jwt": f"{b64({'alg': 'HS256'})}.{b64({'sub': '17', 'exp': 1718000000})}.{letters[:43]}",
        "opaque_token": "tok" + "9f2KqLx7" + "Vb3RzT8nWc5YpD1hGm4s",
        "basic_auth": base64.b64encode(b"builder:" + b"vX93kd" + b"Qw2").decode(),
        "google_secret": "GOC" + "SPX-" + letters[11:39],
        "vault_token": "hv" + "s." + letters[:24],
        "private_key": f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----",
    }


SECRETS = _made_up_secrets()


@dataclass(frozen=True, slots=True)
class Draft:
    """A proposal before the board exists: references still have their `{head}` and the like."""

    fields: dict[str, Any]

    @property
    def evidence(self) -> list[tuple[str, str, str]]:
        """`(type, ref, text)` of everything that is cited, quotes first."""
        quoted = [("quote", ref, text) for ref, text in self.fields.get("quotes", [])]
        others = [
            (item["type"], item["ref"], item.get("text", "")) for item in self.fields.get("evidence", [])
        ]
        return quoted + others

    def named(self, relation: str) -> list[str]:
        """The steps that `derived_from` or `supersedes` names."""
        return list(self.fields.get(relation, []))


@dataclass(frozen=True, slots=True)
class Step:
    """An entry that stands on the board before the pair is proposed."""

    name: str
    state: str
    by_author: bool
    draft: Draft


@dataclass(frozen=True, slots=True)
class Pair:
    """A finding with its evidence.

    Attributes:
        true: Whether it ought to be admitted.
        expect: What ought to become of it: `admitted`, `refused` or `flagged`.
        decidable: Whether a check without judgement ought to see that it is false.
        why: What is wrong with it, or what is difficult about it.
    """

    id: str
    family: str
    true: bool
    expect: str
    decidable: bool
    why: str
    draft: Draft
    before: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """Pairs that are false in the same way, and true ones of the same kind.

    Attributes:
        needs: Who can tell them apart where no check can; empty where the checks do.
    """

    name: str
    about: str
    needs: str
    pairs: tuple[Pair, ...]


def load(folder: Path = PAIRS) -> list[Family]:
    """All families in a folder, in the order of `FAMILIES`.

    Raises:
        ValueError: Something in a file does not fit; lists everything that does not.
    """
    faults: list[str] = []
    families = [_family(path, faults) for path in sorted(folder.glob("*.toml"))]
    pairs = [pair for family in families for pair in family.pairs]
    twice = [name for name, count in Counter(pair.id for pair in pairs).items() if count > 1]
    faults += [f"two pairs are called {name}" for name in twice]
    faults += [
        f"two files are of the family {name}"
        for name, n in Counter(f.name for f in families).items()
        if n > 1
    ]
    if faults:
        raise ValueError("\n".join(faults))
    return sorted(families, key=lambda family: FAMILIES.index(family.name))


def _family(path: Path, faults: list[str]) -> Family:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    name = table.get("family", "")
    if name not in FAMILIES:
        faults.append(f"{path.name}: there is no family {name!r}")
        return Family(FAMILIES[0], "", "", ())
    expect = table.get("expect", "refused")
    if expect not in ("refused", "flagged") or not isinstance(table.get("decidable"), bool):
        faults.append(f"{path.name}: expect is refused or flagged, decidable true or false")
    pairs = [
        _pair(row, name, False, expect, bool(table.get("decidable")), faults) for row in table.get("bad", [])
    ]
    pairs += [_pair(row, name, True, "admitted", False, faults) for row in table.get("good", [])]
    bad = sum(not pair.true for pair in pairs)
    if abs(2 * bad - len(pairs)) > 1:
        faults.append(f"{path.name}: {bad} false and {len(pairs) - bad} true pairs are not in balance")
    return Family(name, table.get("about", ""), table.get("needs", ""), tuple(pairs))


def _pair(
    row: dict[str, Any], family: str, true: bool, expect: str, decidable: bool, faults: list[str]
) -> Pair:
    name = str(row.get("id", "?"))
    unknown = sorted(set(row) - (_GOOD if true else _BAD))
    if unknown or not row.get("gist") or name == "?":
        faults.append(f"{name}: needs id and gist, and has no field {', '.join(unknown) or '-'}")
    if not true and not row.get("why"):
        faults.append(f"{name}: say in why what is false about it")
    steps = tuple(_step(step, name, faults) for step in row.get("before", []))
    draft = Draft(row)
    _check_draft(name, draft, {step.name for step in steps}, faults)
    return Pair(
        id=name,
        family=family,
        true=true,
        expect=expect,
        decidable=not true and bool(row.get("decidable", decidable)),
        why=row.get("why", row.get("note", "")),
        draft=draft,
        before=steps,
    )


def _step(row: dict[str, Any], pair: str, faults: list[str]) -> Step:
    name, state = str(row.get("name", "?")), row.get("state", "admitted")
    unknown = sorted(set(row) - _STEP)
    if (
        unknown
        or state not in STATES
        or not row.get("gist")
        or row.get("who", "peer") not in ("peer", "author")
    ):
        faults.append(f"{pair}: the step {name} does not fit ({', '.join(unknown) or state})")
    draft = Draft(row)
    _check_draft(f"{pair}/{name}", draft, set(), faults)
    return Step(name, state, row.get("who") == "author", draft)


def _check_draft(name: str, draft: Draft, steps: Iterable[str], faults: list[str]) -> None:
    if draft.fields.get("kind", "fact") not in list(Kind):
        faults.append(f"{name}: there is no kind {draft.fields['kind']!r}")
    faults += [
        f"{name}: there is no evidence type {kind!r}"
        for kind, _, _ in draft.evidence
        if kind not in EVIDENCE_TYPES
    ]
    known = {*steps, *NOWHERE}
    named = [*draft.named("derived_from"), *draft.named("supersedes")]
    faults += [f"{name}: there is no step {label!r}" for label in named if label not in known]
    used = re.findall(r"\$\{(\w+)\}", json.dumps(draft.fields, ensure_ascii=False))
    faults += [f"{name}: there is no secret {secret!r}" for secret in used if secret not in SECRETS]


# -- sources ---------------------------------------------------------------------------------------


@cache
def documents() -> dict[str, str]:
    """The documents that the run's owner registers, by name."""
    paths = sorted((HERE / "documents").iterdir())
    return {path.name: with_secrets(path.read_text(encoding="utf-8")) for path in paths}


@cache
def repository() -> dict[str, str]:
    """The files of the repository at head, by path."""
    paths = sorted((HERE / "repository").iterdir())
    return {path.name.removesuffix(".txt"): path.read_text(encoding="utf-8") for path in paths}


def digest(document: str) -> str:
    """The sha256 of a registered document."""
    return hashlib.sha256(documents()[document].encode()).hexdigest()


def with_secrets(text: str) -> str:
    """The text with every `${name}` filled in."""
    return re.sub(r"\$\{(\w+)\}", lambda match: SECRETS.get(match[1], match[0]), text)
