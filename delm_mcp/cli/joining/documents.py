"""A client's configuration file as text with one entry of ours: found, changed, taken out again.

Each change is checked before anybody sees it: read again, the file must say what it said before, but for
our entry.
"""

import tomllib
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import InlineTable

from delm_mcp.cli.joining import jsonc
from delm_mcp.cli.joining.recipes import ENTRY, REACH_KEYS, Client, Entry
from delm_mcp.errors import ConfigError

BOM = "\ufeff"


def parse(client: Client, text: str, where: str) -> dict[str, Any]:
    """What the file says.

    Raises:
        ConfigError: It is broken; says in which line.
    """
    text = text.removeprefix(BOM)
    if not text.strip():
        return {}
    try:
        facts = tomllib.loads(text) if client.format == "toml" else jsonc.read(text).value
        if _is_deep(facts):
            raise RecursionError
    except (jsonc.Broken, tomllib.TOMLDecodeError) as error:
        kind = "TOML" if client.format == "toml" else "JSON"
        raise ConfigError(
            f"{where} is no {kind} that could be read: {error}.", "Mend it there first; nothing was changed."
        ) from None
    except RecursionError:
        raise ConfigError(
            f"{where} has values nested more than {jsonc.DEPTH_MAX} deep.", "Add the entry by hand."
        ) from None
    if not isinstance(facts, dict):
        raise ConfigError(f"{where} holds no object at its top.", "Mend it there first; nothing was changed.")
    return facts


def _is_deep(value: Any) -> bool:
    """Whether values are nested deeper than what changes them can follow."""
    level = [value]
    for _ in range(jsonc.DEPTH_MAX):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


def entry_in(client: Client, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The client's entry for the board, if it has one."""
    found: Any = facts
    for key in (*client.section, ENTRY):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def merged(before: Mapping[str, Any] | None, entry: Entry) -> dict[str, Any]:
    """The entry as it should be: reached as we say, otherwise as the user tuned it."""
    if before is None:
        return {**entry.reach, **entry.comfort}
    kept = {key: value for key, value in before.items() if key not in REACH_KEYS or key in entry.reach}
    missing = {key: value for key, value in entry.comfort.items() if key not in before}
    return {**kept, **_with_options(entry.reach, before), **missing}


def _with_options(reach: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """How it is reached, with the options that the user gave `delm-mcp stdio`, such as `--agent`."""
    ours, theirs = reach.get("command"), before.get("command")
    if isinstance(ours, list) and isinstance(theirs, list) and theirs[1:2] == ["stdio"]:
        return {**reach, "command": [ours[0], *theirs[1:]]}
    args = before.get("args")
    if "args" in reach and isinstance(args, list) and args[:1] == ["stdio"]:
        return {**reach, "args": args}
    return dict(reach)


def with_entry(client: Client, text: str, entry: Mapping[str, Any], where: str) -> str:
    """The file's text with this entry.

    Raises:
        ConfigError: It is broken, or cannot be changed without changing something else.
    """
    facts = parse(client, text, where)
    wanted = deepcopy(facts)
    table = wanted
    for key in client.section:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ConfigError(f"In {where}, {key} is no table.", "Mend it there first; nothing was changed.")
    table[ENTRY] = dict(entry)
    change = _toml_with if client.format == "toml" else _json_with
    return _checked(client, text, change(client, text.removeprefix(BOM), entry), wanted, where)


def without_entry(client: Client, text: str, where: str) -> str:
    """The file's text without our entry; raises like `with_entry`."""
    facts = parse(client, text, where)
    if entry_in(client, facts) is None:
        return text
    wanted = deepcopy(facts)
    table = wanted
    for key in client.section:
        table = table[key]
    del table[ENTRY]
    bare = text.removeprefix(BOM)
    if client.format == "toml":
        changed = _toml_without(client, bare)
        if not table and client.section[0] not in tomllib.loads(changed):
            del wanted[client.section[0]]  # a section that was never written out goes with its last table
    else:
        changed = jsonc.drop(bare, (*client.section, ENTRY))
    return _checked(client, text, changed, wanted, where)


def _json_with(client: Client, text: str, entry: Mapping[str, Any]) -> str:
    path = (*client.section, ENTRY)
    before = entry_in(client, jsonc.read(text).value) if text.strip() else None
    if before is None:
        return jsonc.put(text, path, dict(entry))
    for key in [key for key in before if key not in entry]:
        text = jsonc.drop(text, (*path, key))
    for key, value in entry.items():
        if key not in before or before[key] != value:
            text = jsonc.put(text, (*path, key), value)
    return text


def _toml_with(client: Client, text: str, entry: Mapping[str, Any]) -> str:
    table: Any = tomlkit.table()
    for key, value in entry.items():
        table.add(key, value)
    document = tomlkit.parse(text)
    if entry_in(client, document.unwrap()) is None:
        appended = _appended(client, text, table)
        if _reads(appended):
            return appended
    found: Any = document
    for key in client.section:
        found = found.setdefault(key, tomlkit.table(is_super_table=True))
    if ENTRY not in found:
        inline = tomlkit.inline_table()
        inline.update(dict(entry))
        found[ENTRY] = inline if isinstance(found, InlineTable) else table
        return _line_ends(text, tomlkit.dumps(document))
    for key in [key for key in found[ENTRY] if key not in entry]:
        del found[ENTRY][key]
    for key, value in entry.items():
        if key not in found[ENTRY] or found[ENTRY][key] != value:
            found[ENTRY][key] = value
    return _line_ends(text, tomlkit.dumps(document))


def _toml_without(client: Client, text: str) -> str:
    """The text without our table.

    tomlkit counts comments behind a table's last key to the table, but whoever wrote them there may have
    meant what follows. So the table's own lines are cut out where it stands by itself.
    """
    document = tomlkit.parse(text)
    found: Any = document
    for key in client.section:
        found = found[key]
    del found[ENTRY]
    plain = _line_ends(text, tomlkit.dumps(document))
    lines = text.splitlines(keepends=True)
    header = f"[{'.'.join((*client.section, ENTRY))}]"
    start = next((n for n, line in enumerate(lines) if line.strip() == header), None)
    if start is None:
        return plain
    end = next((n for n in range(start + 1, len(lines)) if lines[n].startswith("[")), len(lines))
    while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    cut = "".join(lines[:start] + lines[end:])
    return cut if _reads(cut) and tomllib.loads(cut) == tomllib.loads(plain) else plain


def _appended(client: Client, text: str, table: Any) -> str:
    """A table of its own at the end of the file touches nothing else."""
    header = f"[{'.'.join((*client.section, ENTRY))}]\n"
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    return _line_ends(text, text + gap + header + tomlkit.dumps(table))


def _reads(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _line_ends(before: str, after: str) -> str:
    """The text with CRLF throughout, where that is how the file was written."""
    if "\r\n" in before and before.count("\n") == before.count("\r\n"):
        return after.replace("\r\n", "\n").replace("\n", "\r\n")
    return after


def _checked(client: Client, before: str, after: str, wanted: Mapping[str, Any], where: str) -> str:
    """The changed text, with the mark at its beginning that it had."""
    try:
        says = parse(client, after, where)
    except (ConfigError, TOMLKitError):
        says = {}
    if says != wanted:
        raise ConfigError(
            f"{where} cannot be changed without changing more than our entry.",
            f"Add it by hand; `--dry-run` on an empty file shows it: {dict(entry_in(client, wanted) or {})}",
        )
    return (BOM if before.startswith(BOM) else "") + after
