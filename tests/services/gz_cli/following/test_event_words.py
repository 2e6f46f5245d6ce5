from typing import Any

import msgspec
import pytest
from msgspec import Raw

from gleitzeit.model import events as ev
from gleitzeit.model.definition import Definition, TaskDefinition
from gz_cli.following.event_words import event_words

FAILURE = ev.Failure(-29002, "ValueError: no\nmore", "TASK_EXECUTION_FAILED")
DEFINITION = Definition(name="Hello", tasks=(TaskDefinition(id="a", method="echo/echo"),))


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (ev.WorkflowSubmitted(0, "w", DEFINITION, Raw(b'{"n":1}')), 'Hello: 1 task, inputs {"n":1}'),
        (ev.TaskStarted(0, "a", 2, "python", "python#1"), "attempt 2, at python"),
        (ev.TaskRetrying(1000, "a", 1, FAILURE, 3500), "attempt 1, for 2.5 s, ValueError: no"),
        (ev.TaskFailed(0, "a", 3, FAILURE), "attempt 3, ValueError: no"),
        (ev.TaskWaiting(0, "a", 1, None, ("go",)), "attempt 1, for the signal go"),
        (ev.TaskCompleted(0, "a", 1, Raw(b'{"response":"hi"}')), "attempt 1, hi"),
        (ev.SignalReceived(0, "go", Raw(b'{"by":"Ada"}')), 'signal go, {"by":"Ada"}'),
        (ev.CallLost(0, "a", 1, "provider died"), "attempt 1, provider died, it may have run"),
        (ev.CallLost(0, "a", 1, "provider died", may_have_run=False), "attempt 1, provider died"),
        (
            ev.CallLost(0, "a", 1, "provider died", approval=ev.Approval("once more?", of_call=True)),
            "attempt 1, provider died, it may have run; a person is asked",
        ),
        (ev.WorkflowRetried(0, ("a", "b")), "a, b"),
        (ev.WorkflowCancelled(0, "enough"), "enough"),
        (ev.WorkflowFailed(0, msgspec.structs.replace(FAILURE, task="a")), "a: ValueError: no"),
        (ev.WorkflowPaused(0), ""),
    ],
)
def test_what_an_event_says(event: ev.AnyEvent, words: str) -> None:
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(event))
    assert event_words(plain) == words


def test_an_event_of_a_newer_kind_is_read_as_far_as_it_goes() -> None:
    assert event_words({"type": "TaskDreamt", "at": 1, "task": "a", "attempt": 1, "dream": {}}) == "attempt 1"
