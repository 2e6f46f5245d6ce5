"""Methods that run inside the coordinator, without a call: their schema says `x-runs: coordinator`.

Each turns its resolved params into what the task waits for. A task that has waited completes with a result made here.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gleitzeit.errors import ParameterError
from gleitzeit.model.events import SignalReceived


class Wait(Struct, frozen=True):
    """Until `seconds` are over, or one of `signals` has come. With signals, no `seconds` means the task's timeout."""

    seconds: float | None = None
    signals: tuple[str, ...] = ()


def _sleep(params: Mapping[str, Any]) -> Wait:
    seconds = params.get("seconds", params.get("duration"))
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= 366 * 86_400:
        raise ParameterError(f"timer/sleep wants seconds from 0 to a year, not {seconds!r}")
    return Wait(float(seconds))


def _wait(params: Mapping[str, Any]) -> Wait:
    name = params.get("signal_name", params.get("name"))
    if not isinstance(name, str) or not name:
        raise ParameterError(f"signal/wait wants the name of a signal, not {name!r}")
    timeout = params.get("timeout")
    return Wait(float(timeout) if isinstance(timeout, int | float) else None, (name,))


METHODS: dict[str, Callable[[Mapping[str, Any]], Wait]] = {"timer/sleep": _sleep, "signal/wait": _wait}


def timer_result(started_at: int, now: int) -> Raw:
    return Raw(msgspec.json.encode({"slept_seconds": (now - started_at) / 1000}))


def signal_result(signal: SignalReceived) -> Raw:
    return Raw(
        msgspec.json.encode(
            {"signal_name": signal.name, "payload": signal.payload, "sender": signal.sender, "received_at": signal.at}
        )
    )
