"""A case as the server's text gives it, read back into its parts by somebody who sees nothing else."""

import re
from dataclasses import dataclass, field

_HEAD = re.compile(r"^(E\d+) is an? (\w+), (\w+)\.")
_FIELD = re.compile(r"^(gist|scope): «(.*)»$")
_EVIDENCE = re.compile(r"^evidence \d+: (\w+)\b.*«([^»]*)»$")  # what is cited stands last
_PARENT = re.compile(r"^rests on (E\d+) [^:]*: «(.*)»$")


@dataclass
class Exhibit:
    """One piece of evidence."""

    type: str
    ref: str
    text: str = ""


@dataclass
class Case:
    """What a verifier is given. `parents`: the gists that the entry rests on, by label."""

    entry: str
    kind: str = ""
    gist: str = ""
    scope: str = ""
    summary: str = ""
    flagged: bool = False
    command_passed: bool = False
    exhibits: list[Exhibit] = field(default_factory=list)
    parents: dict[str, str] = field(default_factory=dict)


def parse(text: str) -> Case:
    """Read a case. What agents wrote stands behind `| ` or between « », so it never passes for ours."""
    case = Case("")
    into: list[str] = []
    blocks: list[tuple[Exhibit | None, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("| ") or line == "|":
            into.append(line[2:])
            continue
        into = []
        if head := _HEAD.match(line):
            case.entry, case.kind = head.group(1), head.group(2)
        elif found := _FIELD.match(line):
            setattr(case, found.group(1), found.group(2))
        elif found := _EVIDENCE.match(line):
            exhibit = Exhibit(found.group(1), found.group(2))
            case.exhibits.append(exhibit)
            blocks.append((exhibit, into))
        elif found := _PARENT.match(line):
            case.parents[found.group(1)] = found.group(2)
        elif line == "summary:":
            blocks.append((None, into))
        case.flagged = case.flagged or line.startswith("flagged:")
        case.command_passed = case.command_passed or line.startswith("check command: pass")
    for owner, lines in blocks:
        if owner is None:
            case.summary = "\n".join(lines)
        else:
            owner.text = "\n".join(lines)
    return case
