"""The two tables are complete: every pair in them moves, every pair that is not is refused and changes nothing."""

from collections.abc import Callable
from typing import get_args

import pytest
from tests.libs.engine.builders import NOW, raw, snapshot, submitted, task

from gleitzeit.engine.state import states
from gleitzeit.engine.state.task import PutOff
from gleitzeit.engine.state.workflow import Refused, Workflow
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Alternative, ForEach

AT = NOW + 1000
ERROR = ev.Failure(-29002, "no")

TASK_EVENTS: dict[str, Callable[[int], ev.AnyEvent]] = {
    "TaskStarted": lambda attempt: ev.TaskStarted(AT, "t", attempt + 1, "p", "p#1"),
    "TaskWaiting": lambda attempt: ev.TaskWaiting(AT, "t", attempt + 1, AT + 5, ("go",)),
    "TaskCompleted": lambda attempt: ev.TaskCompleted(AT, "t", attempt, raw(1)),
    "TaskRetrying": lambda attempt: ev.TaskRetrying(AT, "t", attempt, ERROR, AT + 5),
    "TaskReleased": lambda attempt: ev.TaskReleased(AT, "t"),
    "TaskFailed": lambda attempt: ev.TaskFailed(AT, "t", attempt, ERROR),
    "TaskSkipped": lambda attempt: ev.TaskSkipped(AT, "t"),
    "TaskCancelled": lambda attempt: ev.TaskCancelled(AT, "t"),
    "TasksAdded": lambda attempt: ev.TasksAdded(AT, "t", attempt + 1, 3),
    "TaskRepeated": lambda attempt: ev.TaskRepeated(AT, "t", attempt, raw(1), AT + 5),
    "TaskCached": lambda attempt: ev.TaskCached(AT, "t", attempt + 1, "key", raw(1)),
    "TaskFellBack": lambda attempt: ev.TaskFellBack(AT, "t", attempt, ERROR, 1),
    "TaskTurnedBack": lambda attempt: ev.TaskTurnedBack(AT, "t", attempt, ERROR, 1, AT + 5),
    "CallRefused": lambda attempt: ev.CallRefused(AT, "t", attempt, "busy"),
    "CallLost": lambda attempt: ev.CallLost(AT, "t", attempt, "gone"),
}
"""The event in question, about the attempt that is current."""
WORKFLOW_EVENTS: dict[str, ev.AnyEvent] = {
    "WorkflowPaused": ev.WorkflowPaused(AT),
    "WorkflowResumed": ev.WorkflowResumed(AT),
    "WorkflowCompleted": ev.WorkflowCompleted(AT),
    "WorkflowFailed": ev.WorkflowFailed(AT, ERROR),
    "WorkflowCancelled": ev.WorkflowCancelled(AT),
    "WorkflowCancelling": ev.WorkflowCancelling(AT, "enough"),
    "WorkflowRetried": ev.WorkflowRetried(AT, ("t",)),
}
HOW_TO_GET_TO: dict[str, list[ev.AnyEvent]] = {
    "pending": [],
    "ready": [],
    "running": [ev.TaskStarted(NOW, "t", 1, "p", "p#1")],
    "waiting": [ev.TaskWaiting(NOW, "t", 1, None, ("go",))],
}
HOW_TO_GET_TO |= {
    "retrying": [*HOW_TO_GET_TO["running"], ev.TaskRetrying(NOW, "t", 1, ERROR, AT)],
    "completed": [*HOW_TO_GET_TO["running"], ev.TaskCompleted(NOW, "t", 1, raw(1))],
    "failed": [*HOW_TO_GET_TO["running"], ev.TaskFailed(NOW, "t", 1, ERROR)],
    "skipped": [ev.TaskSkipped(NOW, "t")],
    "cancelled": [*HOW_TO_GET_TO["running"], ev.TaskCancelled(NOW, "t")],
}


def workflow_with_task(state: str) -> Workflow:
    """A workflow that goes on whatever becomes of its task `t`, which is in the given state."""
    waits = state in ("pending", "skipped")
    spare = (Alternative("shop", "shop/pay"),)
    many = ForEach(raw([1, 2, 3]))
    workflow = Workflow(
        submitted(task("other"), task("t", *(["other"] if waits else []), fallback=spare, for_each=many))
    )
    for event in HOW_TO_GET_TO[state]:
        workflow.apply(event)
    assert workflow.tasks["t"].state == state
    workflow.tasks["t"].put_off = (PutOff(1, 0, AT, "p", "busy"),)
    return workflow


@pytest.mark.parametrize("state", get_args(ev.TaskStatus))
@pytest.mark.parametrize("cause", list(TASK_EVENTS))
def test_a_task_moves_as_the_table_says_or_not_at_all(state: ev.TaskStatus, cause: str) -> None:
    workflow = workflow_with_task(state)
    before = snapshot(workflow)
    event = TASK_EVENTS[cause](workflow.tasks["t"].attempt)
    if (state, cause) in states.TASK:
        workflow.apply(event)
        assert workflow.tasks["t"].state == states.TASK[state, cause]
        assert workflow.updated_at == AT
    else:
        with pytest.raises(Refused):
            workflow.apply(event)
        assert snapshot(workflow) == before


def workflow_that_is(state: str, *, ended: bool) -> Workflow:
    """Its only task has ended, or is ready."""
    workflow = Workflow(submitted(task("t")))
    if state == "paused":
        workflow.apply(ev.WorkflowPaused(NOW))
    if state in ("running", "completed", "failed", "cancelled"):
        workflow.apply(ev.TaskStarted(NOW, "t", 1, "p", "p#1"))
    if state == "completed":
        workflow.apply(ev.TaskCompleted(NOW, "t", 1))
        workflow.apply(ev.WorkflowCompleted(NOW))
    elif state == "failed":
        workflow.apply(ev.TaskFailed(NOW, "t", 1, ERROR))
        workflow.apply(ev.WorkflowFailed(NOW, ERROR))
    elif ended or state == "cancelled":
        workflow.apply(ev.TaskCancelled(NOW, "t"))
        if state == "cancelled":
            workflow.apply(ev.WorkflowCancelled(NOW))
    assert workflow.state == state
    return workflow


@pytest.mark.parametrize("state", get_args(ev.WorkflowStatus))
@pytest.mark.parametrize("cause", list(WORKFLOW_EVENTS))
def test_a_workflow_moves_as_the_table_says_or_not_at_all(state: ev.WorkflowStatus, cause: str) -> None:
    workflow = workflow_that_is(state, ended=cause in ("WorkflowCompleted", "WorkflowFailed", "WorkflowCancelled"))
    before = snapshot(workflow)
    if (state, cause) in states.WORKFLOW:
        workflow.apply(WORKFLOW_EVENTS[cause])
        assert workflow.state == states.WORKFLOW[state, cause]
    else:
        with pytest.raises(Refused):
            workflow.apply(WORKFLOW_EVENTS[cause])
        assert snapshot(workflow) == before


@pytest.mark.parametrize("state", sorted(ev.WORKFLOW_FINAL))
@pytest.mark.parametrize("cause", list(TASK_EVENTS))
def test_nothing_happens_in_a_workflow_that_has_ended(state: str, cause: str) -> None:
    workflow = workflow_that_is(state, ended=True)
    before = snapshot(workflow)
    with pytest.raises(Refused):
        workflow.apply(TASK_EVENTS[cause](1))
    assert snapshot(workflow) == before


@pytest.mark.parametrize("event", [ev.WorkflowCompleted(AT), ev.WorkflowFailed(AT, ERROR), ev.WorkflowCancelled(AT)])
def test_a_workflow_does_not_end_before_its_tasks(event: ev.AnyEvent) -> None:
    workflow = workflow_that_is("running", ended=False)
    before = snapshot(workflow)
    with pytest.raises(Refused, match="have not ended"):
        workflow.apply(event)
    assert snapshot(workflow) == before


@pytest.mark.parametrize(
    "event",
    [
        ev.TaskCompleted(AT, "t", 1),
        ev.TaskRetrying(AT, "t", 3, ERROR, AT),
        ev.TaskFailed(AT, "t", 1, ERROR),
        ev.CallRefused(AT, "t", 1, "busy"),
        ev.CallLost(AT, "t", 1, "gone"),
    ],
)
def test_only_the_current_attempt_counts(event: ev.AnyEvent) -> None:
    workflow = workflow_with_task("running")
    workflow.apply(ev.CallLost(NOW, "t", 1, "gone"))
    workflow.apply(ev.TaskStarted(NOW, "t", 2, "p", "p#2"))
    before = snapshot(workflow)
    with pytest.raises(Refused, match="attempt 2 is current"):
        workflow.apply(event)
    assert snapshot(workflow) == before


def test_attempts_only_grow() -> None:
    workflow = workflow_with_task("running")
    workflow.apply(ev.CallLost(NOW, "t", 1, "gone"))
    before = snapshot(workflow)
    with pytest.raises(Refused):
        workflow.apply(ev.TaskStarted(NOW, "t", 1, "p", "p#2"))
    assert snapshot(workflow) == before


def test_nothing_starts_while_paused() -> None:
    workflow = workflow_that_is("paused", ended=False)
    before = snapshot(workflow)
    for event in (ev.TaskStarted(AT, "t", 1, "p", "p#1"), ev.TaskWaiting(AT, "t", 1, AT)):
        with pytest.raises(Refused, match="paused"):
            workflow.apply(event)
    assert snapshot(workflow) == before


@pytest.mark.parametrize("named", [("t", "done"), ("done",), ("nobody", "t"), ()])
def test_a_retry_by_hand_names_tasks_that_can_be_reset(named: tuple[str, ...]) -> None:
    workflow = Workflow(submitted(task("done"), task("t")))
    for event in (
        ev.TaskStarted(NOW, "done", 1, "p", "p#1"),
        ev.TaskCompleted(NOW, "done", 1, raw(1)),
        ev.TaskStarted(NOW, "t", 1, "p", "p#1"),
        ev.TaskFailed(NOW, "t", 1, ERROR),
        ev.WorkflowFailed(NOW, ERROR),
    ):
        workflow.apply(event)
    before = snapshot(workflow)
    if "done" in named:
        with pytest.raises(Refused):
            workflow.apply(ev.WorkflowRetried(AT, named))
        assert snapshot(workflow) == before
    else:
        workflow.apply(ev.WorkflowRetried(AT, named))
        assert workflow.state == "running"


def test_a_signal_is_for_those_that_live() -> None:
    workflow = workflow_that_is("completed", ended=True)
    before = snapshot(workflow)
    with pytest.raises(Refused):
        workflow.apply(ev.SignalReceived(AT, "go"))
    assert snapshot(workflow) == before


def test_every_kind_of_event_is_tried() -> None:
    """An event class that is added must be added to the dicts above as well."""
    elsewhere = {"WorkflowSubmitted", "SignalReceived", "UndoAdded"}
    assert {cls.__name__ for cls in get_args(ev.AnyEvent)} == {*TASK_EVENTS, *WORKFLOW_EVENTS} | elsewhere


def test_every_state_is_reached_and_every_final_one_is_left_only_by_a_retry() -> None:
    assert {state for state, _ in states.TASK} | set(states.TASK.values()) == set(get_args(ev.TaskStatus))
    assert {state for state, _ in states.WORKFLOW} | set(states.WORKFLOW.values()) == set(get_args(ev.WorkflowStatus))
    assert {cause for state, cause in states.TASK if state in ev.TASK_FINAL} == {states.RESET, "UndoAdded"}
    assert {cause for state, cause in states.WORKFLOW if state in ev.WORKFLOW_FINAL} == {"WorkflowRetried"}
    own = {states.DEPENDENCIES_MET, states.RESET, states.ASKED, states.AGAIN}
    known = {cls.__name__ for cls in get_args(ev.AnyEvent)} | own
    assert {cause for _, cause in (*states.TASK, *states.WORKFLOW)} <= known
