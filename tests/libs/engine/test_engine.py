"""What a coordinator decides, from submit to end: told by a `Desk`, on a clock that moves only when it is told to."""

from msgspec import Raw
from tests.libs.engine.builders import NOW, Desk, definition, fan, kinds_of, raw, task

from gleitzeit import errors
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.calls import MAX_STARTS
from gleitzeit.engine.decisions.timers import SPARE_TIMERS
from gleitzeit.model import events as ev

# From submit to end


def test_a_task_is_started_called_recorded_and_acknowledged() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a"))
    assert desk.kinds() == ["WorkflowSubmitted", "TaskStarted"]
    assert desk.sent() == ["a"]
    decided = desk.complete("a", {"x": 1})
    assert desk.kinds()[2:] == ["TaskCompleted", "TaskStarted"]
    assert kinds_of(decided.effects) == ["AckCall", "CallProvider"]
    desk.complete("b")
    assert desk.kinds()[4:] == ["TaskCompleted", "WorkflowCompleted"]
    assert not desk.engine.calls
    assert desk.engine.scheduler.queued == 0


def test_an_answer_comes_with_what_is_to_be_durable_first() -> None:
    desk = Desk()
    desk.submit(task("a"))
    (answer,) = desk.last.answers
    assert answer.workflow is desk.workflow()
    assert list(desk.last.appends) == ["w"]


def test_a_submit_that_comes_again_makes_nothing_new_and_another_body_is_refused() -> None:
    desk = Desk()
    first = desk.submit(task("a"), body="sha")
    assert desk.submit(task("a"), body="sha") is first
    assert [answer.created for answer in desk.last.answers] == [False]
    assert not desk.last.appends
    desk.submit(task("b"), body="other")
    assert isinstance(desk.error(), errors.InvalidState)
    assert list(desk.workflow().tasks) == ["a"]


def test_starts_of_one_turn_are_bounded_and_the_next_turn_follows_at_once() -> None:
    desk = Desk(providers=[("p#1", 10_000)])
    many = [task(f"t{i}") for i in range(MAX_STARTS + 5)]
    desk.engine.decide(NOW, [inp.Submit("", "w", definition(*many), raw({}))])
    assert desk.engine.more
    assert len(desk.engine.calls) == MAX_STARTS
    desk.engine.decide(NOW, [])
    assert not desk.engine.more
    assert len(desk.engine.calls) == MAX_STARTS + 5


def test_a_coordinator_that_drains_starts_nothing_and_still_records() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a"))
    desk.engine.draining = True
    desk.complete("a")
    assert desk.sent() == []
    assert desk.states() == {"a": "completed", "b": "ready"}


def test_timers_of_calls_that_have_ended_do_not_pile_up() -> None:
    desk = Desk(providers=[("p#1", 5_000)])
    for number in range(5):
        name = f"w{number}"
        desk.submit(*(task(f"t{i}", timeout_seconds=3_600) for i in range(4_000)), workflow_id=name)
        desk.tell(*(inp.CallCompleted(call, Raw(b"1")) for call in list(desk.engine.calls.values())))
    assert len(desk.engine._timers) < 2 * SPARE_TIMERS


# Policies of failure


def test_isolate_skips_what_depends_on_the_failure_and_lets_the_rest_go_on() -> None:
    desk = fan(error_policy="isolate")
    assert desk.states() == {"bad": "failed", "other": "running", "child": "skipped", "grandchild": "skipped"}
    desk.complete("other")
    assert desk.workflow().state == "failed"
    error = desk.workflow().error
    assert error is not None
    assert (error.task, error.code) == ("bad", -29002)


def test_fail_fast_cancels_the_rest_and_tells_the_providers() -> None:
    desk = fan(error_policy="fail_fast")
    assert desk.states() == {"bad": "failed", "other": "cancelled", "child": "cancelled", "grandchild": "cancelled"}
    assert "CancelCall" in kinds_of(desk.last.effects)
    assert desk.workflow().state == "failed"


def test_continue_runs_dependents_with_null() -> None:
    desk = Desk()
    params = {"in": "${bad}"}
    desk.submit(task("bad"), task("child", "bad", params=params), error_policy="continue")
    desk.fail("bad")
    assert desk.states() == {"bad": "failed", "child": "running"}
    assert b'"in":null' in desk.call("child").params
    desk.complete("child")
    assert desk.workflow().state == "failed"


def test_on_error_skip_does_not_fail_the_workflow() -> None:
    desk = Desk()
    desk.submit(task("bad", on_error="skip"), task("child", "bad"))
    desk.fail("bad")
    assert desk.states() == {"bad": "failed", "child": "running"}
    desk.complete("child")
    assert desk.workflow().state == "completed"


def test_a_parameter_that_cannot_be_made_fails_the_task_without_a_call() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a", params={"x": "${a.nothing}"}))
    desk.complete("a", {"something": 1})
    assert desk.sent() == []
    assert desk.states()["b"] == "failed"
    error = desk.workflow().tasks["b"].error
    assert error is not None
    assert error.code == errors.ParameterError.code
    assert "something" in error.message
    assert desk.workflow().state == "failed"


def test_a_workflow_in_which_nothing_ever_started_ends_too() -> None:
    desk = Desk(providers=())
    desk.submit(task("a", queue_timeout_seconds=5, on_error="skip"))
    desk.wait(5)
    assert desk.kinds() == ["WorkflowSubmitted", "TaskFailed", "WorkflowCompleted"]


def test_what_is_cancelled_in_the_turn_in_which_it_would_start_is_not_sent() -> None:
    desk = Desk()
    desk.submit(
        task("gate"), task("good", "gate"), task("bad", "gate", params={"x": "${gate.no}"}), error_policy="fail_fast"
    )
    desk.complete("gate", {})
    assert desk.states() == {"gate": "completed", "good": "cancelled", "bad": "failed"}
    assert desk.sent() == []


def test_what_is_cancelled_in_the_turn_in_which_it_would_be_sent_again_is_not_sent() -> None:
    desk = Desk()
    desk.submit(task("a"))
    call = desk.call("a")
    desk.tell(inp.CallUnknown(call, "p#1"), inp.Cancel("", "w"))
    assert desk.sent() == []


# Starting anew


def test_what_is_pending_is_derived_at_the_start() -> None:
    """The journal may end anywhere: between the last task's end and the workflow's, or right after a failure."""
    desk = Desk()
    desk.submit(task("a"))
    desk.complete("a")
    desk.events["w"].pop()
    assert desk.restart().workflow().state == "completed"

    desk = fan(error_policy="isolate")
    stream = desk.events["w"]
    while not isinstance(stream[-1], ev.TaskFailed):
        stream.pop()
    desk = desk.restart()
    assert desk.states() == {"bad": "failed", "other": "running", "child": "skipped", "grandchild": "skipped"}


def test_back_off_goes_on_after_a_restart() -> None:
    desk = Desk()
    desk.submit(task("a", attempts=2))
    desk.fail("a")
    desk = desk.restart()
    desk.provider("p#1")
    desk.wait(0.9)
    assert desk.states() == {"a": "retrying"}
    desk.wait(0.1)
    assert desk.states() == {"a": "running"}


def test_what_has_ended_is_adopted_and_forgotten_without_a_trace() -> None:
    desk = Desk()
    desk.submit(task("a"))
    desk.fail("a")
    desk = desk.restart()
    assert not desk.last.appends
    desk.engine.forget("w")
    assert not desk.engine.workflows
