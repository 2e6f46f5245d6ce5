"""Requests and tokens a minute, for each model, and how long its server wants to be left alone. Pure: `now` comes in
seconds of a clock that never goes back.
"""

from collections import deque
from collections.abc import Mapping

from msgspec import Struct, field

from gz_provider_llm.errors import RateLimited

WINDOW_SECONDS = 60.0
LEAST_CLOSED_SECONDS = 1.0
"""A shorter wait is no matter of others."""
_MODELS = 1000  # beyond so many, those that were not asked for a minute are forgotten


Rate = int | Mapping[str, int] | None
"""So much a minute: to every model; by the name of the model, "" for all others; or None, without a limit."""


class Reservation(Struct, eq=False):
    """One request, and the tokens that it is taken to cost until `settle` knows better."""

    at: float
    tokens: int


class _Window(Struct):
    """The requests of the last minute, the oldest first; and until when there is to be none, for what reason."""

    requests: deque[Reservation] = field(default_factory=deque)
    closed_until: float = 0.0
    why: str = ""

    def forget(self, now: float) -> None:
        while self.requests and self.requests[0].at <= now - WINDOW_SECONDS:
            self.requests.popleft()


class Limits:
    """At most so many in any 60 seconds."""

    def __init__(self, requests_per_minute: Rate = None, tokens_per_minute: Rate = None) -> None:
        self._requests = requests_per_minute
        self._tokens = tokens_per_minute
        self._windows: dict[str, _Window] = {}

    def reserve(self, model: str, tokens: int, now: float) -> Reservation:
        """Before a request is sent. Raises RateLimited, which says when there is room again.

        A request that is larger than the whole limit passes when there is no other beside it.
        """
        reservation = Reservation(now, tokens)
        window = self._windows.get(model)
        if window is not None and window.closed_until > now:
            raise RateLimited(window.why, round(window.closed_until - now, 3))
        most_requests, most_tokens = _most(self._requests, model), _most(self._tokens, model)
        if most_requests is None and most_tokens is None:
            return reservation
        window = window or self._windows.setdefault(model, _Window())
        window.forget(now)
        if most_requests is not None and len(window.requests) >= most_requests:
            raise _limited(f"{most_requests} requests a minute to {model}", window.requests[0].at, now)
        if most_tokens is not None:
            _check_tokens(model, window, tokens, most_tokens, now)
        window.requests.append(reservation)
        if len(self._windows) > _MODELS:
            self._forget_models(now)
        return reservation

    def close(self, model: str, error: RateLimited, now: float) -> None:
        """The server has said itself how long it has too much to do: others need not ask it meanwhile."""
        if error.told and error.retry_after_seconds >= LEAST_CLOSED_SECONDS:
            window = self._windows.setdefault(model, _Window())
            window.closed_until, window.why = now + error.retry_after_seconds, error.message
            if len(self._windows) > _MODELS:
                self._forget_models(now)

    def settle(self, reservation: Reservation, tokens: int | None) -> None:
        """What the request really cost; None if nobody counted."""
        if tokens is not None:
            reservation.tokens = tokens

    def _forget_models(self, now: float) -> None:
        for model, window in list(self._windows.items()):
            window.forget(now)
            if not window.requests and window.closed_until <= now:
                del self._windows[model]


def _most(rate: Rate, model: str) -> int | None:
    return rate.get(model, rate.get("")) if isinstance(rate, Mapping) else rate


def _check_tokens(model: str, window: _Window, tokens: int, most: int, now: float) -> None:
    used = sum(request.tokens for request in window.requests)
    free_at = None
    for request in window.requests:
        if used + tokens <= most:
            break
        used -= request.tokens
        free_at = request.at
    if free_at is not None:
        raise _limited(f"{most} tokens a minute of {model}", free_at, now)


def _limited(limit: str, oldest: float, now: float) -> RateLimited:
    """There is room again when the request of the time `oldest` is a minute old."""
    return RateLimited(f"the limit of {limit} is reached", round(max(0.001, oldest + WINDOW_SECONDS - now), 3))
