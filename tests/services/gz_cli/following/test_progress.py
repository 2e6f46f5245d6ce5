from typing import Any

import pytest
from msgspec import Raw

from gleitzeit.engine.state.states import TASK
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Definition, ForEach, TaskDefinition
from gz_cli.following.progress import WorkflowProgress

FAILURE = ev.Failure(code=-29002, message="no such file")


def started(task: str, at: int = 2000, attempt: int = 1) -> ev.TaskStarted:
    return ev.TaskStarted(at=at, task=task, attempt=attempt, provider="python-1", instance="i1")


def test_before_its_first_event_nothing_is_known() -> None:
    progress = WorkflowProgress("wf-1")
    assert (progress.name, progress.status, progress.final, progress.seconds(5000)) == ("wf-1", "pending", False, 0.0)
    progress.apply(started("find"))  # of a workflow whose beginning we have not seen
    assert progress.active() == []


def test_a_task_from_start_to_end(progress: WorkflowProgress) -> None:
    progress.apply(started("find"))
    task = progress.tasks["find"]
    assert (task.status, progress.status, task.seconds(2500)) == ("running", "running", 0.5)
    assert progress.active() == [task]
    progress.apply(ev.TaskCompleted(at=3000, task="find", attempt=1))
    assert (task.status, task.seconds(9000), progress.ended, progress.active()) == ("completed", 1.0, 1, [])


def many(count: int = 3) -> WorkflowProgress:
    """A workflow of one `for_each` that has its items."""
    progress = WorkflowProgress("wf-1")
    fan = TaskDefinition("m", "echo/echo", for_each=ForEach(Raw(b"[]")))
    progress.apply(ev.WorkflowSubmitted(at=1, workflow_id="wf-1", definition=Definition("n", (fan,))))
    progress.apply(ev.TasksAdded(at=2000, task="m", attempt=1, count=count))
    return progress


def test_tokens_are_those_of_calls_and_not_of_the_cache(progress: WorkflowProgress) -> None:
    def ended(event: type[ev.TaskCompleted] | type[ev.TaskCached], **more: Any) -> str:
        progress.apply(event(at=1, task="a", result=Raw(b'{"usage": {"total_tokens": 1200}}'), **more))
        return progress.cost()

    assert progress.cost() == ""
    assert ended(ev.TaskCompleted, attempt=1) == "1,200 tokens"
    assert ended(ev.TaskCached, attempt=1, key="k") == "1,200 tokens"


def test_items_are_counted_and_not_listed() -> None:
    progress = many()
    task = progress.tasks["m"]
    assert (task.status, task.note) == ("waiting", "0/3")
    for number in range(3):
        progress.apply(started(f"m[{number}]"))
    assert task.items is not None
    assert task.items.running == {"m[0]", "m[1]", "m[2]"}
    progress.apply(ev.TaskCompleted(at=2100, task="m[1]", attempt=1))
    progress.apply(ev.TaskFailed(at=2100, task="m[0]", attempt=1, error=FAILURE))
    assert (task.note, list(progress.tasks)) == ("2/3, 1 failed", ["m"])
    progress.apply(ev.TaskCompleted(at=2200, task="m[2]", attempt=1))
    progress.apply(ev.TaskFailed(at=2200, task="m", attempt=1, error=FAILURE))
    progress.apply(ev.WorkflowFailed(at=2200, error=FAILURE))
    progress.apply(ev.WorkflowRetried(at=3000, tasks=("m",)))
    progress.apply(ev.TasksAdded(at=3000, task="m", attempt=2, count=3))
    assert task.note == "2/3", "what completed is not tried again"


def test_an_undo_is_a_task_that_comes_later() -> None:
    progress = WorkflowProgress("wf-1")
    task = TaskDefinition("a", "echo/echo", undo=TaskDefinition("a[undo]", "echo/echo"))
    progress.apply(ev.WorkflowSubmitted(at=1, workflow_id="wf-1", definition=Definition("n", (task,))))
    progress.apply(started("a"))
    progress.apply(ev.TaskCompleted(at=2, task="a", attempt=1))
    progress.apply(ev.WorkflowCancelling(at=3, reason="enough"))
    progress.apply(ev.UndoAdded(at=3, task="a"))
    assert (progress.closing, list(progress.tasks), progress.ended) == (True, ["a", "a[undo]"], 1)
    progress.apply(started("a[undo]"))
    progress.apply(ev.TaskCompleted(at=4, task="a[undo]", attempt=1))
    assert progress.ended == 2


def test_a_retry_counts_attempts_and_keeps_the_error_until_the_next(progress: WorkflowProgress) -> None:
    progress.apply(started("find"))
    progress.apply(ev.TaskRetrying(at=2100, task="find", attempt=1, error=FAILURE, until=2300))
    task = progress.tasks["find"]
    assert (task.status, task.error) == ("retrying", FAILURE)
    progress.apply(ev.TaskReleased(at=2300, task="find"))
    progress.apply(started("find", 2400, attempt=2))
    assert (task.status, task.attempt, task.seconds(2500)) == ("running", 2, 0.1)


def test_a_refused_call_and_a_lost_one_wait_again(progress: WorkflowProgress) -> None:
    progress.apply(started("find"))
    progress.apply(ev.CallRefused(at=2100, task="find", attempt=1, reason="busy", until=2200))
    assert progress.tasks["find"].status == "retrying"
    progress.apply(ev.TaskReleased(at=2200, task="find"))
    progress.apply(started("find", attempt=2))
    progress.apply(ev.CallLost(at=2300, task="find", attempt=2, reason="provider died"))
    assert (progress.tasks["find"].status, progress.tasks["find"].note) == ("ready", "provider died")


def test_the_end_and_what_a_retry_by_hand_makes_of_it(progress: WorkflowProgress) -> None:
    progress.apply(started("find"))
    progress.apply(ev.TaskFailed(at=2500, task="find", attempt=1, error=FAILURE))
    progress.apply(ev.TaskSkipped(at=2500, task="join", reason="find failed"))
    progress.apply(ev.WorkflowFailed(at=2600, error=FAILURE))
    assert (progress.status, progress.final, progress.seconds(99_000), progress.ended) == ("failed", True, 1.6, 2)
    progress.apply(ev.WorkflowRetried(at=3000, tasks=("find", "join")))
    task = progress.tasks["find"]
    assert (progress.status, progress.error, progress.ended) == ("running", None, 0)
    assert (task.status, task.error, task.attempt) == ("pending", None, 0)


def test_what_waits_says_for_what(progress: WorkflowProgress) -> None:
    progress.apply(ev.TaskWaiting(at=2000, task="hello", attempt=1, signals=("approved",)))
    assert progress.active()[0].note == "waits for the signal approved"
    progress.note("hello", "still here")
    progress.note("nobody", "ignored")
    assert progress.tasks["hello"].note == "still here"


def test_counts_always_add_up(progress: WorkflowProgress) -> None:
    for event in (started("find"), started("hello"), ev.TaskCancelled(at=3000, task="join")):
        progress.apply(event)
        assert sum(progress.counts.values()) == len(progress.tasks)
    progress.apply(ev.WorkflowPaused(at=3000))
    progress.apply(ev.WorkflowResumed(at=3100))
    progress.apply(ev.SignalReceived(at=3100, name="x"))
    progress.apply(ev.WorkflowCancelled(at=3200, reason="enough"))
    assert (progress.status, progress.reason) == ("cancelled", "enough")


MADE = {
    "TaskStarted": started("find"),
    "TaskWaiting": ev.TaskWaiting(at=1, task="find", attempt=1),
    "TaskRetrying": ev.TaskRetrying(at=1, task="find", attempt=1, error=FAILURE, until=2),
    "TaskReleased": ev.TaskReleased(at=1, task="find"),
    "CallRefused": ev.CallRefused(at=1, task="find", attempt=1, reason=""),
    "CallLost": ev.CallLost(at=1, task="find", attempt=1, reason=""),
    "TaskCompleted": ev.TaskCompleted(at=1, task="find", attempt=1),
    "TaskFailed": ev.TaskFailed(at=1, task="find", attempt=1, error=FAILURE),
    "TaskSkipped": ev.TaskSkipped(at=1, task="find"),
    "TaskCancelled": ev.TaskCancelled(at=1, task="find"),
}


@pytest.mark.parametrize("cause", MADE)
def test_the_picture_moves_as_the_engine_does(progress: WorkflowProgress, cause: str) -> None:
    """The engine's own table says where each event leads."""
    progress.apply(MADE[cause])
    assert {after for (_, why), after in TASK.items() if why == cause} == {progress.tasks["find"].status}
