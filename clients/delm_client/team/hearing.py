"""What an agent prints, taken in within bounds: it may print anything, and as much as it likes.

Words beyond the bounds are not told, but what the agent says it spent always is: the budget needs it.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import anyio
from anyio.abc import ByteReceiveStream
from anyio.streams.text import TextReceiveStream

from delm_client.team.harness import Parser
from delm_client.team.record import Event, Faulted, Noted, Said, Spent, checked

SAID_CHARS = 2000
WORDS_CHARS = 400
LINE_CHARS_MAX = 4_000_000
LOG_BYTES_MAX = 64_000_000
EVENTS_MAX = 1000
EVENTS_PER_S = 20.0
FLOODED_PAUSE_S = 0.02
"""An agent that floods us waits a little for each of its chunks, so that its peers are heard as well."""


class Log:
    """A file that output is kept in, up to a size; what cannot be written, on a full disk, is not kept."""

    def __init__(self, path: Path, bytes_max: int = LOG_BYTES_MAX) -> None:
        self._path = path
        self._bytes_max = bytes_max

    def write(self, text: str) -> None:
        """Add a text; the one that crosses the bound is the last."""
        try:
            # Opened each time and unbuffered: nothing is left that a close would fail to write.
            with self._path.open("ab", buffering=0) as file:
                if os.fstat(file.fileno()).st_size < self._bytes_max:
                    file.write(text.encode("utf-8", "replace"))
        except OSError:
            pass


class Quota:
    """So many events at once, and so many a second after them."""

    def __init__(self, most: int = EVENTS_MAX, per_s: float = EVENTS_PER_S) -> None:
        self._most = most
        self._per_s = per_s
        self._left = float(most)
        self._at = 0.0

    def takes(self, now: float) -> bool:
        """Whether one more is within bounds. `now` in seconds, of any clock that does not go back."""
        self._left = min(self._most, self._left + max(0.0, now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Hearing:
    """One process's output, as events.

    Attributes:
        words: Its last words, for when it has to be said why it ended.
    """

    def __init__(self, parser: Parser, tell: Callable[[Event], None], quota: Quota | None = None) -> None:
        self.words = ""
        self._parser = parser
        self._tell = tell
        self._quota = quota or Quota()
        self._flooded = False

    async def hear(self, stream: ByteReceiveStream, log: Log) -> None:
        """Take in a stream to its end; one process's streams may be heard at once."""
        rest = ""
        async for text in TextReceiveStream(stream, errors="replace"):
            log.write(text)
            *lines, rest = (rest + text).split("\n")
            if not all([self.take(line, time.monotonic()) for line in lines]):
                await anyio.sleep(FLOODED_PAUSE_S)
            rest = rest[-LINE_CHARS_MAX:]
        self.take(rest, time.monotonic())

    def take(self, line: str, now: float) -> bool:
        """Tell what a line says; False where it was too much."""
        try:
            told = [checked(what) for what in self._parser.feed(line)]
        except Exception as error:  # a client's new version may print what its parser does not expect
            why = f"{type(error).__name__}: {error}"[:SAID_CHARS]
            told = [Noted(f"a line of its output was not understood ({why})")]
        return all([self._pass_on(what, now) for what in told])

    def _pass_on(self, what: Event, now: float) -> bool:
        if isinstance(what, Said | Faulted):
            self.words = what.text[-WORDS_CHARS:]
            what = type(what)(what.text[:SAID_CHARS])
        if isinstance(what, Spent) or self._quota.takes(now):
            self._tell(what)
            return True
        if not self._flooded:
            self._flooded = True
            self._tell(Noted("it prints more than is told here; see its log"))
        return False
