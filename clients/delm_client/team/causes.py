"""Likely causes, from what a client said before it gave up; for people, so in words that can be acted on."""

import re

_CAUSES = (
    (
        r"invalid.{0,12}api.?key|api.?key.{0,20}(missing|not set|required|invalid)|unauthorized|\b401\b|"
        r"not logged in|please.{0,10}log ?in|authentication|oauth",
        "it is not signed in, or its key is refused: run {program} by hand once and sign in",
    ),
    (
        r"credit|quota|billing|insufficient|\b402\b|usage limit",
        "its account has no credit or quota left",
    ),
    (r"rate.?limit|\b429\b|overloaded|\b529\b", "its model is overloaded or limits its rate"),
    (r"model.{0,30}(not found|not exist|unknown|invalid)|\b404\b", "its model is not known: see --model"),
    (
        r"ENOTFOUND|ECONNREFUSED|ETIMEDOUT|getaddrinfo|connection (refused|error)|network|unreachable",
        "it cannot reach its model over the network",
    ),
    (r"unknown (option|argument|flag)|unexpected argument|unrecognized", "its version is too old or too new"),
    (r"mcp.{0,60}(fail|error|refused|not connected)", "its MCP client did not reach the board"),
    (r"permission|not allowed|denied", "it lacks a permission: see --permissions"),
)  # fmt: skip


def cause_of(said: str, program: str) -> str:
    """The likely cause of what a client said; empty where nothing is known of it."""
    for pattern, cause in _CAUSES:
        if re.search(pattern, said, re.IGNORECASE):
            return f"Likely cause: {cause.format(program=program)}"
    return ""
