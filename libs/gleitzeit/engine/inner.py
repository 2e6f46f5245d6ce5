"""Methods that run inside the coordinator, without a call: their schema says `x-runs: coordinator`.

Each turns its resolved params into what the task waits for. A task that has waited completes with a result made here.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gleitzeit.errors import ParameterError
from gleitzeit.model.events import SignalReceived
from gleitzeit.spec.durations import parse_duration


class Wait(Struct, frozen=True):
    """Until `seconds` are over, or one of `signals` has come. With signals, no `seconds` means the task's timeout."""

    seconds: float | None = None
    signals: tuple[str, ...] = ()


def _duration(method: str, value: object) -> float:
    try:
        return parse_duration(value)
    except ValueError as error:
        raise ParameterError(f"{method}: {error}") from None


def _sleep(params: Mapping[str, Any]) -> Wait:
    return Wait(_duration("timer/sleep", params.get("seconds", params.get("duration"))))


def _wait(params: Mapping[str, Any]) -> Wait:
    name = params.get("signal_name", params.get("name"))
    if not isinstance(name, str) or not name:
        raise ParameterError(f"signal/wait wants the name of a signal, not {name!r}")
    timeout = params.get("timeout")
    return Wait(None if timeout is None else _duration("signal/wait", timeout), (name,))


METHODS: dict[str, Callable[[Mapping[str, Any]], Wait]] = {"timer/sleep": _sleep, "signal/wait": _wait}


def timer_result(started_at: int, now: int) -> Raw:
    return Raw(msgspec.json.encode({"slept_seconds": (now - started_at) / 1000}))


def signal_result(signal: SignalReceived) -> Raw:
    return Raw(
        msgspec.json.encode(
            {"signal_name": signal.name, "payload": signal.payload, "sender": signal.sender, "received_at": signal.at}
        )
    )
