"""Find credentials in what agents write, with detect-secrets, before it is stored and shown to others.

Only detectors of tokens with a shape of their own, called directly: detect-secrets' settings are
process-global and its scanners go through them, while a detector object is a tuple of compiled
patterns and safe in any thread. Left out, because engineering text trips them:

- high entropy (commit names, digests);
- keywords (`login("bob", password="pw")` in a test, "the secret: ..." in prose);
- vendors whose tokens are any word of a certain length behind `key` or `token` (IBM, Cloudant, SoftLayer),
  and public IP addresses.

What detect-secrets does not know yet and coding agents are likely to hold is added in its own way.
"""

import base64
import importlib
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Protocol

_DETECTORS = (
    ("artifactory", "ArtifactoryDetector"),
    ("aws", "AWSKeyDetector"),
    ("azure_storage_key", "AzureStorageKeyDetector"),
    ("basic_auth", "BasicAuthDetector"),
    ("discord", "DiscordBotTokenDetector"),
    ("github_token", "GitHubTokenDetector"),
    ("gitlab_token", "GitLabTokenDetector"),
    ("jwt", "JwtTokenDetector"),
    ("mailchimp", "MailchimpDetector"),
    ("npm", "NpmDetector"),
    ("openai", "OpenAIDetector"),
    ("private_key", "PrivateKeyDetector"),
    ("pypi_token", "PypiTokenDetector"),
    ("sendgrid", "SendGridDetector"),
    ("slack", "SlackDetector"),
    ("square_oauth", "SquareOAuthDetector"),
    ("stripe", "StripeDetector"),
    ("telegram_token", "TelegramBotTokenDetector"),
    ("twilio", "TwilioKeyDetector"),
)

_ADDED = (
    # Public token formats: the prefixes are documented by their issuers.
    ("Anthropic API Key", r"sk-ant-[a-z0-9]{3,12}-[A-Za-z0-9_-]{40,200}"),
    ("GitHub Token", r"github_pat_[A-Za-z0-9_]{60,100}"),
    ("Google API Key", r"AIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])"),
    ("Hugging Face Token", r"\bhf_[A-Za-z0-9]{34}(?![A-Za-z0-9])"),
    ("Google Client Secret", r"\bGOCSPX-[A-Za-z0-9_-]{28}(?![A-Za-z0-9_-])"),
    ("Vault Token", r"\bhv[sbr]\.[A-Za-z0-9_-]{24,200}"),
    ("OpenRouter API Key", r"\bsk-or-v1-[a-f0-9]{64}(?![a-f0-9])"),
    ("Groq API Key", r"\bgsk_[A-Za-z0-9]{52}(?![A-Za-z0-9])"),
    ("xAI API Key", r"\bxai-[A-Za-z0-9]{80}(?![A-Za-z0-9])"),
    ("Docker Token", r"\bdckr_pat_[A-Za-z0-9_-]{27}(?![A-Za-z0-9_-])"),
    ("DigitalOcean Token", r"\bdo[opr]_v1_[a-f0-9]{64}(?![a-f0-9])"),
    ("Databricks Token", r"\bdapi[a-f0-9]{32}(?![a-f0-9])"),
    ("Grafana Token", r"\bglsa_[A-Za-z0-9]{32}_[a-f0-9]{8}(?![a-f0-9])"),
    ("Linear API Key", r"\blin_api_[A-Za-z0-9]{40}(?![A-Za-z0-9])"),
    ("age Secret Key", r"\bAGE-SECRET-KEY-1[0-9A-Z]{58}(?![0-9A-Z])"),
    ("Discord Webhook", r"https://discord(?:app)?\.com/api/webhooks/\d{17,20}/[A-Za-z0-9_-]{60,80}"),
    # A secret of no shape of its own, where its header or its variable says what it is.
    ("AWS Secret Key", r"(?i:aws_?secret_?(?:access_?)?key)\W{1,4}([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])"),
    ("Bearer Token", r"(?i:authorization)\W{1,4}(?i:bearer)\s{1,4}([A-Za-z0-9_.~+/-]{20,400})"),
    ("Basic Authorization", r"(?i:authorization)\W{1,4}(?i:basic)\s{1,4}([A-Za-z0-9+/]{8,200}={0,2})"),
)

# A detector sees pieces at most this long: some patterns are quadratic in it. The overlap is longer
# than any token except large JSON web tokens.
_PIECE_CHARS = 2_000
_OVERLAP_CHARS = 600
TEXT_CHARS_MAX = 400_000

# A key's marker is only a word; what follows it is the secret.
_KEY_MARKER = re.compile(r"PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-2:")
_KEY_BODY = re.compile(r"[A-Za-z0-9+/]{40,}")
_KEY_HEADERS_CHARS = 400
# Patterns that are slow on long lines run only where their fixed part stands.
_FIXED_PART = {"NPM tokens": "_authToken", "OpenAI Token": "T3BlbkFJ"}
_PLACEHOLDERS = frozenset(
    "admin changeit changeme dummy example foo foobar guest hunter2 letmein mypassword mysecretpassword pass"
    " passwd password postgres pw pwd redacted root secret test token user username".split()
)


class _Detector(Protocol):
    secret_type: str

    def analyze_string(self, string: str) -> Iterator[str]: ...


def find_secrets(text: str) -> list[str]:
    """The names of the detectors that find a credential in `text`, sorted; never the credential.

    Raises:
        ValueError: The text has more than `TEXT_CHARS_MAX` characters. Whoever accepts text bounds
            it first; a part that nobody looked at must not pass.
    """
    if len(text) > TEXT_CHARS_MAX:
        raise ValueError(f"at most {TEXT_CHARS_MAX} characters can be searched for secrets")
    found: set[str] = set()
    detectors = _detectors()  # also for no text: that is how they are loaded ahead
    for piece in _pieces(text):
        for detector in detectors:
            kind = detector.secret_type
            if kind in found or _FIXED_PART.get(kind, "") not in piece:
                continue
            if any(_is_real(kind, secret) for secret in detector.analyze_string(piece)):
                found.add(kind)
    if "Private Key" in found and not _has_key_body(text):
        found.remove("Private Key")
    return sorted(found)


@cache
def _detectors() -> tuple[_Detector, ...]:
    """Loaded on first use: the import takes a tenth of a second."""
    kept = [
        getattr(importlib.import_module(f"detect_secrets.plugins.{module}"), name)()
        for module, name in _DETECTORS
    ]
    base = importlib.import_module("detect_secrets.plugins.base").RegexBasedDetector
    added = [
        type(name.replace(" ", ""), (base,), {"secret_type": name, "denylist": (re.compile(pattern),)})()
        for name, pattern in _ADDED
    ]
    return (*kept, *added)


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces of whole lines where it has any that short, else overlapping ones."""
    start = 0
    while start < len(text):
        end = start + _PIECE_CHARS
        line_end = text.rfind("\n", start, end)
        yield text[start:end]
        if end >= len(text):
            return
        start = line_end + 1 if line_end >= start else end - _OVERLAP_CHARS


def _has_key_body(text: str) -> bool:
    for marker in _KEY_MARKER.finditer(text):
        window = text[marker.end() : marker.end() + _KEY_HEADERS_CHARS]
        for body in _KEY_BODY.findall(window):
            # Base64, and not the hexadecimal digest that prose about keys may mention.
            if not body.islower() and not body.isupper():
                return True
    return False


def _is_real(kind: str, secret: str) -> bool:
    """Whether a match is a credential rather than a word or an example of the same shape."""
    return _REAL[kind](secret) if kind in _REAL else True


def _is_telegram(secret: str) -> bool:
    token = secret.partition(":")[2]
    return any(map(str.isdigit, token)) and any(map(str.isupper, token)) and any(map(str.islower, token))


def _is_random(text: str) -> bool:
    """Whether it is hardly a name such as `the-token-that-you-were-given`, or a row of the same letter."""
    letters = {char for char in text if char.isalpha()}
    return sum(map(str.isdigit, text)) >= 4 and len(letters) >= 4 and len(set(text)) >= 10


def _decoded(text: str) -> str:
    """Base64 as text; nothing if it is something else."""
    try:
        return base64.b64decode(text, validate=True).decode("ascii")
    except ValueError:
        return ""


def _is_password(text: str) -> bool:
    """Whether the password of a URL is more than a placeholder such as `<pw>`, `$PW`, `***` or `postgres`."""
    if len(text) < 5 or text.lower() in _PLACEHOLDERS or len(set(text)) < 3:
        return False
    if text[0] in "<{[$%*" or "${" in text or "{" in text:
        return False
    return any(c.isalnum() for c in text)


_REAL: dict[str, Callable[[str], bool]] = {
    "AWS Access Key": lambda secret: not secret.endswith("EXAMPLE"),
    "AWS Secret Key": lambda secret: not secret.endswith("EXAMPLEKEY") and _is_random(secret),
    "Artifactory Credentials": lambda secret: any(map(str.isdigit, secret)) and any(map(str.islower, secret)),
    "Basic Auth Credentials": _is_password,
    "Basic Authorization": lambda secret: _is_password(_decoded(secret).partition(":")[2]),
    "Bearer Token": _is_random,
    "Telegram Bot Token": _is_telegram,
    "Twilio API Key": lambda secret: sum(map(str.isdigit, secret)) >= 4,
}
