"""What clients ask for by hand: cancel, pause, hold, retry."""

import pytest
from tests.libs.engine.builders import Desk, fan, task

from gleitzeit import errors
from gleitzeit.engine import inputs as inp


def test_cancel_ends_all_tasks_and_tells_the_providers_and_may_be_repeated() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a"), task("c"))
    desk.complete("c")
    desk.tell(inp.Cancel("x", "w", "enough"))
    assert desk.states() == {"a": "cancelled", "b": "cancelled", "c": "completed"}
    assert [type(e).__name__ for e in desk.last.effects] == ["CancelCall"]
    assert desk.kinds()[-1] == "WorkflowCancelled"
    events = desk.kinds()
    desk.tell(inp.Cancel("x", "w"))
    assert desk.last.answers[0].workflow is desk.workflow()
    assert desk.kinds() == events


@pytest.mark.parametrize("request_type", [inp.Cancel, inp.Pause, inp.Resume, inp.Hold])
def test_what_has_ended_or_never_was_cannot_be_changed(request_type: type) -> None:
    desk = Desk()
    desk.submit(task("a"))
    desk.complete("a")
    desk.tell(request_type("x", "w"))
    assert isinstance(desk.error(), errors.InvalidState)
    desk.tell(request_type("x", "nobody"))
    assert isinstance(desk.error(), errors.WorkflowNotFound)


def test_pause_lets_finish_what_runs_and_starts_nothing_until_resume() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a"))
    desk.tell(inp.Pause("x", "w"))
    desk.complete("a")
    assert desk.states() == {"a": "completed", "b": "ready"}
    assert desk.workflow().state == "paused"
    desk.tell(inp.Pause("x", "w"))
    assert desk.kinds().count("WorkflowPaused") == 1
    desk.tell(inp.Resume("x", "w"))
    assert desk.sent() == ["b"]


def test_a_paused_workflow_whose_last_task_ends_is_complete() -> None:
    desk = Desk()
    desk.submit(task("a"))
    desk.tell(inp.Pause("x", "w"))
    desk.complete("a")
    assert desk.workflow().state == "completed"


def test_hold_is_not_journaled_and_resume_lifts_it() -> None:
    desk = Desk()
    desk.submit(task("a"), held=True)
    assert desk.kinds() == ["WorkflowSubmitted"]
    desk.tell(inp.Resume("x", "w"))
    assert desk.sent() == ["a"]
    desk.submit(task("a"), task("b", "a"), workflow_id="v")
    desk.tell(inp.Hold("x", "v"))
    desk.complete("a", workflow_id="v")
    assert desk.states("v") == {"a": "completed", "b": "ready"}
    assert "WorkflowPaused" not in desk.kinds("v")
    desk.tell(inp.Resume("x", "v"))
    assert desk.sent() == ["b"]


def test_a_coordinator_that_starts_with_a_hold_resumes_on_request() -> None:
    desk = Desk(providers=())
    desk.submit(task("a"))
    desk = desk.restart(held=True)
    desk.provider("p#1")
    assert desk.sent() == []
    desk.tell(inp.Resume("x", "w"))
    assert desk.sent() == ["a"]


def test_retry_by_hand_runs_again_what_did_not_complete() -> None:
    desk = fan(error_policy="isolate")
    desk.complete("other", 7)
    desk.tell(inp.Retry("x", "w"))
    (answer,) = desk.last.answers
    assert set(answer.tasks) == {"bad", "child", "grandchild"}
    assert desk.sent() == ["bad"]
    assert desk.workflow().tasks["bad"].attempt == 2
    for name in ("bad", "child", "grandchild"):
        desk.complete(name)
    assert desk.workflow().state == "completed"
    assert desk.kinds().count("TaskCompleted") == 4


def test_retry_of_one_task_takes_its_dependents_with_it() -> None:
    desk = Desk()
    desk.submit(task("a"), task("a2", "a"), task("b"))
    desk.fail("a")
    desk.fail("b")
    desk.tell(inp.Retry("x", "w", ("a",)))
    assert desk.last.answers[0].tasks == ("a", "a2")
    assert desk.states() == {"a": "running", "a2": "pending", "b": "failed"}
    desk.complete("a")
    desk.complete("a2")
    assert desk.workflow().state == "failed"


def test_retry_gives_the_policy_and_the_timeout_anew() -> None:
    desk = Desk()
    desk.submit(task("a", attempts=2), timeout_seconds=10)
    desk.wait(10)
    assert desk.workflow().state == "failed"
    desk.tell(inp.Retry("x", "w"))
    desk.wait(9)
    desk.fail("a")
    assert desk.states() == {"a": "retrying"}
    desk.wait(1)
    assert desk.workflow().state == "failed"


@pytest.mark.parametrize("end", ["completed", "running"])
def test_only_what_failed_or_was_cancelled_can_be_retried(end: str) -> None:
    desk = Desk()
    desk.submit(task("a"))
    if end == "completed":
        desk.complete("a")
    desk.tell(inp.Retry("x", "w"))
    assert isinstance(desk.error(), errors.InvalidState)
    desk.tell(inp.Retry("x", "nobody"))
    assert isinstance(desk.error(), errors.WorkflowNotFound)


def test_a_retried_task_whose_dependency_failed_would_wait_for_ever_and_is_refused() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a"))
    desk.fail("a")
    desk.tell(inp.Retry("retry", "w", ("b",)))
    assert str(desk.error()) == "task b needs a, which is failed: retry a"
    assert desk.states() == {"a": "failed", "b": "skipped"}


def test_a_dependent_stays_skipped_while_another_of_its_dependencies_is_not_retried() -> None:
    desk = Desk()
    desk.submit(task("a"), task("x"), task("y", "a", "x"), task("z", "y"))
    desk.fail("a")
    desk.fail("x")
    desk.tell(inp.Retry("retry", "w", ("a",)))
    assert desk.last.answers[0].tasks == ("a",)
    desk.complete("a")
    assert desk.workflow().state == "failed"
    assert desk.states() == {"a": "completed", "x": "failed", "y": "skipped", "z": "skipped"}
    desk.tell(inp.Retry("retry", "w", ("x",)))
    for name in ("x", "y", "z"):
        desk.complete(name)
    assert desk.workflow().state == "completed"
