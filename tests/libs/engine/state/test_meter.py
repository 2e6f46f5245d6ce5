"""What is spent is what the events say, and a budget stops the call after the one that spent it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.libs.engine.builders import NOW, Desk, raw, snapshot, task

from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.explain import explain
from gleitzeit.engine.state.meter import cost_of
from gleitzeit.engine.state.replay import replay
from gleitzeit.engine.underway import Call
from gleitzeit.model.definition import Alternative, Budget


@pytest.mark.parametrize(
    ("result", "tokens"),
    [
        ({"usage": {"total_tokens": 7, "input_tokens": 3}}, 7),
        ({"usage": {"input_tokens": 3, "output_tokens": 4}}, 7),
        ({"usage": {"prompt_tokens": 1, "completion_tokens": 2}}, 3),
        ({"usage": {"total_tokens": -5}}, 0),
        ({"usage": {"total_tokens": True}}, 0),
        ({"usage": "much"}, 0),
        ({}, 0),
        ([1], 0),
        (None, 0),
    ],
)
def test_tokens_are_those_that_a_result_says(result: object, tokens: int) -> None:
    assert cost_of(raw(result)).tokens == tokens


def test_a_workflow_of_three_calls_makes_three() -> None:
    desk = Desk()
    names = ["a", "b", "c", "d", "e"]
    workflow = desk.submit(*(task(name) for name in names), budget=Budget(calls=3))
    assert len(desk.engine.calls) == 3
    for name in names[:3]:
        desk.complete(name)
    failed = [t for t in workflow.tasks.values() if t.state == "failed"]
    assert len(failed) == 2
    assert workflow.state == "failed"
    for one in failed:
        assert one.error is not None
        assert (one.error.name, one.error.retryable) == ("BUDGET_EXCEEDED", False)
        assert explain(desk.engine, workflow, one, desk.now).reason == "budget_exceeded"


def test_a_call_that_was_refused_is_not_counted() -> None:
    desk = Desk()
    workflow = desk.submit(task("a"), budget=Budget(calls=1))
    for _ in range(3):
        desk.tell(inp.CallNotStarted(desk.call("a"), "busy", 1.0))
        desk.wait(1.0)
    desk.complete("a")
    assert workflow.state == "completed"


def test_what_a_refused_call_has_cost_is_counted() -> None:
    """One of its models had answered, and wrongly; another one is limited."""
    desk = Desk()
    workflow = desk.submit(task("a"), budget=Budget(tokens=30))
    for _ in range(2):
        desk.tell(inp.CallNotStarted(desk.call("a"), "too many requests", 1.0, "LLM_RATE_LIMITED", tokens=15))
        desk.wait(1.0)
    error = workflow.tasks["a"].error
    assert error is not None
    assert error.name == "BUDGET_EXCEEDED"
    assert replay(desk.events["w"]).meter == workflow.meter


def test_retries_are_counted_and_the_last_error_is_told() -> None:
    desk = Desk()
    workflow = desk.submit(task("a", attempts=5, budget=Budget(calls=2)))
    desk.fail("a")
    desk.wait(1.0)
    desk.fail("a")
    desk.wait(1.0)
    error = workflow.tasks["a"].error
    assert error is not None
    assert "its budget of 2 calls is spent; the last attempt failed: no" in error.message


def test_tokens_and_seconds_are_checked_before_the_next_call() -> None:
    for budget, result, seconds in ((Budget(tokens=10), 10, 0.0), (Budget(seconds=5.0), 0, 5.0)):
        desk = Desk()
        desk.submit(task("a"), task("b", "a"), budget=budget)
        desk.now += round(seconds * 1000)
        desk.complete("a", {"usage": {"total_tokens": result}})  # what has come counts before what is due
        assert desk.states() == {"a": "completed", "b": "failed"}


def test_what_failed_attempts_say_they_have_cost_counts_too() -> None:
    desk = Desk()
    workflow = desk.submit(task("a", attempts=5), budget=Budget(tokens=10))
    for _ in range(2):
        desk.fail("a", data={"usage": {"total_tokens": 6}})
        desk.wait(1.0)
    error = workflow.tasks["a"].error
    assert error is not None
    assert "budget of 10 tokens is spent (12 so far)" in error.message


def test_what_runs_at_the_moment_counts_too() -> None:
    desk = Desk()
    desk.submit(task("slow"), task("a"), task("b", "a"), budget=Budget(seconds=6.0))
    desk.now += 3000
    desk.complete("a")
    assert desk.states()["b"] == "failed"


def test_a_retry_by_hand_begins_anew() -> None:
    desk = Desk()
    workflow = desk.submit(task("a", attempts=1), budget=Budget(calls=1))
    desk.fail("a")
    desk.tell(inp.Retry("t", "w"))
    desk.complete("a")
    assert workflow.state == "completed"


def test_what_is_spent_is_spent_for_the_alternatives_too() -> None:
    desk = Desk()
    desk.submit(task("a", fallback=(Alternative("x", "llm/chat"),) * 5, budget=Budget(calls=2)))
    desk.fail("a")
    desk.fail("a")
    assert desk.states() == {"a": "failed"}
    assert desk.kinds().count("TaskStarted") == 2


def told(desk: Desk, name: str) -> dict[str, int]:
    """What the call is told of its budgets."""
    budget: dict[str, int] = msgspec.json.decode(desk.call(name).params)["_meta"].get("budget", {})
    return budget


def most_of(call: Call, size: int) -> int:
    return 1 + size % (call.lent + 1)


ASKS: dict[str, Any] = {"method": "llm/chat", "params": {"prompt": "hi"}}


def test_a_call_is_told_what_its_budgets_leave() -> None:
    for whole, own, left in (
        (None, Budget(calls=3), {"calls": 3}),
        (Budget(calls=3), None, {"calls": 3}),
        (Budget(calls=3, tokens=50), Budget(calls=2, tokens=60), {"calls": 2, "tokens": 50}),
        (Budget(tokens=50), None, {"tokens": 50}),
        (Budget(seconds=5.0), None, {}),
        (None, None, {}),
    ):
        desk = Desk()
        desk.submit(task("a", **ASKS, budget=own), budget=whole)
        assert told(desk, "a") == left


def test_the_requests_that_a_call_has_made_are_counted() -> None:
    desk = Desk()
    workflow = desk.submit(task("a", **ASKS, attempts=5, budget=Budget(calls=4)))
    desk.fail("a", data={"requests": 2})
    desk.wait(1.0)
    assert told(desk, "a") == {"calls": 2}
    desk.tell(inp.CallNotStarted(desk.call("a"), "too many requests", 1.0, calls=1))
    desk.wait(1.0)
    assert told(desk, "a") == {"calls": 1}
    desk.fail("a")
    desk.wait(2.0)
    assert workflow.error is not None
    assert workflow.error.message.startswith("its budget of 4 calls is spent")
    assert replay(desk.events["w"]).meter == workflow.meter


def test_only_who_asks_a_model_makes_several_requests() -> None:
    desk = Desk()
    workflow = desk.submit(task("a"), task("b", "a"), budget=Budget(calls=9))
    assert told(desk, "a") == {"calls": 1}
    desk.complete("a", {"requests": 500})
    assert workflow.meter is not None
    assert workflow.meter.total.calls == 2


def test_what_a_workflow_s_budget_leaves_is_shared() -> None:
    """By those that could start now, after each that comes later has one."""
    desk = Desk()
    names = ["a", "b", "c"]
    desk.submit(*(task(name, **ASKS) for name in names), task("d", "a", **ASKS), budget=Budget(calls=8))
    assert [told(desk, name)["calls"] for name in names] == [2, 2, 2]
    desk.complete("a", {"requests": 2})
    assert told(desk, "d") == {"calls": 2}


def test_who_finds_all_that_is_left_lent_waits_for_those_that_may_need_it() -> None:
    desk = Desk()
    workflow = desk.submit(task("a", **ASKS), task("b", **ASKS, attempts=5), budget=Budget(calls=4))
    assert [told(desk, name)["calls"] for name in ("a", "b")] == [2, 2]
    desk.fail("b", data={"requests": 2})
    desk.wait(1.0)
    assert desk.states() == {"a": "running", "b": "ready"}
    assert explain(desk.engine, workflow, workflow.tasks["b"], desk.now).reason == "budget"
    desk.complete("a")
    assert desk.states() == {"a": "completed", "b": "running"}
    assert told(desk, "b") == {"calls": 1}


@given(st.lists(st.tuples(st.sampled_from("cfrlw"), st.integers(0, 5000)), max_size=30))
def test_a_replay_knows_what_was_spent(steps: list[tuple[str, int]]) -> None:
    """And never more calls than the budget has, nor more requests of those that make several."""
    desk = Desk()
    requests = 0
    alternatives = (Alternative("x", "llm/chat"), Alternative("y", "echo/echo"))
    tasks = [task(n, **ASKS, attempts=3, fallback=alternatives, budget=Budget(calls=4)) for n in ("a", "b", "c")]
    desk.submit(*tasks, budget=Budget(calls=8, tokens=100, seconds=60.0), max_parallel=2)
    for step, size in steps:
        call = next(iter(desk.engine.calls.values()), None)
        if call is None or step == "w":
            desk.wait(size / 1000)
        elif step == "c":
            requests += most_of(call, size)
            said = {"usage": {"total_tokens": size % 60}, "requests": most_of(call, size)}
            desk.tell(inp.CallCompleted(call, raw(said)))
        elif step == "f":
            requests += most_of(call, size)
            said = {"retryable": bool(size % 2), "requests": most_of(call, size)}
            desk.tell(inp.CallFailed(call, -29002, "no", raw(said)))
        elif step == "r":
            requests += most_of(call, size) - 1
            desk.tell(inp.CallNotStarted(call, "busy", 0.1, calls=most_of(call, size) - 1))
        else:
            desk.tell(inp.CallFailed(call, -29004, "gone"))
        workflow = desk.workflow()
        again = replay(desk.events["w"])
        again.released[:] = workflow.released[:] = []
        assert snapshot(again) == snapshot(workflow)
        assert workflow.meter is not None
        assert requests <= workflow.meter.total.calls <= 8
        assert all(spent.calls <= 4 for spent in workflow.meter.tasks.values())
        assert workflow.meter.running.keys() == {t.id for t in workflow.tasks.values() if t.state == "running"}
        assert workflow.meter.seconds(desk.now) <= 3 * (desk.now - NOW) / 1000


def test_a_task_s_seconds_end_its_call() -> None:
    desk = Desk()
    workflow = desk.submit(task("a", attempts=3, budget=Budget(seconds=5.0), fallback=(Alternative("m", "echo/echo"),)))
    desk.wait(3.0)
    desk.fail("a")
    desk.wait(1.0)
    desk.wait(1.999)
    assert desk.states() == {"a": "running"}
    last = desk.wait(0.001)
    assert [e.reason for e in last.effects if isinstance(e, fx.CancelCall)] == ["budget"]
    assert workflow.error is not None
    assert workflow.error.name == "BUDGET_EXCEEDED"
    assert workflow.error.message == "its budget of 5 seconds is spent (5.0 so far): attempt 2 was ended"


def test_a_workflow_s_seconds_end_all_its_calls() -> None:
    desk = Desk()
    names = ["a", "b", "c"]
    workflow = desk.submit(*(task(name) for name in names), task("d", "a"), budget=Budget(seconds=10.0, calls=4))
    desk.wait(2.0)  # 6 s
    desk.complete("a")
    assert set(desk.states().values()) == {"completed", "running"}
    desk.wait(1.332)
    assert desk.states()["d"] == "running"
    last = desk.wait(0.002)
    assert len([e for e in last.effects if isinstance(e, fx.CancelCall)]) == 3
    assert desk.states() == {"a": "completed", "b": "failed", "c": "failed", "d": "failed"}
    assert workflow.error is not None
    assert workflow.error.name == "BUDGET_EXCEEDED"


def test_calls_that_end_leave_more_time_for_the_others() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b"), budget=Budget(seconds=10.0))
    desk.wait(1.0)
    desk.complete("b")
    desk.wait(7.999)
    assert desk.states()["a"] == "running"
    desk.wait(0.001)
    assert desk.states()["a"] == "failed"


def test_the_time_of_a_call_counts_over_a_restart() -> None:
    desk = Desk()
    desk.submit(task("a", budget=Budget(seconds=5.0)))
    other = desk.restart()
    other.provider("p#1")
    other.wait(4.999)
    assert other.states() == {"a": "running"}
    other.wait(0.001)
    assert other.states() == {"a": "failed"}
