"""Methods that run inside the coordinator, without a call: their schema says `x-runs: coordinator`.

Each turns its resolved params into what is to be done. A task that has waited completes with a result made here.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gleitzeit.engine.view import iso
from gleitzeit.errors import ParameterError
from gleitzeit.model.events import Approval, SignalReceived
from gleitzeit.spec.durations import parse_duration
from gleitzeit.spec.moments import Cron, parse_moment, time_zone

UNTIL = "timer/until"
"""The one that is over at a time, not after one."""
Params = Mapping[str, Any]
_json = msgspec.json.Encoder().encode


class Wait(Struct, frozen=True):
    """For `seconds`, `until` a time (UTC milliseconds), for one or `all` of `signals`, or for a person. With signals or
    an approval, no time means the task's timeout."""

    seconds: float | None = None
    until: int | None = None
    signals: tuple[str, ...] = ()
    all: bool = False
    approval: Approval | None = None


class Send(Struct, frozen=True):
    """A signal to the workflow itself, to others by id or name, or (`broadcast`) to all that wait for it or will."""

    name: str
    payload: Raw
    targets: tuple[str, ...] = ()
    broadcast: bool = False


class Run(Struct, frozen=True):
    """A child workflow. Without `wait` the task completes when it has been submitted."""

    inputs: Mapping[str, Any]
    wait: bool = True
    callback: str = ""
    """A signal that it sends when it has ended."""


def _duration(method: str, value: object) -> float:
    try:
        return parse_duration(value)
    except ValueError as error:
        raise ParameterError(f"{method}: {error}") from None


def _timeout(method: str, params: Params) -> float | None:
    timeout = params.get("timeout")
    return None if timeout is None else _duration(method, timeout)


def _sleep(params: Params, now: int) -> Wait:
    return Wait(_duration("timer/sleep", params.get("seconds", params.get("duration"))))


def _until(params: Params, now: int) -> Wait:
    zone = str(params.get("timezone") or "UTC")
    try:
        if params.get("cron") is not None:
            return Wait(until=Cron(str(params["cron"]), zone).next_after(now))
        return Wait(until=parse_moment(params.get("at"), time_zone(zone)))
    except ValueError as error:
        raise ParameterError(f"timer/until: {error}") from None


def _name(method: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ParameterError(f"{method} wants the name of a signal, not {value!r}")
    return value


def _wait(params: Params, now: int) -> Wait:
    name = _name("signal/wait", params.get("signal_name", params.get("name")))
    return Wait(_timeout("signal/wait", params), signals=(name,))


def _wait_several(method: str, *, all: bool) -> Callable[[Params, int], Wait]:
    def wait(params: Params, now: int) -> Wait:
        names = params.get("signal_names", params.get("names"))
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, list) or not names:
            raise ParameterError(f"{method} wants a list of names of signals, not {names!r}")
        wanted = tuple(dict.fromkeys(_name(method, name) for name in names))
        return Wait(_timeout(method, params), signals=wanted, all=all)

    return wait


def _send(params: Params, now: int) -> Send:
    name = _name("signal/send", params.get("signal_name", params.get("name")))
    targets = params.get("target_workflows", params.get("target_workflow"))
    listed = [targets] if isinstance(targets, str) else targets or []
    if not isinstance(listed, list) or not all(isinstance(one, str) and one for one in listed):
        raise ParameterError(f"signal/send: 'target_workflows' is a list of ids or names of workflows, not {targets!r}")
    if targets is not None and not listed:
        raise ParameterError("signal/send: 'target_workflows' is empty; without it the signal is for this workflow")
    return Send(name, Raw(_json(params.get("payload"))), tuple(dict.fromkeys(listed)))


def _broadcast(params: Params, now: int) -> Send:
    name = _name("signal/broadcast", params.get("signal_name", params.get("name")))
    return Send(name, Raw(_json(params.get("payload"))), broadcast=True)


def _ask(params: Params, now: int) -> Wait:
    form = params.get("form")
    approval = Approval(
        message=str(params.get("message", "")),
        form=Raw(_json(form if form is not None else {})),
        on_timeout=params.get("on_timeout", "fail"),
        on_reject=params.get("on_reject", "fail"),
    )
    return Wait(_timeout("approval/ask", params), approval=approval)


def _run(params: Params, now: int) -> Run:
    callback = params.get("callback")
    signal = _name("workflow/run", callback.get("signal")) if isinstance(callback, dict) else ""
    return Run(params.get("inputs") or {}, wait=params.get("wait") is not False, callback=signal)


METHODS: dict[str, Callable[[Params, int], Wait | Send | Run]] = {
    "timer/sleep": _sleep,
    UNTIL: _until,
    "signal/wait": _wait,
    "signal/wait_any": _wait_several("signal/wait_any", all=False),
    "signal/wait_all": _wait_several("signal/wait_all", all=True),
    "signal/send": _send,
    "signal/broadcast": _broadcast,
    "approval/ask": _ask,
    "workflow/run": _run,
}
SIGNAL_WAITS = frozenset({"signal/wait", "signal/wait_any", "signal/wait_all"})


def awaited_names(method: str, params: Params) -> tuple[object, ...]:
    """The names of signals that a task waits for or, its references not being resolved yet, will."""
    if method == "signal/wait":
        return (params.get("signal_name", params.get("name")),)
    names = params.get("signal_names", params.get("names")) if method in SIGNAL_WAITS else ()
    return (names,) if isinstance(names, str) else tuple(names or ())


def timer_result(method: str, started_at: int, until: int | None, now: int) -> Raw:
    seconds = (now - started_at) / 1000
    if method == UNTIL:
        return Raw(_json({"at": iso(until or now), "waited_seconds": seconds}))
    return Raw(_json({"slept_seconds": seconds}))


def signal_result(signals: Iterable[SignalReceived], *, several: bool) -> Raw:
    """Of one signal, or (`several`) of each by its name."""
    found = {
        signal.name: {
            "signal_name": signal.name,
            "payload": signal.payload,
            "sender": signal.sender,
            "received_at": iso(signal.at),
        }
        for signal in signals
    }
    return Raw(_json({"signals": found} if several else next(iter(found.values()))))


def answer_result(approved: bool, values: Raw, comment: str, by: str, now: int) -> Raw:
    answer = {"approved": approved, "values": values, "comment": comment, "by": by, "answered_at": iso(now)}
    return Raw(_json(answer))


def defaults_of(form: Raw) -> dict[str, object]:
    """What a form says where nobody fills it in."""
    schema = msgspec.json.decode(form, type=dict[str, Any])
    properties = schema.get("properties")
    found = properties.items() if isinstance(properties, dict) else ()
    return {name: one["default"] for name, one in found if isinstance(one, dict) and "default" in one}
