"""How agents word things: hopes, placeholders, references to nothing, text that speaks to its reader."""

import re
import unicodedata
from collections.abc import Sequence

HEDGE = re.compile(
    r"\b(should (now )?work|probably (works|fixed|fine|correct)|might (work|fix)|not (yet )?tested|"
    r"i (think|believe|guess)|hopefully|tests? pending|to be (done|verified|confirmed))\b",
    re.IGNORECASE,
)
# Not the name of a file or a function that happens to be called so.
OPEN_POINT = re.compile(r"(?<![\w./(])(TODO|TBD|FIXME)(?![\w.(/])")
# What is no evidence if it is all that stands there: an empty form, a pointer elsewhere, an assurance.
PLACEHOLDER = re.compile(
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
PROMISE = re.compile(
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
LABELS = re.compile(r"\W*E\d+(\W+(and )?E\d+)*\W*")
BOARD_LINE = re.compile(r"\s*(v\d+ [-+~?!] |E\d+ (fact|fail|patch|answer) \[).*")
# RFC 2606: nobody can ever be reached there.
NOWHERE = re.compile(
    r"https?://([^/@]*@)?([\w-]+\.)*(example(\.(com|org|net|edu))?|invalid)(:\d+)?([/?#]|$)", re.IGNORECASE
)
REPEATS_MAX = 2  # words that an artifact may have besides the gist and still say nothing else
DANGLING = re.compile(
    r"^(it|this|that|they|he|she|these|those|same|ditto|see above|as above)\b", re.IGNORECASE
)
POINTING = re.compile(
    r"\b(see (above|below)|as (mentioned|discussed|described) (above|before|earlier))\b", re.I
)
AGENT = (
    r"(ai|llm|language model|assistant|agent|(chat)?bot|model|verifier|reviewer|judge"
    r"|claude|chatgpt|copilot|gemini)s?\b"
)
IGNORE = r"(?<!\bto )\b(ignore|disregard|forget|override|bypass)"
EARLIER = r"(all|any|previous|prior|above|earlier|preceding|existing|other|former|your|its|my|these|those)"
ORDERS = r"(instructions?|rules|prompts?|guidelines|directions|orders)\b"
# Sentences that speak to a model that reads them. "A request to ignore all instructions" speaks of one.
INSTRUCTION = re.compile(
    "|".join(
        (
            rf"{IGNORE}( (of|the|every))*( {EARLIER})( (of|the|{EARLIER}))* {ORDERS}",
            rf"{IGNORE} the {ORDERS} above\b|\b{ORDERS} (no longer apply|are (void|revoked))\b",
            r"\bnew instructions?:|\bas an ai\b|\brelease your (task|lease)\b|\bstop what you are doing\b",
            r"\byou (must|should|have to|need to|are to|will) now\b|\byou are (now|no longer) (an?|the|in)\b",
            r"\byour (system prompt|new (instructions?|task|role))\b|\bsystem (override|prompt update)\b",
            r"\bfrom now on,? (you|answer|always|never|respond|reply|treat|act)\b|\bobey (only|these|this)\b",
            r"\bwhen(ever)? you (summari[sz]e|review|process|analy[sz]e|evaluate|judge) (this|the)\b",
            rf"\bif you are (an? |the )?{AGENT}|<!-- ?{AGENT}",
            rf"\b(attention|dear|hello|hey),?( \w+){{0,2}} {AGENT}",
            r"\b(ai|llms?|language models?|chatbots?|claude|copilot|gemini)\b[^.]{0,60}\b(should|must) "
            r"((only|always|never|not) )?(act|answer|approve|ignore|output|reply|report|respond|say|skip)\b",
            rf"{IGNORE} (everything|anything|all|what(ever)?)\b[^.]{{0,20}}\b(told|said|instructed)\b",
            r"\b(before|when) (using|calling|invoking) this tool\b",
            rf"\b{AGENT} (reading|reviewing|processing|(that|who) reads?) this\b",
            rf"\b(note|message|attention|notice) (to|for) (the |all |any )?{AGENT}[^.:!]{{0,30}}[:!]",
            rf"\b({AGENT} )?{AGENT} ?[:,] ?(please )?(accept|answer|approve|do not|forget|ignore|mark"
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
HIDDEN = re.compile("[\U000e0001-\U000e007f\u202a-\u202e\u2066-\u2069]|(?<=\\w)[\u200b\u2060\ufeff](?=\\w)")


def flags_of(texts: Sequence[str]) -> tuple[str, ...]:
    """What readers should be warned of: text that speaks to them, or that they cannot see."""
    found = ["instruction-like text"] if any(INSTRUCTION.search(_as_read(text)) for text in texts) else []
    return (*found, *(["hidden characters"] if any(HIDDEN.search(text) for text in texts) else []))


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


def same_look(text: str) -> str:
    """With quotation marks and dashes of one look, and the case of code kept: `-v` is not `-V`."""
    plain = text.strip().translate(_LOOKS).rstrip("。")
    return _CODE.sub(lambda code: re.sub("[A-Z]", r"^\g<0>", code.group()), plain)
