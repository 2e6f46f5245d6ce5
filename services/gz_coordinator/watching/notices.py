"""What watchers are sent, as it stands on the wire."""

from typing import Any

import msgspec
from msgspec import Raw

from gleitzeit import errors
from gleitzeit.engine.failures import shown
from gleitzeit.model.events import Failure
from gz_coordinator.watching.texts import Text

EVENT = "notifications/event"
STREAM = "notifications/stream"
RESYNC = "notifications/resync"
LINE = "notifications/message"
COALESCE_WATCHERS = 64
"""Events in one frame, for a watcher that asked for batches."""
MAX_EVENT_BYTES = 256 << 10
_json = msgspec.json.Encoder().encode


def event_params(workflow_id: str, seq: int, event: bytes) -> bytes:
    """Params of `notifications/event`. What is too large for a message is named by its size, and read by `task.get`."""
    event = shortened(event)
    return b'{"workflow_id":%b,"seq":%d,"event":%b}' % (_json(workflow_id), seq, event)


def stream_params(text: Text, offset: int, delta: str, *, gap: bool = False) -> bytes:
    """Params of `notifications/stream`, for a watcher."""
    where = b'"workflow_id":%b,"task_id":%b,"attempt":%d' % (_json(text.workflow_id), _json(text.task_id), text.attempt)
    said = b'"seq":%d,"offset":%d,"delta":%b' % (text.seq, offset, _json(delta))
    return b"{%b,%b%b}" % (where, said, b',"gap":true' if gap else b"")


def gap(workflow_id: str | None, seq: int, error: BaseException | None = None) -> dict[str, Any]:
    """Params of `notifications/resync`: what the watcher has so far. With an error nothing follows."""
    where: dict[str, Any] = {"workflow_id": workflow_id, "seq": seq}
    if error is not None:
        known = error if isinstance(error, errors.GleitzeitError) else errors.GleitzeitError(str(error))
        where["error"] = {"code": known.code, "message": known.message, "data": {"name": known.name}}
    return where


def shortened(event: bytes) -> bytes:
    """The event, its largest fields replaced by their sizes if it is too large for a message."""
    if len(event) <= MAX_EVENT_BYTES:
        return event
    fields = msgspec.json.decode(event, type=dict[str, Raw])
    for name, value in fields.items():
        size = len(bytes(value))
        if size > MAX_EVENT_BYTES // 4:
            fields[name] = _error(value) if name == "error" else Raw(b'{"$omitted_bytes":%d}' % size)
    return _json(fields)


def _error(value: Raw) -> Raw:
    """It stays one: a watcher that cannot read it would wait for the end of its workflow for ever."""
    return Raw(_json(shown(msgspec.json.decode(value, type=Failure))))
