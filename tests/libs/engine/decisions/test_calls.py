"""Attempts and what becomes of them: answers, pauses, timeouts, providers that come and go."""

import pytest
from msgspec import Raw
from tests.libs.engine.builders import METHODS, NOW, Desk, kinds_of, raw, task

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions import calls as calls_module
from gleitzeit.engine.decisions.calls import CONNECT_GRACE_MS, MAX_LOSSES, SUCCESSOR_GRACE_MS
from gleitzeit.engine.decisions.core import call_id
from gleitzeit.engine.explain import explain
from gleitzeit.engine.graph.retry import LEAST_BUSY_SECONDS, MAX_ASKED_SECONDS, MOST_BUSY_SECONDS, asked_seconds
from gleitzeit.model import events as ev
from gleitzeit.model.definition import RetryPolicy
from gleitzeit.schemas import Catalogue, method_schema

LEASE = 20.0
GIVEN_UP_AFTER = LEASE + CONNECT_GRACE_MS / 1000


# Attempts


def test_a_failure_that_may_pass_is_tried_again_after_its_pause() -> None:
    desk = Desk()
    desk.submit(task("a", attempts=3))
    desk.fail("a")
    assert desk.states() == {"a": "retrying"}
    assert desk.engine.due_at() == NOW + 1000
    desk.wait(0.999)
    assert desk.states() == {"a": "retrying"}
    desk.wait(0.001)
    assert desk.states() == {"a": "running"}
    assert desk.workflow().tasks["a"].attempt == 2
    desk.fail("a")
    desk.wait(1)
    desk.fail("a")
    assert desk.states() == {"a": "failed"}
    assert desk.kinds().count("TaskStarted") == 3


@pytest.mark.parametrize(
    ("code", "data", "again"),
    [
        (-29002, None, True),
        (-32602, None, False),
        (-31005, None, True),
        (-29002, {"retryable": False}, False),
        (-32602, {"retryable": True}, True),
        (-12345, None, True),
    ],
)
def test_which_failures_are_tried_again(code: int, data: object, again: bool) -> None:
    desk = Desk()
    desk.submit(task("a", attempts=2))
    desk.fail("a", code, data=data)
    assert desk.states() == {"a": "retrying" if again else "failed"}


def test_a_provider_may_ask_for_a_longer_pause() -> None:
    desk = Desk()
    desk.submit(task("a", attempts=2))
    desk.fail("a", -31005, data={"retryAfterSeconds": 30})
    desk.wait(29)
    assert desk.states() == {"a": "retrying"}
    desk.wait(1)
    assert desk.states() == {"a": "running"}


def test_busy_is_not_an_attempt() -> None:
    desk = Desk()
    desk.submit(task("a", attempts=1))
    for _ in range(5):
        desk.tell(inp.CallNotStarted(desk.call("a"), "busy", 0.5))
        assert desk.states() == {"a": "retrying"}
        desk.wait(0.5)
    assert desk.workflow().tasks["a"].failures == 0
    assert desk.workflow().tasks["a"].attempt == 6
    desk.complete("a")
    assert desk.workflow().state == "completed"


@pytest.mark.parametrize("wish", [0, -5, 0.1])
def test_a_provider_that_is_always_full_is_asked_more_and_more_rarely(wish: float) -> None:
    desk = Desk()
    desk.submit(task("a", attempts=3))
    for refused in range(40):
        desk.tell(inp.CallNotStarted(desk.call("a"), "busy", wish))
        desk.wait(max(wish, min(LEAST_BUSY_SECONDS * 2**refused, MOST_BUSY_SECONDS)) - 0.001)
        assert desk.states() == {"a": "retrying"}
        desk.wait(0.001)
        assert desk.states() == {"a": "running"}
    desk.fail("a", -31005)
    desk.wait(60)
    desk.tell(inp.CallNotStarted(desk.call("a"), "busy", wish))
    desk.wait(max(wish, LEAST_BUSY_SECONDS))
    assert desk.states() == {"a": "running"}, "it was not full in between"


def test_a_late_answer_of_an_earlier_attempt_changes_nothing_and_is_acknowledged() -> None:
    desk = Desk()
    desk.submit(task("a", attempts=2, timeout_seconds=5))
    late = desk.call("a")
    desk.wait(5)
    desk.wait(1)
    assert desk.states() == {"a": "running"}
    events = desk.kinds()
    desk.tell(inp.CallCompleted(late, raw("too late")))
    assert desk.kinds() == events
    assert desk.last.effects == [fx.AckCall(late)]


def test_an_answer_that_comes_twice_is_recorded_once() -> None:
    desk = Desk()
    desk.submit(task("a"))
    call = desk.call("a")
    desk.tell(inp.CallCompleted(call, raw(1)), inp.CallCompleted(call, raw(2)))
    assert desk.kinds().count("TaskCompleted") == 1
    assert desk.workflow().tasks["a"].result == raw(1)


@pytest.mark.parametrize("wish", [1e308, float("inf"), 10**30])
def test_a_provider_may_not_ask_for_more_patience_than_an_hour(wish: float) -> None:
    assert asked_seconds(wish, 0.25) == MAX_ASKED_SECONDS
    desk = Desk()
    desk.submit(task("a"))
    desk.tell(inp.CallNotStarted(desk.call("a"), "busy", wish))
    desk.wait(MAX_ASKED_SECONDS)
    assert desk.sent() == ["a"]


def test_calls_with_large_params_are_started_a_few_in_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "MAX_START_BYTES", 5_000)
    desk = Desk()
    desk.submit(task("big"), *(task(f"t{i}", "big", params={"message": "${big.result}"}) for i in range(20)))
    done = inp.CallCompleted(desk.call("big"), Raw(b'"' + b"x" * 2_000 + b'"'))
    decision = desk.engine.decide(desk.now, [done])
    assert sum(isinstance(effect, fx.CallProvider) for effect in decision.effects) == 3
    assert desk.engine.more


# Timeouts


def test_an_attempt_that_takes_too_long_is_stopped_and_tried_again() -> None:
    desk = Desk()
    desk.submit(task("a", attempts=2, timeout_seconds=5))
    desk.wait(4.999)
    assert desk.states() == {"a": "running"}
    desk.wait(0.001)
    assert kinds_of(desk.last.effects) == ["CancelCall"]
    assert desk.states() == {"a": "retrying"}
    assert not desk.engine.calls
    desk.wait(1)
    desk.wait(5)
    error = desk.workflow().error
    assert error is not None
    assert (desk.states(), error.code) == ({"a": "failed"}, errors.TaskTimeout.code)


def test_a_method_may_have_a_timeout_of_its_own_for_tasks_that_name_none() -> None:
    desk = Desk()
    desk.engine.catalogue = Catalogue([method_schema("echo/echo", {"x-timeout-seconds": 5})])
    desk.submit(task("a"), task("b", timeout_seconds=9))
    desk.wait(5)
    assert desk.states() == {"a": "failed", "b": "running"}
    error = desk.workflow().tasks["a"].error
    assert error is not None
    assert error.message == "attempt 1 took longer than its timeout of 5 s (that of echo/echo)"
    desk.wait(4)
    assert "(that of" not in str(desk.workflow().tasks["b"].error)


def test_a_result_that_has_come_counts_though_its_time_is_over_by_the_next_turn() -> None:
    desk = Desk()
    desk.submit(task("a", timeout_seconds=5))
    desk.now += 60_000  # a stall: the disk was full, or the machine slept
    desk.complete("a", 1)
    assert desk.workflow().state == "completed"


def test_a_task_that_nobody_starts_fails_with_the_reason() -> None:
    desk = Desk(providers=())
    desk.submit(task("a", queue_timeout_seconds=3))
    desk.wait(2.9)
    assert desk.states() == {"a": "ready"}
    desk.wait(0.1)
    error = desk.workflow().tasks["a"].error
    assert error is not None
    assert "no provider serves echo/echo" in error.message
    assert error.code == errors.ProviderNotAvailable.code


def test_a_queue_timeout_counts_from_the_latest_time_it_was_ready() -> None:
    desk = Desk()
    desk.submit(task("a", attempts=2, queue_timeout_seconds=3))
    desk.tell(inp.ProviderDraining("p#1"))
    desk.fail("a")
    desk.wait(1)
    assert desk.states() == {"a": "ready"}
    desk.wait(2.9)
    assert desk.states() == {"a": "ready"}
    desk.wait(0.1)
    assert desk.states() == {"a": "failed"}


def test_a_drained_provider_finishes_what_it_has_and_goes_on_when_that_is_undone() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a"), task("c", "b"))
    desk.tell(inp.ProvidersDrained(frozenset({desk.workflow().tasks["a"].provider})))
    desk.complete("a")
    assert desk.states() == {"a": "completed", "b": "ready", "c": "pending"}
    told = explain(desk.engine, desk.workflow(), desk.workflow().tasks["b"], desk.now)
    assert told.reason == "draining"
    assert "--undo" in told.message
    desk.provider("p#2")
    assert desk.states()["b"] == "ready"
    desk.tell(inp.ProvidersDrained(instances=frozenset({"p#1"})))
    assert desk.workflow().tasks["b"].instance == "p#2"
    desk.tell(inp.ProvidersDrained(instances=frozenset({"p#1", "p#2"})))
    desk.complete("b")
    assert desk.states()["c"] == "ready"
    desk.tell(inp.ProvidersDrained())
    assert desk.states()["c"] == "running"


def test_the_workflow_timeout_ends_everything() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a"), timeout_seconds=10)
    desk.wait(10)
    assert desk.states() == {"a": "cancelled", "b": "cancelled"}
    error = desk.workflow().error
    assert error is not None
    assert (desk.workflow().state, error.name) == ("failed", "WORKFLOW_TIMEOUT")
    assert kinds_of(desk.last.effects) == ["CancelCall"]


def test_timeouts_survive_a_restart() -> None:
    desk = Desk()
    desk.submit(task("a", timeout_seconds=5), workflow_id="attempt")
    desk.submit(task("a"), workflow_id="whole", timeout_seconds=7)
    desk.wait(3)
    desk = desk.restart()
    desk.wait(2)
    assert desk.workflow("attempt").state == "failed"
    desk.wait(2)
    assert desk.workflow("whole").state == "failed"


def test_a_result_that_came_in_time_while_nobody_was_there_to_hear_it_counts() -> None:
    desk = Desk()
    desk.submit(task("a", timeout_seconds=5))
    desk.submit(task("b", timeout_seconds=5), workflow_id="later")
    desk.now += 60_000
    desk = desk.restart()
    desk.wait(1)
    assert [desk.states(), desk.states("later")] == [{"a": "running"}, {"b": "running"}]
    desk.provider("p#1")
    desk.complete("a", 1)
    assert desk.workflow().state == "completed"
    desk.wait(8.9)
    assert desk.states("later") == {"b": "running"}
    desk.wait(0.1)
    assert desk.states("later") == {"b": "failed"}, "it is not waited for any longer than it takes to hear of it"


def test_a_request_that_is_sent_again_has_all_its_time() -> None:
    desk = Desk()
    desk.submit(task("a", timeout_seconds=5))
    desk.wait(4)
    desk.tell(inp.CallUnknown(desk.call("a"), "p#1"))
    desk.wait(4.9)
    assert desk.states() == {"a": "running"}
    desk.wait(0.1)
    assert desk.states() == {"a": "failed"}


def test_the_timeout_of_a_retried_workflow_holds_over_a_restart() -> None:
    desk = Desk()
    desk.submit(task("a"), timeout_seconds=10)
    desk.fail("a")
    desk.wait(5)
    desk.tell(inp.Retry("retry", "w"))
    again = desk.restart()
    again.wait(9.9)
    assert again.workflow().state == "running"
    again.wait(0.1)
    assert again.workflow().state == "failed"


def test_a_workflow_timeout_of_a_broken_millisecond_is_not_missed() -> None:
    desk = Desk()
    desk.submit(task("a"), timeout_seconds=1.0004)
    desk.wait(1)
    assert desk.workflow().state == "failed"


# Inside the coordinator


def test_a_timer_fires_once_and_never_early_also_over_a_restart() -> None:
    desk = Desk()
    desk.submit(task("t", method="timer/sleep", params={"seconds": 10}))
    assert desk.states() == {"t": "waiting"}
    desk.wait(5)
    desk = desk.restart()
    desk.wait(4.999)
    assert desk.states() == {"t": "waiting"}
    desk.wait(0.001)
    assert desk.workflow().state == "completed"
    assert bytes(desk.workflow().tasks["t"].result or b"") == b'{"slept_seconds":10.0}'
    assert desk.kinds().count("TaskCompleted") == 1


def test_a_signal_that_came_before_the_wait_is_kept_for_it() -> None:
    desk = Desk()
    desk.submit(task("a"), task("s", "a", method="signal/wait", params={"signal_name": "go"}))
    desk.tell(inp.Signal("x", "w", "go", raw({"yes": 1}), "me"))
    desk = desk.restart()
    desk.provider("p#1")
    desk.complete("a")
    assert desk.workflow().state == "completed"
    result = bytes(desk.workflow().tasks["s"].result or b"")
    assert b'"payload":{"yes":1}' in result
    assert b'"sender":"me"' in result


def test_one_signal_wakes_one_task_the_one_that_has_waited_longest() -> None:
    desk = Desk()
    wait = {"method": "signal/wait", "params": {"signal_name": "go"}}
    desk.submit(task("a"), task("late", "a", **wait), task("early", **wait))
    desk.wait(1)
    desk.complete("a")
    desk.tell(inp.Signal("x", "w", "go", raw(1)))
    assert desk.states() == {"a": "completed", "late": "waiting", "early": "completed"}
    desk.tell(inp.Signal("x", "w", "other", raw(2)), inp.Signal("x", "w", "go", raw(3)))
    assert desk.workflow().state == "completed"


@pytest.mark.parametrize("where", ["params", "task"])
def test_a_signal_that_does_not_come_in_time_fails_the_task(where: str) -> None:
    desk = Desk()
    params = {"signal_name": "go", **({"timeout": 5} if where == "params" else {})}
    desk.submit(task("s", method="signal/wait", params=params, timeout_seconds=None if where == "params" else 5))
    desk.wait(4.9)
    assert desk.states() == {"s": "waiting"}
    desk.wait(0.1)
    error = desk.workflow().error
    assert error is not None
    assert error.code == errors.TaskTimeout.code


@pytest.mark.parametrize("params", [{"seconds": -1}, {"seconds": "soon"}, {}, {"seconds": True}])
def test_nonsense_for_a_timer_fails_its_task(params: object) -> None:
    desk = Desk()
    desk.submit(task("t", method="timer/sleep", params=params))
    error = desk.workflow().error
    assert error is not None
    assert error.code == errors.ParameterError.code


# Providers that come and go


def test_a_request_that_never_arrived_is_sent_again_as_the_same() -> None:
    desk = Desk()
    desk.submit(task("a"))
    call = desk.call("a")
    first = call.params
    desk = desk.restart()
    desk.provider("p#1")
    (effect,) = desk.last.effects
    assert isinstance(effect, fx.AttachCall)
    assert effect.call.id == call.id == call_id("w", "a", 1)
    desk.tell(inp.CallUnknown(effect.call, "p#1"))
    (effect,) = desk.last.effects
    assert isinstance(effect, fx.CallProvider)
    assert effect.call.params == first
    assert desk.kinds().count("TaskStarted") == 1


def test_a_lost_connection_is_waited_for_and_the_call_attached() -> None:
    desk = Desk()
    desk.submit(task("a"))
    desk.tell(inp.ProviderDown("p#1"))
    desk.wait(GIVEN_UP_AFTER - 0.001)
    assert desk.states() == {"a": "running"}
    desk.provider("p#1")
    assert kinds_of(desk.last.effects) == ["AttachCall"]
    desk.wait(2 * GIVEN_UP_AFTER)
    assert desk.states() == {"a": "running"}


def test_a_provider_that_does_not_come_back_is_given_up_after_the_lease() -> None:
    desk = Desk()
    desk.submit(task("a", on_lost="retry"))
    desk.tell(inp.ProviderDown("p#1"))
    desk.wait(GIVEN_UP_AFTER)
    lost = desk.events["w"][-1]
    assert isinstance(lost, ev.CallLost)
    assert lost.may_have_run
    assert desk.states() == {"a": "ready"}
    desk.provider("q#1")
    assert desk.sent() == ["a"]


def test_time_that_did_not_pass_is_no_reason_to_give_up() -> None:
    """What comes from another coordinator may be later than our clock, which then goes on from there."""
    desk = Desk()
    desk.submit(task("a", on_lost="retry"))
    desk.tell(inp.ProviderDown("p#1"))
    desk.now += 1_000_000
    desk.engine.clock_moved(1_000_000)
    desk.wait(GIVEN_UP_AFTER - 0.001)
    assert desk.states() == {"a": "running"}
    desk.wait(0.001)
    assert isinstance(desk.events["w"][-1], ev.CallLost)


def test_a_provider_known_to_be_dead_is_given_up_at_once() -> None:
    desk = Desk(providers=[("p#1", 1), ("q#1", 1)])
    desk.submit(task("a", on_lost="retry"))
    dead = desk.call("a").instance
    desk.tell(inp.ProviderDown(dead, gone=True))
    assert desk.sent() == ["a"]
    assert desk.call("a").instance != dead


def test_a_new_instance_of_the_name_ends_the_wait_unless_the_old_one_is_known_to_exist() -> None:
    for seen, state in ((False, "ready"), (True, "running")):
        desk = Desk()
        if seen:
            desk.tell(inp.ProviderSeen("p#1"))
        desk.submit(task("a", on_lost="retry"))
        desk.tell(inp.ProviderDown("p#1"))
        desk.tell(inp.ProviderReady("p", "p#2", frozenset({"other/method"}), 1))
        desk.wait(SUCCESSOR_GRACE_MS / 1000 - 0.001)
        assert desk.states() == {"a": "running"}
        desk.wait(0.001)
        assert desk.states() == {"a": state}


def test_a_namesake_that_discovery_names_late_is_no_reason_to_give_up() -> None:
    desk = Desk()
    desk.submit(task("a", on_lost="retry"))
    desk = desk.restart()
    desk.provider("p#2")
    desk.tell(inp.ProviderSeen("p#1"))
    desk.wait(SUCCESSOR_GRACE_MS / 1000)
    assert desk.states() == {"a": "running"}
    desk.tell(inp.ProviderDown("p#1", gone=True))
    assert desk.call("a").instance == "p#2"


def test_an_attach_answered_by_another_instance_is_a_loss() -> None:
    desk = Desk()
    desk.submit(task("a", on_lost="retry"))
    desk.tell(inp.CallUnknown(desk.call("a"), "p#2"))
    assert "CallLost" in desk.kinds()


@pytest.mark.parametrize(
    ("method", "on_lost", "attempts", "repeated"),
    [
        ("echo/echo", "", 1, True),
        ("echo/echo", "fail", 3, False),
        ("shop/pay", "", 1, False),
        ("shop/pay", "", 2, True),
        ("shop/pay", "retry", 1, True),
    ],
)
def test_what_may_have_run_is_repeated_only_if_that_is_allowed(
    method: str, on_lost: str, attempts: int, repeated: bool
) -> None:
    desk = Desk()
    desk.submit(task("a", method=method, on_lost=on_lost, attempts=attempts))
    desk.tell(inp.ProviderDown("p#1", gone=True))
    assert desk.states() == {"a": "ready" if repeated else "failed"}
    if not repeated:
        error = desk.workflow().error
        assert error is not None
        assert error.name == "CALL_LOST"


def asked_about_a_lost_call() -> Desk:
    desk = Desk()
    desk.submit(task("a", on_lost="ask"), task("b", "a"))
    desk.tell(inp.ProviderDown("p#1", gone=True))
    return desk


def answered(desk: Desk, approved: bool) -> None:
    desk.tell(inp.Complete("c", "w", "a", approved, raw({}), "it was not paid", "Ada"))


def test_whether_a_lost_call_is_made_again_a_person_says_also_after_a_restart() -> None:
    desk = asked_about_a_lost_call()
    asks = desk.workflow().tasks["a"].approval
    assert asks is not None
    assert "may have had its effect: once more?" in asks.message
    desk = desk.restart()
    desk.provider("q#1")
    desk.wait(3600)
    assert desk.states() == {"a": "waiting", "b": "pending"}
    answered(desk, approved=True)
    released = next(event for event in desk.events["w"] if isinstance(event, ev.TaskReleased))
    assert (released.by, released.comment) == ("Ada", "it was not paid")
    assert desk.states() == {"a": "running", "b": "pending"}
    desk.complete("a")
    assert desk.states() == {"a": "completed", "b": "running"}


def test_a_lost_call_that_is_not_to_be_made_again_has_failed() -> None:
    desk = asked_about_a_lost_call()
    answered(desk, approved=False)
    error = desk.workflow().error
    assert error is not None
    assert (desk.states()["a"], error.name) == ("failed", "CALL_LOST")
    assert "rejected by Ada: it was not paid" in error.message


def test_who_is_asked_about_a_call_may_cancel_instead() -> None:
    desk = asked_about_a_lost_call()
    desk.tell(inp.Cancel("c", "w"))
    assert desk.states() == {"a": "cancelled", "b": "cancelled"}
    answered(desk, approved=True)
    assert desk.states() == {"a": "cancelled", "b": "cancelled"}


def test_a_task_that_kills_its_provider_three_times_is_quarantined() -> None:
    desk = Desk(providers=())
    desk.submit(task("a", on_lost="retry", retry=RetryPolicy(100)))
    for number in range(MAX_LOSSES):
        assert desk.states() == {"a": "ready"}
        desk.provider(f"p#{number}")
        desk.tell(inp.ProviderDown(f"p#{number}", gone=True))
    error = desk.workflow().error
    assert error is not None
    assert (desk.states(), error.name) == ({"a": "failed"}, "QUARANTINED")
    assert desk.kinds().count("TaskStarted") == MAX_LOSSES


def test_capacity_counts_the_calls_that_a_restart_found() -> None:
    desk = Desk(providers=[("p#1", 1)])
    desk.submit(task("a"), task("b"))
    desk = desk.restart()
    desk.provider("p#1", capacity=1)
    assert desk.sent() == []
    desk.complete("a")
    assert desk.sent() == ["b"]


def test_methods_decide_who_can_serve() -> None:
    desk = Desk(providers=())
    desk.provider("only#1", methods=frozenset({"shop/pay"}))
    desk.submit(task("a"), task("b", method="shop/pay"))
    assert desk.sent() == ["b"]
    desk.provider("all#1", methods=METHODS)
    assert desk.sent() == ["a"]


def test_a_call_that_never_left_has_not_run() -> None:
    desk = Desk()
    desk.sends = False
    desk.submit(task("a", method="shop/pay"), task("b", on_lost="fail"))
    for n in range(2, 2 + 2 * MAX_LOSSES):
        desk.tell(inp.ProviderDown(f"p#{n - 1}", gone=True))
        assert desk.states() == {"a": "ready", "b": "ready"}, "whatever on_lost says, and however often"
        desk.provider(f"p#{n}")
    lost = [event for event in desk.events["w"] if isinstance(event, ev.CallLost)]
    assert not any(event.may_have_run for event in lost)


def test_after_a_restart_nobody_knows_whether_it_left() -> None:
    desk = Desk()
    desk.sends = False
    desk.submit(task("a", on_lost="fail"))
    other = desk.restart()
    other.tell(inp.ProviderDown("p#1", gone=True))
    assert other.states() == {"a": "failed"}


def test_a_loss_tells_what_the_connection_ended_with() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b"))
    desk.tell(inp.ProviderDown("p#1", gone=True, reason="a frame of 17 MB", too_large=True))
    lost = [event for event in desk.events["w"] if isinstance(event, ev.CallLost)]
    assert [event.reason for event in lost] == ["provider p is gone (a frame of 17 MB)"] * 2


def test_the_only_call_of_a_provider_is_the_one_whose_message_was_too_large() -> None:
    desk = Desk()
    desk.submit(task("a", attempts=5))
    desk.tell(inp.ProviderDown("p#1", gone=True, reason="a frame of 17 MB", too_large=True))
    (failed,) = [event for event in desk.events["w"] if isinstance(event, ev.TaskFailed)]
    assert failed.error.name == "PAYLOAD_TOO_LARGE"
    assert "17 MB" in failed.error.message
