"""Credentials in what agents write, and engineering text that only looks like it."""

import base64
import concurrent.futures
import json
import string
import time

import pytest

from delm_mcp.checks.secrets import TEXT_CHARS_MAX, find_secrets

# Put together here, so that no scanner takes this file for a leak.
LETTERS = (string.ascii_letters + string.digits) * 10


def b64(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


KEY = f"-----BEGIN RSA PRIVATE KEY-----\n{LETTERS[:64]}\n{LETTERS[5:69]}\n-----END RSA PRIVATE KEY-----"
SECRETS = {
    "GitHub Token": ["gh" + "p_" + LETTERS[:36], "github" + "_pat_" + LETTERS[:82]],
    "AWS Access Key": ["AK" + "IA" + "QX7ZP2M4K9LW3NB5"],
    "Anthropic API Key": ["sk-" + "ant-api03-" + LETTERS[:90]],
    "OpenAI Token": ["sk-" + "proj-" + LETTERS[:20] + "T3Blbk" + "FJ" + LETTERS[:20]],
    "Google API Key": ["AI" + "za" + LETTERS[:35]],
    "Hugging Face Token": ["h" + "f_" + LETTERS[:34]],
    "GitLab Token": ["gl" + "pat-" + LETTERS[:20]],
    "Slack Token": ["xo" + "xb-123456789-" + LETTERS[:24]],
    "Stripe Access Key": ["sk_" + "live_" + LETTERS[:24]],
    "PyPI Token": ["pypi-" + "AgEIcHlwaS5vcmc" + LETTERS[:100]],
    "JSON Web Token": [f"{b64({'alg': 'HS256'})}.{b64({'sub': 'x'})}.{LETTERS[:43]}"],
    "Private Key": [KEY, KEY.replace("\n", "\\n"), KEY.replace("RSA ", "")],
    "Basic Auth Credentials": ["https://deploy:" + "kR7wq2Zp@git.example.org/x.git"],
    "Telegram Bot Token": ["123456789:" + "AAF" + LETTERS[:29] + "9_x"],
    "Twilio API Key": ["A" + "C" + "0123456789abcdef" * 2],
    "Azure Storage Account access key": ["Account" + "Key=" + LETTERS[:86] + "=="],
    "Google Client Secret": ["GOC" + "SPX-" + LETTERS[:28]],
    "Vault Token": ["hv" + "s." + LETTERS[:24]],
    "OpenRouter API Key": ["sk-" + "or-v1-" + "0a" * 32],
    "Groq API Key": ["gs" + "k_" + LETTERS[:52]],
    "xAI API Key": ["xa" + "i-" + LETTERS[:80]],
    "Docker Token": ["dckr" + "_pat_" + LETTERS[:27]],
    "DigitalOcean Token": ["dop" + "_v1_" + "0a" * 32],
    "Databricks Token": ["da" + "pi" + "0a" * 16],
    "Grafana Token": ["gl" + "sa_" + LETTERS[:32] + "_0a0a0a0a"],
    "Linear API Key": ["lin" + "_api_" + LETTERS[:40]],
    "age Secret Key": ["AGE-SECRET" + "-KEY-1" + "Q9" * 29],
    "Discord Webhook": ["https://discord" + ".com/api/webhooks/" + "1" * 18 + "/" + LETTERS[:68]],
    "AWS Secret Key": [
        f"{name}{LETTERS[20:60]}" for name in ("aws_secret_access_key = ", "AWS_SECRET_KEY: ")
    ],
    "Bearer Token": [
        "Authorization: Bearer " + LETTERS[50:80],
        "authorization:  bearer " + "3f9a" * 9 + "bcd1267",
    ],
    "Basic Authorization": ["Proxy-Authorization: Basic " + base64.b64encode(b"bob:" + b"kR7wq2Zp").decode()],
}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_credential_is_found_and_only_its_kind_is_told(kind: str) -> None:
    for secret in SECRETS[kind]:
        for text in (secret, f"The log of step 3:\n  token={secret}\nended.", f'{{"key": "{secret}"}}'):
            found = find_secrets(text)
            assert kind in found, text
            assert not any(secret in name for name in found)


@pytest.mark.parametrize(
    "text",
    [
        "head is 0156db7a2f6c9f2c1d0c1a2b3c4d5e6f708192a3, was 5d41402abc4b2a76b9719d911017c592",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 of the wheel",
        'def test_login():\n    assert login("bob", password="hunter2-but-longer")\n',
        'The secret: "sort before you bisect". password = os.environ["DB_PASSWORD"]',
        "postgres://postgres:postgres@localhost:5432/test and postgres://user:password@host/db",
        "https://user:${TOKEN}@example.org https://<user>:<password>@example.org redis://:****@cache",
        "token test_claims_are_ordered_by_priority_then_by_ is not the key for anything_that_is_44_chars_xx",
        "APPROXIMATELY APERIODICALLY APACHELICENSE20 AP1XXXXXXX AKIAIOSFODNN7EXAMPLE",
        "parse_pem looks for `-----BEGIN PRIVATE KEY-----` and fails at commit "
        "0156db7a2f6c9f2c1d0c1a2b3c4d5e6f708192a3b0156db7a2f6c9f2c1d0c1a2b",
        "1700000000:the_name_of_a_test_that_is_rather_long_for_a_name",
        "T7.k3f9qx leased by agent-3; E12 derives from E3; 123e4567-e89b-12d3-a456-426614174000",
        "Authorization: Bearer $TOKEN, Authorization: Bearer <your-token-is-here>, Authorization: Basic **",
        "Authorization: Bearer test-token-for-the-unit-tests and Authorization: Basic dXNlcjpwYXNzd29yZA==",
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQYDVQQGEwJJ",
        "eyJ is how base64 of a JSON object begins; eyJhIjoxfQ is one without dots",
    ],
)
def test_engineering_text_does_not_trip_the_detectors(text: str) -> None:
    assert find_secrets(text) == []


def test_a_credential_in_a_very_long_line_is_found_wherever_it_stands() -> None:
    secret = SECRETS["Anthropic API Key"][0]
    for before in (0, 1_350, 1_399, 1_950, 2_000, 50_000):
        text = "x " * (before // 2) + " " + secret + " y" * 1_000
        assert find_secrets(text) == ["Anthropic API Key"]


@pytest.mark.parametrize(
    "pattern",
    [
        "The quick brown fox. ",
        "a",
        "//",
        "sk-A",
        "eyJa.a.",
        "://a:",
        " \n",
        "-----BEGIN PRIVATE KEY-----\n",
        "key =",
    ],
)
def test_a_hundred_thousand_characters_take_well_under_a_second(pattern: str) -> None:
    text = (pattern * (100_000 // len(pattern) + 1))[:100_000]
    find_secrets("load the detectors")
    begun = time.process_time()
    assert find_secrets(text) == []
    assert time.process_time() - begun < 2.0


def test_text_beyond_the_bound_is_refused_and_not_half_searched() -> None:
    with pytest.raises(ValueError, match="at most"):
        find_secrets("x" * (TEXT_CHARS_MAX + 1))


def test_many_threads_find_the_same() -> None:
    texts = [secret for secrets in SECRETS.values() for secret in secrets] * 5
    alone = [find_secrets(text) for text in texts]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(find_secrets, texts)) == alone
