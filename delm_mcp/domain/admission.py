"""How an entry gets in: the checks that need nothing but the board, and what the outcome is.

Each check is a function from what it judges to the reasons against it; no reasons is a pass. A reason
says what would pass, because its reader is an agent that will try again.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from delm_mcp.domain.model import Entry, EntryState, Evidence, Kind, Receipt, Run, Strength, Verdict
from delm_mcp.domain.policy import OUTSIDE, CheckName, Policy
from delm_mcp.domain.quotes import MIN_QUOTE, UNSPACED, unborne
from delm_mcp.domain.text import fenced, gist_key, tokens
from delm_mcp.errors import InvalidInput

DISPUTED = "disputed"
"""The doubt about an entry that somebody disputes; see `Entry.doubts`."""

EVIDENCE_TYPES = ("quote", "command", "artifact", "url")

# Hard limits on what may be stored at all; beyond them nothing is kept, not even a rejection.
MAX_GIST = 2_000
MAX_SUMMARY = 20_000
MAX_RAW = 60_000
MAX_EVIDENCE = 20
MAX_EVIDENCE_TEXT = 20_000
MAX_TOTAL = 80_000  # so that an entry can always be unfolded in one answer
MAX_REF = 500
PLACEHOLDER_MAX = 200  # characters; a longer text is not a placeholder
MAX_LIST = 50

_HEDGE = re.compile(
    r"\b(should (now )?work|probably (works|fixed|fine|correct)|might (work|fix)|not (yet )?tested|"
    r"i (think|believe|guess)|hopefully|tests? pending|to be (done|verified|confirmed))\b",
    re.IGNORECASE,
)
# Not the name of a file or a function that happens to be called so.
_OPEN_POINT = re.compile(r"(?<![\w./(])(TODO|TBD|FIXME)(?![\w.(/])")
# What is no evidence if it is all that stands there: an empty form, a pointer elsewhere, an assurance.
_PLACEHOLDER = re.compile(
    r"\W*(pending|todo|tbd|tbc|tba|wip|n/?a|none|unknown|placeholder|evidence|proof|x{3,}|foo|bar|asdf\w*"
    r"|blah|(verified|confirmed|checked|tested)( (manually|by (hand|me)|locally|twice|again|already))*"
    r"|((it|this) is )?(well known|self-evident|common knowledge|generally known)|lgtm|obvious(ly)?"
    r"|(it |this |everything )?(works|is (correct|right|true|fine|clear|known|obvious|evident|ok(ay)?))"
    r"( fine| now| as expected| for me)*|looks (good|fine|right)( to me)?|should work"
    r"|ditto|idem|same( as (above|before))?|(coming )?soon|later"
    r"|(see|as|per) (above|below|attached|before|the (code|log|chat|diff)"
    r"|(discussed|mentioned|described|shown|agreed|found|explained|noted)"
    r"( (in|at|on|with|by|during) .{1,60}| above| below| before| earlier| previously| there)?)"
    r"|siehe (oben|unten|log|anhang)|folgt|noch offen|geprüft|vérifié|à (venir|suivre)|verificado|pendiente"
    r"|voir (ci-dessus|plus haut|annexe)|ver arriba|同上|未定|要確認|確認済み?|待定|见上|已验证)\W*"
    r"|\.{1,3}|…|\?{1,5}|[-_*\u2013\u2014]{1,5}|(\{\{|\$\{|<<)[^{}<>]*(\}\}|\}|>>)",
    re.IGNORECASE,
)
# A quote may read like this, because the server looks it up in its source.
_PROMISE = re.compile(
    r"\W*(((i |we )?will|(i|we)'ll|shall|(i |we )?(plan|intend|need) to) (be )?"
    r"(add|append|ask|attach|check|collect|confirm|do|fill|follow|measure|paste|post|provide|run|send|share"
    r"|test|try|update|upload|verify)(e?d)?\b.*"
    r"|to (be (added|done|provided|filled|attached|pasted)|follow)\b.*|lorem ipsum.*|trust me\b.*"
    r"|i (remember|recall|believe|think|guess|am sure)\b.*"
    r"|(the )?(results?|outputs?|details?|logs?|evidence|proof|screenshots?|figures|traces?|report) will .*"
    r"|(no|nothing|not)( \w+){0,3} (available|captured|collected|measured|produced|recorded|run|tested) yet"
    r"|(i|we)( have|'ve)? (tested|checked|verified|confirmed|tried)( (it|this|that))?"
    r"(,? (and|so)( (it|this|everything|all))? (works?|passe[sd]|is fine|is correct|looks good))?)\W*"
    r"|[<\[(]+[^<>\[\]()\n]*\b(insert|paste|put|fill|add|attach|todo|tbd|here|placeholder|your|omitted|skipped"
    r"|truncated|snip(ped)?|not (available|captured|recorded))\b[^<>\[\]()\n]*[>\])]+",
    re.IGNORECASE | re.DOTALL,
)
_LABELS = re.compile(r"\W*E\d+(\W+(and )?E\d+)*\W*")
_BOARD_LINE = re.compile(r"\s*(v\d+ [-+~?!] |E\d+ (fact|fail|patch|answer) \[).*")
# RFC 2606: nobody can ever be reached there.
_NOWHERE = re.compile(
    r"https?://([^/@]*@)?([\w-]+\.)*(example(\.(com|org|net|edu))?|invalid)(:\d+)?([/?#]|$)", re.IGNORECASE
)
REPEATS_MAX = 2  # words that an artifact may have besides the gist and still say nothing else
_DANGLING = re.compile(
    r"^(it|this|that|they|he|she|these|those|same|ditto|see above|as above)\b", re.IGNORECASE
)
_POINTING = re.compile(
    r"\b(see (above|below)|as (mentioned|discussed|described) (above|before|earlier))\b", re.I
)
_AGENT = (
    r"(ai|llm|language model|assistant|agent|(chat)?bot|model|verifier|reviewer|judge"
    r"|claude|chatgpt|copilot|gemini)s?\b"
)
_IGNORE = r"(?<!\bto )\b(ignore|disregard|forget|override|bypass)"
_EARLIER = r"(all|any|previous|prior|above|earlier|preceding|existing|other|former|your|its|my|these|those)"
_ORDERS = r"(instructions?|rules|prompts?|guidelines|directions|orders)\b"
# Sentences that speak to a model that reads them. "A request to ignore all instructions" speaks of one.
_INSTRUCTION = re.compile(
    "|".join(
        (
            rf"{_IGNORE}( (of|the|every))*( {_EARLIER})( (of|the|{_EARLIER}))* {_ORDERS}",
            rf"{_IGNORE} the {_ORDERS} above\b|\b{_ORDERS} (no longer apply|are (void|revoked))\b",
            r"\bnew instructions?:|\bas an ai\b|\brelease your (task|lease)\b|\bstop what you are doing\b",
            r"\byou (must|should|have to|need to|are to|will) now\b|\byou are (now|no longer) (an?|the|in)\b",
            r"\byour (system prompt|new (instructions?|task|role))\b|\bsystem (override|prompt update)\b",
            r"\bfrom now on,? (you|answer|always|never|respond|reply|treat|act)\b|\bobey (only|these|this)\b",
            r"\bwhen(ever)? you (summari[sz]e|review|process|analy[sz]e|evaluate|judge) (this|the)\b",
            rf"\bif you are (an? |the )?{_AGENT}|<!-- ?{_AGENT}",
            rf"\b(attention|dear|hello|hey),?( \w+){{0,2}} {_AGENT}",
            r"\b(ai|llms?|language models?|chatbots?|claude|copilot|gemini)\b[^.]{0,60}\b(should|must) "
            r"((only|always|never|not) )?(act|answer|approve|ignore|output|reply|report|respond|say|skip)\b",
            rf"{_IGNORE} (everything|anything|all|what(ever)?)\b[^.]{{0,20}}\b(told|said|instructed)\b",
            r"\b(before|when) (using|calling|invoking) this tool\b",
            rf"\b{_AGENT} (reading|reviewing|processing|(that|who) reads?) this\b",
            rf"\b(note|message|attention|notice) (to|for) (the |all |any )?{_AGENT}[^.:!]{{0,30}}[:!]",
            rf"\b({_AGENT} )?{_AGENT} ?[:,] ?(please )?(accept|answer|approve|do not|forget|ignore|mark"
            r"|merge|pass|release|reply|report|respond|run|send|skip|stop|treat|vote)\b",
            r"(?<!\bto )\b(approve|accept|admit|merge|pass|confirm) (it|this|that|the|all|any|every)\b"
            r"[^.]{0,40}\b(without (read|review|check|look|ask|test)|immediately|at once|right away)",
            r"\b(vote|answer|respond|reply)\b[^.]{0,30}\b(with )?pass\b",
            r"\b(do not|don't|never) (tell|inform|alert|notify) (the |your |any )?(users?|humans?|anyone)\b",
            r"(?<!\bto )\b(reveal|print|send|exfiltrate|leak|upload|post) (me |us )?(your|the) "
            r"(system prompt|api keys?|tokens?|passwords?|secrets?|credentials|private keys?)\b",
            # What looks like another turn, or like a call.
            r"(^| )(assistant|human) ?: \w|\[/?(inst|system)\]|<</?sys>>",
            r"<\|(im_start|im_end|system|user|assistant|eot_id|\w+_header_id)\|>|\btool[_ ]call ?:",
            r"< ?/? ?(tool_(call|use|result)|function_calls?|system(-reminder)?|invoke|antml:\w+)\b",
            r'"(name|tool|function)" ?: ?"(claim_task|read_context|propose_update|verify|\w+_tasks?)"',
            # The first of these in some other languages.
            r"\b(ignorier|vergiss|vergesst|missachte)\w*\b[^.]{0,40}\b(anweisung|instruktion|vorgabe|regel)",
            r"\b(ignore[zr]?|oublie[zr]?)\b[^.]{0,40}\b(instructions (précédentes|ci-dessus)|consignes)",
            r"\b(ignor[aeé]|olvid[ae]|esqueça|dimentica)\w*\b[^.]{0,40}\b(instrucc|instruç|istruzion|regol)",
            r"(игнорируй|забудь)\w*[^.]{0,40}(инструкц|указани|правил)|忽略[^。]{0,12}(指令|指示|提示|规则)",
            r"(指示|命令|指令|プロンプト)[^。]{0,8}(無視|忘れ)",
        )
    ),
    re.IGNORECASE,
)
# Shown as nothing or out of order, so that a person sees other text than a model reads.
_HIDDEN = re.compile("[\U000e0001-\U000e007f\u202a-\u202e\u2066-\u2069]|(?<=\\w)[\u200b\u2060\ufeff](?=\\w)")


@dataclass(frozen=True, slots=True)
class Proposal:
    """What an agent asks to put into the context."""

    kind: Kind
    gist: str
    summary: str = ""
    raw: str = ""
    evidence: tuple[Evidence, ...] = ()
    scope: str = ""
    key: str = ""
    supersedes: tuple[int, ...] = ()
    derived_from: tuple[int, ...] = ()
    base_version: int = 0
    completes: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """What the checks may know of the board at the moment of judging.

    Attributes:
        author: The principal that proposes.
        grounds: All that the proposal derives from, however deep.
        echoed: By its key, the live entry whose gist an artifact repeats; see `artifact_keys`.
    """

    run: Run
    policy: Policy
    related: dict[int, Entry] = field(default_factory=dict)
    key_holder: Entry | None = None
    same_gist: Entry | None = None
    has_live: bool = False
    author: str = ""
    grounds: frozenset[int] = frozenset()
    echoed: Mapping[str, Entry] = field(default_factory=dict)


def refuse_oversize(proposal: Proposal) -> None:
    """Refuse what may not be stored at all.

    Raises:
        InvalidInput: A text or a list over its limit, or an empty gist; names the field and the limit.
    """
    texts = {
        "gist": (proposal.gist, MAX_GIST),
        "summary": (proposal.summary, MAX_SUMMARY),
        "raw": (proposal.raw, MAX_RAW),
        "scope": (proposal.scope, MAX_REF),
        "key": (proposal.key, MAX_REF),
    }
    for number, item in enumerate(proposal.evidence, 1):
        texts[f"evidence {number} type"] = (item.type, 20)
        texts[f"evidence {number} ref"] = (item.ref, MAX_REF)
        texts[f"evidence {number} text"] = (item.text, MAX_EVIDENCE_TEXT)
    for name, (text, limit) in texts.items():
        if len(text) > limit:
            raise InvalidInput(f"{name} has {len(text)} characters; the limit is {limit}.", "Shorten it.")
    total = sum(len(text) for text, _ in texts.values())
    if total > MAX_TOTAL:
        raise InvalidInput(
            f"All texts together have {total} characters; the limit is {MAX_TOTAL}.", "Shorten raw."
        )
    if len(proposal.evidence) > MAX_EVIDENCE:
        raise InvalidInput(
            f"evidence has {len(proposal.evidence)} items; the limit is {MAX_EVIDENCE}.", "Send fewer."
        )
    if len(proposal.supersedes) > MAX_LIST or len(proposal.derived_from) > MAX_LIST:
        raise InvalidInput(
            f"supersedes and derived_from take at most {MAX_LIST} entries each.", "Name fewer."
        )
    if not 0 <= proposal.base_version < 2**53:
        raise InvalidInput(
            f"base_version={proposal.base_version} is not a version.", "Pass the one that you read."
        )
    if not proposal.gist.strip():
        raise InvalidInput("gist is empty.", "Write one self-contained sentence that a peer can act on.")


def wellformed(proposal: Proposal, board: Board, secrets: Sequence[str]) -> list[str]:
    """Reasons against the proposal's form: gist, evidence, secrets.

    Args:
        secrets: What the detector found in any of its texts, e.g. `["AWS Access Key"]`.
    """
    if secrets:  # alone, because other reasons quote the text
        kinds = ", ".join(sorted(set(secrets)))
        return [
            f"it contains a secret ({kinds}); its text was not kept. "
            "Propose it without the secret, and change the secret"
        ]
    reasons = _gist_reasons(proposal, board.policy.limits.gist_tokens)
    for number, item in enumerate(proposal.evidence, 1):
        reasons += [f"evidence {number}: {reason}" for reason in _evidence_reasons(item, proposal, board)]
    if proposal.kind is not Kind.ANSWER and not proposal.evidence and not proposal.derived_from:
        reasons.append(
            "it cites no evidence; give at least one quote, command, artifact or url, or derived_from"
        )
    return reasons + missing_command(proposal, board)


def _gist_reasons(proposal: Proposal, gist_tokens: int) -> list[str]:
    gist, reasons = proposal.gist.strip(), []
    if tokens(gist) > gist_tokens:
        reasons.append(
            f"the gist has {tokens(gist)} tokens; at most {gist_tokens} are read by everyone. "
            "Move detail to summary or raw"
        )
    if len(gist.split()) + len(UNSPACED.findall(gist)) // 2 < 3:
        reasons.append("the gist is too short to stand alone; name what was found and where")
    if _DANGLING.match(gist) or _POINTING.search(gist):
        reasons.append("the gist points at something outside itself; name the thing, so that it stands alone")
    hedge = _HEDGE.search(gist) or _OPEN_POINT.search(gist)
    if hedge and not _is_quoted(hedge.group(0), proposal):
        reasons.append(
            f"the gist says {fenced(hedge.group(0))}, which is a hope; establish it, and state what was seen"
        )
    return reasons


def _is_quoted(words: str, proposal: Proposal) -> bool:
    """Whether a gist only reports what its source says: an open point in the code, a hope in a paper."""
    quoted = " ".join(" ".join(item.text for item in proposal.evidence if item.type == "quote").split())
    return words.casefold() in quoted.casefold()


def _evidence_reasons(item: Evidence, proposal: Proposal, board: Board) -> list[str]:
    if item.type not in EVIDENCE_TYPES:
        return [f"there is no type {fenced(item.type)}; use one of {', '.join(EVIDENCE_TYPES)}"]
    if not item.ref.strip():
        return [f"evidence of type {item.type} needs a ref"]
    if _is_placeholder(item):
        return [f"its text {fenced(item.text)} is a placeholder; give what was really seen"]
    if item.type == "command":
        return _command_reasons(item, proposal, board)
    return _artifact_reasons(item, proposal, board) if item.type == "artifact" else _shape_reasons(item)


def _shape_reasons(item: Evidence) -> list[str]:
    if item.type == "quote" and len(item.text.strip()) < MIN_QUOTE:
        return [f"a quote needs at least {MIN_QUOTE} characters of exact text"]
    if item.type == "url" and not re.match(r"https?://\S+$", item.ref.strip()):
        return ["a url needs an http or https address as ref"]
    if item.type == "url" and _NOWHERE.match(item.ref.strip()):
        return [f"{fenced(item.ref)} is reserved for examples; give the address of what was really seen"]
    return []


def _is_placeholder(item: Evidence) -> bool:
    text = item.text.strip()
    if not text or len(item.text) >= PLACEHOLDER_MAX:
        return False
    if item.type != "quote" and _PROMISE.fullmatch(text):
        return True
    return all(_PLACEHOLDER.fullmatch(line.strip()) for line in text.splitlines() if line.strip())


def _artifact_reasons(item: Evidence, proposal: Proposal, board: Board) -> list[str]:
    """An artifact is what was seen: not the gist once more, and not what this board says."""
    if not item.text.strip():
        return ["an artifact needs its content as text"]
    if _LABELS.fullmatch(item.ref) or all(
        _BOARD_LINE.fullmatch(line) for line in item.text.strip().splitlines()
    ):
        return ["it cites this board, which is no evidence; name the entries in derived_from"]
    echo = board.echoed.get(artifact_key(item))
    if echo is not None and echo.id not in {*proposal.derived_from, *proposal.supersedes}:
        return [f"it says what {echo.label} says; name it in derived_from, or give what was really seen"]
    gist, words = _words(proposal.gist), _words(item.text)
    if len(words) - len(gist) <= REPEATS_MAX and f" {' '.join(gist)} " in f" {' '.join(words)} ":
        return ["it only repeats the gist; give what was really seen"]
    return []


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


def artifact_key(item: Evidence) -> str:
    """The key of the gist that an artifact may be repeating."""
    return gist_key(_same_look(item.text)) if item.type == "artifact" and len(item.text) <= MAX_GIST else ""


def artifact_keys(proposal: Proposal) -> tuple[str, ...]:
    """The keys of gists that the proposal's artifacts may be repeating, for `Board.echoed`."""
    return tuple(filter(None, map(artifact_key, proposal.evidence)))


def _command_reasons(item: Evidence, proposal: Proposal, board: Board) -> list[str]:
    names = [command.name for command in board.run.commands]
    if item.ref not in names:
        known = (
            f"use one of {', '.join(names)}" if names else "this run has none; cite another kind of evidence"
        )
        return [f"the run has no command {fenced(item.ref)}; {known}"]
    if not board.run.repo:
        return ["the run has no repository to run a command in; cite another kind of evidence"]
    if proposal.kind is Kind.PATCH and not item.text.strip():
        return ["a patch needs its full commit as the command's text"]
    return []


def fresh(proposal: Proposal, board: Board) -> list[str]:
    """Reasons why the proposal rests on something that is no longer so: the compare-and-set on labels."""
    reasons = []
    for name, labels in (("supersedes", proposal.supersedes), ("derived_from", proposal.derived_from)):
        for label in labels:
            entry = board.related.get(label)
            if entry is None or entry.run != board.run.id:
                reasons.append(
                    f"{name} names E{label}, which this run does not have; read_context shows what it has"
                )
            elif not _usable(entry, name):
                reasons.append(
                    f"{name} names E{label}, which is {entry.state}{_instead(entry)}; read what is live now"
                )
            elif name == "supersedes":
                reasons += _odd_heir(entry, board)
    holder = board.key_holder
    if holder and holder.id not in proposal.supersedes:
        reasons.append(
            f"key {fenced(proposal.key)} has the live entry {holder.label} {fenced(holder.gist)}; "
            f"agree with it, or propose with supersedes=[{holder.label}]"
        )
    return reasons


def _odd_heir(entry: Entry, board: Board) -> list[str]:
    """Reasons why this proposal cannot take the place of an entry."""
    if entry.id in board.grounds:
        return [
            f"supersedes names {entry.label}, on which it rests; leave {entry.label} out of what it derives "
            "from, and cite the evidence itself"
        ]
    if DISPUTED in entry.doubts and entry.principal == board.author:
        return [f"supersedes names {entry.label}, your own entry, which is disputed; its verdict comes first"]
    return []


def _usable(entry: Entry, relation: str) -> bool:
    """A suspect entry can be replaced, but not built upon."""
    live = {EntryState.ADMITTED, EntryState.SUSPECT} if relation == "supersedes" else {EntryState.ADMITTED}
    return entry.state in live


def _instead(entry: Entry) -> str:
    return f" ({entry.reason})" if entry.reason else ""


def novel(proposal: Proposal, board: Board) -> list[str]:
    """Reasons why the proposal says nothing new. Near duplicates pass: contradictions look alike."""
    same = board.same_gist
    if same and same.id not in proposal.supersedes and proposal.kind is not Kind.ANSWER:
        return [
            f"{same.label} already says exactly this; cite it in derived_from instead of proposing it again"
        ]
    return []


def scoped(proposal: Proposal, _: Board) -> list[str]:
    """A `fail` binds its readers, so it says where it holds and what showed it."""
    reasons = []
    if not proposal.scope.strip():
        reasons.append("a fail needs a scope: what was tried, and where the failure holds")
    if not proposal.evidence:
        reasons.append("a fail needs evidence of what was tried; absence holds only where somebody searched")
    return reasons


def parents(proposal: Proposal, board: Board) -> list[str]:
    """An answer rests on entries, all of them live (`fresh` looks at each)."""
    if proposal.kind is Kind.ANSWER and not proposal.derived_from and board.has_live:
        return ["an answer names the entries that it rests on in derived_from"]
    return []


def checkable(proposal: Proposal, _: Board) -> list[str]:
    """Something that the server can check by itself must stand behind it."""
    if any(item.type in {"quote", "command"} for item in proposal.evidence):
        return []
    return [
        "this run admits only what the server can check: cite a quote (path@commit) or a command of the run"
    ]


BoardCheck = Callable[[Proposal, Board], list[str]]

BOARD_CHECKS: dict[CheckName, BoardCheck] = {
    CheckName.FRESH: fresh,
    CheckName.NOVEL: novel,
    CheckName.SCOPED: scoped,
    CheckName.PARENTS: parents,
    CheckName.CHECKABLE: checkable,
}


def judge_on_board(
    proposal: Proposal, board: Board, names: Sequence[CheckName], secrets: Sequence[str], now: float
) -> list[Receipt]:
    """Run the checks that need only the board, cheapest first; the first that fails ends it."""
    receipts: list[Receipt] = []
    for name in names:
        if name is CheckName.WELLFORMED:
            reasons = wellformed(proposal, board, secrets)
        elif name in BOARD_CHECKS:
            reasons = BOARD_CHECKS[name](proposal, board)
        else:
            continue
        verdict = Verdict.FAIL if reasons else Verdict.PASS
        receipts.append(Receipt(name, verdict, "; ".join(reasons), now))
        if reasons:
            break
    return receipts


def outside_checks(proposal: Proposal, board: Board) -> list[CheckName]:
    """The checks of the policy that must look beyond the board for this proposal, in order."""
    wanted = [name for name in board.policy.of(proposal.kind) if name in OUTSIDE]
    return [name for name in wanted if _applies(name, proposal, board)]


def _applies(name: CheckName, proposal: Proposal, board: Board) -> bool:
    if name in {CheckName.PEERS, CheckName.JUDGE}:
        return True
    if name is CheckName.QUOTES:
        return any(item.type == "quote" for item in proposal.evidence)
    if proposal.kind in {Kind.PATCH, Kind.ANSWER}:
        return bool(board.run.commands and board.run.repo)
    return any(item.type == "command" for item in proposal.evidence)


def missing_command(proposal: Proposal, board: Board) -> list[str]:
    """A patch that the policy wants to see executed must say which command and which commit."""
    wants = CheckName.COMMAND in board.policy.of(proposal.kind) and board.run.commands and board.run.repo
    if proposal.kind is not Kind.PATCH or not wants:
        return []
    if any(item.type == "command" for item in proposal.evidence):
        return []
    names = ", ".join(command.name for command in board.run.commands)
    return [
        "a patch is checked by running a command; cite evidence "
        f"{{type: command, ref: one of {names}, text: the full commit}}"
    ]


def too_weak_an_heir(proposal: Proposal, board: Board, receipts: Sequence[Receipt]) -> list[str]:
    """Reasons why nobody's bare word takes the place of what the server checked for somebody else."""
    if strength(receipts) is not Strength.ATTESTED:
        return []
    checked = [
        entry
        for label in proposal.supersedes
        if (entry := board.related.get(label))
        and entry.strength is not Strength.ATTESTED
        and entry.principal != board.author
    ]
    return [
        f"it would replace {entry.label} [{entry.strength}], and is itself only attested; cite evidence that "
        "the server can check, or dispute it with verify"
        for entry in checked
    ]


def strength(receipts: Sequence[Receipt]) -> Strength:
    """The strongest thing that passed."""
    passed = {receipt.check for receipt in receipts if receipt.verdict is Verdict.PASS}
    if CheckName.COMMAND in passed:
        return Strength.EXECUTED
    if CheckName.QUOTES in passed:
        return Strength.QUOTED
    if passed & {CheckName.PEERS, CheckName.JUDGE}:
        return Strength.JUDGED
    return Strength.ATTESTED


def unsupported_numbers(proposal: Proposal, parents: Sequence[str] | None = None) -> list[str]:
    """Numbers of the gist that its quotes do not bear out, where quotes are all the evidence there is.

    Args:
        parents: What the entries say that it derives from, gist and quotes. None when nobody has read
            them; then an entry that derives from others may have its numbers from there.
    """
    if not proposal.evidence or any(item.type != "quote" for item in proposal.evidence):
        return []
    if proposal.derived_from and parents is None:
        return []
    # What a source is called counts as well, but not the digits of a commit or a digest.
    names = [re.sub(r"@[^@]*$|^[0-9a-f]{12,64}$", "", item.ref.strip()) for item in proposal.evidence]
    lines = [line for item in proposal.evidence for line in _lines(item.at)]
    return unborne(
        proposal.gist, [*(item.text for item in proposal.evidence), *(parents or ())], names, lines
    )


def _lines(place: Mapping[str, int]) -> range:
    """The lines of its source at which a quote was found."""
    return range(place["line"], place["line_end"] + 1) if "line" in place else range(0)


def flags(proposal: Proposal) -> tuple[str, ...]:
    """What readers should be warned of: text that speaks to them, or that they cannot see."""
    texts = [proposal.gist, proposal.summary, proposal.raw, *(item.text for item in proposal.evidence)]
    found = ["instruction-like text"] if any(_INSTRUCTION.search(_as_read(text)) for text in texts) else []
    return (*found, *(["hidden characters"] if any(_HIDDEN.search(text) for text in texts) else []))


def _as_read(text: str) -> str:
    """The text on one line, as a model reads it: without what is shown as nothing, in ordinary letters."""
    if not text.isascii():
        text = "".join(
            char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf"
        )
    return " ".join(text.split())


_LOOKS = str.maketrans(
    {**dict.fromkeys("\u2018\u2019\u201a\u201b", "'"), **dict.fromkeys("\u201c\u201d\u201e\u201f", '"')}
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-")
)
_CODE = re.compile(r"`[^`]*`|(?<![\w-])--?[A-Za-z][\w-]*")


def _same_look(text: str) -> str:
    """With quotation marks and dashes of one look, and the case of code kept: `-v` is not `-V`."""
    plain = text.strip().translate(_LOOKS).rstrip("。")
    return _CODE.sub(lambda code: re.sub("[A-Z]", r"^\g<0>", code.group()), plain)


def key_of(proposal: Proposal) -> str:
    """The normalised gist, by which exact duplicates are found."""
    return gist_key(_same_look(proposal.gist))
