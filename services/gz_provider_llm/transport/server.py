"""One server as it may be told of: its address, what its answers mean, what went wrong. No I/O.

What a server says about an error is passed on without the secrets that were sent to it.
"""

import json
import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import msgspec

from gleitzeit.errors import GleitzeitError
from gz_provider_llm.errors import IdleTimeout, ServerError, StreamCut, Unauthorized, Unreachable
from gz_provider_llm.transport.refusals import error_in, meaning, said, status_in
from gz_provider_llm.transport.waits import retry_after, told, until_reset

SHORT_SECRET = 8
"""A secret below this many characters may be part of ordinary words: it is masked where it stands alone."""
MESSAGE_LIMIT = 2000
_HALVES = re.compile("[\ud800-\udfff]")


class Server:
    """`shown_url` may be told to everybody, `secrets` to nobody. `busy_statuses` say that it is full and that the
    request was not begun. `hint` is what to do when nobody listens there, `key_hint` when the key is not accepted.
    """

    def __init__(
        self,
        shown_url: str,
        secrets: Collection[str] = (),
        *,
        busy_statuses: Collection[int] = (429,),
        hint: str = "",
        key_hint: str = "",
    ) -> None:
        self.shown_url = shown_url
        self._secrets = tuple(_mask(secret) for secret in secrets if secret)
        self._busy_statuses = frozenset(busy_statuses)
        self._hint = hint
        self._key_hint = key_hint

    def hide(self, secret: str) -> None:
        """From now on, too."""
        self._secrets = (*self._secrets, _mask(secret))

    def decode(self, content: bytes | str) -> Any:
        """JSON from the server; raises ServerError for what is none."""
        try:
            return msgspec.json.decode(content)
        except (msgspec.DecodeError, RecursionError):
            with suppress(ValueError, RecursionError):
                return msgspec.json.decode(_mended(content))
            shown = content if isinstance(content, str) else content.decode(errors="replace")
            raise ServerError(f"{self.shown_url} answered what is no JSON: {self._public(shown[:200])!r}") from None

    def error(self, status: int, answer: object, headers: Mapping[str, str] | None = None) -> GleitzeitError:
        """What an error means of which a server said `answer` (decoded JSON, or text) with an HTTP status."""
        message, kind = said(answer)
        now = time.time()
        wait = retry_after(headers or {}, now)
        if wait is None:
            wait = told(answer, now)
        if wait is None and status == 429:
            wait = until_reset(headers or {}, answer, now)
        shown = self._public(message)[:MESSAGE_LIMIT] or f"HTTP status {status}"
        error = meaning(status, shown, kind, self.shown_url, wait, self._busy_statuses)
        if isinstance(error, Unauthorized) and self._key_hint:
            return Unauthorized(f"{error.message.rstrip('.')}. {self._key_hint}", error.data)
        return error

    def error_in_stream(self, answer: object) -> GleitzeitError:
        """What an error means that came in the middle of an answer with status 200."""
        return self.error(status_in(answer), answer)

    def checked(self, answer: object, expected: str) -> dict[str, Any]:
        """An answer with status 200, or a piece of one. Raises what an error means that stands there in its place, and
        ServerError for what is nothing of the kind."""
        if (error := error_in(answer)) is not None:
            raise self.error_in_stream(error)
        if not isinstance(answer, dict):
            raise self.nonsense(expected)
        return answer

    def nonsense(self, expected: str) -> ServerError:
        """For an answer that does not look as the API says."""
        return ServerError(f"{self.shown_url} did not answer with {expected}")

    @contextmanager
    def reading(self, expected: str) -> Iterator[None]:
        """Around code that takes an answer apart as the API says that it looks: raises ServerError if it does not."""
        try:
            yield
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            raise self.nonsense(expected) from None

    def cut(self) -> StreamCut:
        """For an answer that ended without its proper end."""
        return StreamCut(f"the answer of {self.shown_url} broke off in the middle")

    def unreachable(self, reason: str, *, is_there: bool = False) -> Unreachable:
        """For a request that never arrived; `is_there`: somebody listens, so that it is no help to start him."""
        hint = "" if is_there else self._hint
        data = {"url": self.shown_url} | ({"hint": hint} if hint else {})
        hint = f". {hint}" if hint else ""
        return Unreachable(f"nobody answers at {self.shown_url} ({reason}){hint}", data)

    def silent(self, seconds: float) -> IdleTimeout:
        message = f"{self.shown_url} said nothing for {seconds:g} s"
        fewer, longer = "--capacity or GLEITZEIT_LLM_CAPACITY", "--idle-timeout or GLEITZEIT_LLM_IDLE_TIMEOUT"
        hint = f"if it is only busy, let it have fewer calls at once ({fewer}) or wait longer ({longer})"
        return IdleTimeout(f"{message}; {hint}", {"seconds": seconds})

    def _public(self, text: str) -> str:
        for secret in self._secrets:
            text = secret.sub("***", text)
        return text


def _mended(content: bytes | str) -> str:
    """JSON with U+FFFD for halves of characters: some cut a text between them. Raises ValueError for no JSON."""
    text = content if isinstance(content, str) else content.decode()
    return _HALVES.sub("\ufffd", json.dumps(json.loads(text, parse_constant=_refuse), ensure_ascii=False))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _mask(secret: str) -> re.Pattern[str]:
    whole = re.escape(secret)
    return re.compile(rf"(?<!\w){whole}(?!\w)" if len(secret) < SHORT_SECRET else whole)
