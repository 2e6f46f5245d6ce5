import msgspec
import pytest
from msgspec import Raw

from gleitzeit.client.watch import Newer, ProgressItem, Resync, StreamItem, TextPositions, WatchEvent, decode
from gleitzeit.model.definition import Definition
from gleitzeit.model.events import WorkflowPaused, WorkflowSubmitted

ABOUT = {"workflow_id": "wf-1", "task_id": "t", "attempt": 2}


def raw(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))


def test_notifications_of_the_coordinator() -> None:
    event = {"workflow_id": "wf-1", "seq": 7, "event": {"type": "WorkflowPaused", "at": 1}}
    assert decode("notifications/event", raw(event)) == WatchEvent("wf-1", 7, WorkflowPaused(at=1))
    progress = {**ABOUT, "progressToken": "x", "progress": 1, "total": 4, "message": "loading"}
    assert decode("notifications/progress", raw(progress)) == ProgressItem("wf-1", "t", 2, 1, 4, "loading")
    assert decode("notifications/resync", raw({"workflow_id": "wf-1", "seq": 3})) == Resync("wf-1", 3)


def test_of_an_unknown_event_the_number_counts() -> None:
    event = {"workflow_id": "wf-1", "seq": 7, "event": {"type": "TaskDreamt", "at": 1}}
    assert decode("notifications/event", raw(event)) == Newer("wf-1", 7)


def test_a_definition_that_was_too_large_for_a_message_has_no_tasks() -> None:
    event = {"type": "WorkflowSubmitted", "at": 5, "workflow_id": "wf-1", "definition": {"$omitted_bytes": 9}}
    item = decode("notifications/event", raw({"workflow_id": "wf-1", "seq": 1, "event": event}))
    begun = WorkflowSubmitted(at=5, workflow_id="wf-1", definition=Definition(name="", tasks=()))
    assert item == WatchEvent("wf-1", 1, begun)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("notifications/cancelled", {"requestId": 1}),
        ("notifications/event", {"seq": "seven"}),
        ("notifications/stream", {"delta": 1}),
        ("notifications/event", [1]),
    ],
)
def test_what_makes_no_sense_is_passed_over(method: str, params: object) -> None:
    assert decode(method, raw(params)) is None
    assert decode(method, None) is None


def _piece(delta: str, offset: int, attempt: int = 1) -> StreamItem:
    return StreamItem("wf-1", "t", attempt, delta, offset=offset)


def test_nothing_of_a_text_comes_twice() -> None:
    texts = TextPositions()
    taken = [texts.take(p) for p in (_piece("Hel", 0), _piece("Hello", 0), _piece("lo", 3), _piece("!", 5))]
    assert [item and (item.offset, item.delta) for item in taken] == [(0, "Hel"), (3, "lo"), None, (5, "!")]
    assert texts.known() == {"t": {"attempt": 1, "offset": 6}}


def test_a_new_attempt_has_a_text_of_its_own() -> None:
    texts = TextPositions()
    texts.take(_piece("Hello", 0))
    assert texts.take(_piece("Bye", 0, attempt=2)) == _piece("Bye", 0, attempt=2)
    assert texts.take(_piece("late", 5)) is None
    texts.forget("t")
    assert texts.known() == {}
