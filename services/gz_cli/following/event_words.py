"""What an event in the journal says besides its type and task, in one line."""

from collections.abc import Iterator, Mapping
from typing import Any

from gz_cli.terminal.durations import counted, duration
from gz_cli.terminal.ink import first_line
from gz_cli.terminal.output import payload, short


def event_words(event: Mapping[str, Any]) -> str:
    """For any event, also of a kind that is newer than we: fields mean the same in all of them."""
    return ", ".join(part for part in _parts(event) if part)


def _parts(event: Mapping[str, Any]) -> Iterator[str]:
    if "definition" in event:
        yield from _submitted(event)
    if "name" in event:
        yield f"signal {event['name']}"
    if event.get("sender"):
        yield f"from {event['sender']}"
    if event.get("payload") is not None:
        yield short(event["payload"])
    if "attempt" in event:
        yield f"attempt {event['attempt']}"
    if "provider" in event:
        yield f"at {event['provider']}"
    yield from _ways(event)
    if isinstance(error := event.get("error"), Mapping):
        yield f"{error['task']}: {_message(error)}" if error.get("task") else _message(error)
    if event.get("reason"):
        yield first_line(str(event["reason"]))
    if event.get("may_have_run", True) and event.get("type") == "CallLost":
        yield "it may have run" + "; a person is asked" * ("approval" in event)
    if "result" in event:
        yield short(payload(event["result"]))
    if event.get("outputs") is not None:
        yield short(event["outputs"])


def _submitted(event: Mapping[str, Any]) -> Iterator[str]:
    yield f"{event['definition'].get('name', '')}: {counted(len(event['definition'].get('tasks', ())))}"
    if event.get("inputs"):
        yield f"inputs {short(event['inputs'])}"
    if event.get("idempotency_key"):
        yield f"key {event['idempotency_key']}"


def _ways(event: Mapping[str, Any]) -> Iterator[str]:
    """What else it does, until when, and with which tasks."""
    if event.get("label"):
        yield f"falls back to {event['label']}"
    if event.get("signals"):
        yield f"for the signal {' or '.join(event['signals'])}"
    if event.get("until"):
        yield f"for {duration(max(0, event['until'] - event.get('at', 0)) / 1000)}"
    if event.get("tasks"):
        yield short(", ".join(event["tasks"]))


def _message(error: Mapping[str, Any]) -> str:
    return first_line(str(error.get("message", "")))
