"""`fallback`: the next one is tried when one has failed for good, each by the whole retry policy; and `provider`."""

from typing import Any

import msgspec
import pytest
from tests.libs.engine.builders import METHODS, Desk, snapshot, task

from gleitzeit.engine import inputs as inp
from gleitzeit.engine.explain import explain
from gleitzeit.engine.state.replay import replay
from gleitzeit.engine.view import task_view
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Alternative, Budget, TaskDefinition

TWO = (Alternative("small", "llm/chat"), Alternative("echo", "echo/echo"))


def test_each_alternative_has_the_whole_retry_policy() -> None:
    desk = Desk()
    workflow = desk.submit(task("a", method="shop/pay", attempts=2, fallback=TWO), task("b", "a"))
    methods = []
    for _ in range(5):
        methods.append(desk.call("a").method)
        desk.fail("a")
        desk.wait(1.0)
    methods.append(desk.call("a").method)
    assert methods == ["shop/pay"] * 2 + ["llm/chat"] * 2 + ["echo/echo"] * 2
    desk.complete("a")
    desk.complete("b")
    assert workflow.state == "completed"
    started = [e for e in desk.events["w"] if isinstance(e, ev.TaskStarted) and e.task == "a"]
    assert [e.alternative for e in started] == [0, 0, 1, 1, 2, 2]
    assert [e.label for e in desk.events["w"] if isinstance(e, ev.TaskFellBack)] == ["small", "echo"]
    view = task_view(workflow.tasks["a"])
    assert (view["alternative"], view["fallback"]) == (2, "echo")


def test_the_last_failure_is_the_task_s_and_tells_those_before_it() -> None:
    desk = Desk()
    desk.submit(task("a", fallback=TWO))
    for message in ("no key", "x" * 500, "no room"):
        desk.fail("a", message=message, data={"retryable": False})
    assert desk.states() == {"a": "failed"}
    workflow = desk.workflow()
    assert workflow.state == "failed"
    assert workflow.error is not None
    before = f"the task's own call: no key; small: {'x' * 160}…"
    assert workflow.error.message == f"no room (what was tried before failed, too: {before})"
    desk.tell(inp.Retry("t", "w"))
    for _ in range(3):
        desk.fail("a", message="again", data={"retryable": False})
    assert "no key" not in str(workflow.error)


def test_not_on_cancel() -> None:
    desk = Desk()
    desk.submit(task("a", fallback=TWO))
    desk.tell(inp.Cancel("t", "w"))
    assert "TaskFellBack" not in desk.kinds()
    assert desk.workflow().state == "cancelled"


def test_what_may_have_had_its_effect_is_not_repeated_elsewhere() -> None:
    desk = Desk()
    desk.submit(task("a", fallback=TWO, on_lost="fail"))
    desk.tell(inp.ProviderDown("p#1", gone=True))
    assert desk.states() == {"a": "failed"}


def test_a_restart_goes_on_with_the_alternative() -> None:
    desk = Desk()
    desk.submit(task("a", fallback=TWO))
    desk.fail("a")
    other = desk.restart()
    assert other.call("a").method == "llm/chat"
    other.provider("p#1")
    other.fail("a")
    assert other.call("a").method == "echo/echo"
    again = replay(other.events["w"])
    again.released[:] = other.workflow().released[:] = []
    assert snapshot(again) == snapshot(other.workflow())


def test_a_retry_by_hand_begins_with_the_task_s_own_call() -> None:
    desk = Desk()
    desk.submit(task("a", method="shop/pay", fallback=TWO))
    for _ in range(3):
        desk.fail("a")
    desk.tell(inp.Retry("t", "w"))
    assert desk.call("a").method == "shop/pay"


def test_what_waits_too_long_for_its_provider_falls_back() -> None:
    desk = Desk()
    desk.submit(task("a", provider="nobody", queue_timeout_seconds=5.0, fallback=TWO))
    assert desk.engine.scheduler.why_waiting(desk.workflow(), desk.workflow().tasks["a"]) == (
        "no_provider",
        "no provider serves echo/echo and is called nobody",
    )
    desk.wait(5.0)
    assert desk.call("a").method == "llm/chat"
    desk.provider("nobody#1")  # what still stood in its queue is not started twice
    assert len(desk.engine.calls) == 1


def test_a_long_wait_for_a_provider_falls_back_and_is_not_charged() -> None:
    desk = Desk()
    workflow = desk.submit(task("a", fallback=TWO, attempts=2), budget=Budget(calls=2))
    desk.tell(inp.CallNotStarted(desk.call("a"), "full", 1.0))
    assert desk.states() == {"a": "retrying"}
    desk.wait(1.0)
    desk.tell(inp.CallNotStarted(desk.call("a"), "too many requests", 40.0, "LLM_RATE_LIMITED"))
    assert desk.call("a").method == "llm/chat"
    assert desk.kinds()[-3:] == ["CallRefused", "TaskFellBack", "TaskStarted"]
    (fell,) = [e for e in desk.events["w"] if isinstance(e, ev.TaskFellBack)]
    assert (fell.error.name, fell.error.message) == ("LLM_RATE_LIMITED", "too many requests")
    desk.fail("a")
    desk.wait(1.0)
    desk.tell(inp.CallNotStarted(desk.call("a"), "busy", 40.0))
    assert desk.call("a").method == "echo/echo"
    desk.tell(inp.CallNotStarted(desk.call("a"), "busy", 40.0))  # the last one is waited for
    assert desk.states() == {"a": "retrying"}
    desk.wait(39.9)
    assert desk.states() == {"a": "retrying"}
    desk.wait(0.1)
    desk.complete("a")
    assert workflow.state == "completed"


def limit(desk: Desk, seconds: float) -> None:
    desk.tell(inp.CallNotStarted(desk.call("a"), f"a limit of {seconds:g} s", seconds, "LLM_RATE_LIMITED"))


@pytest.mark.parametrize("restart", [False, True])
def test_what_only_had_no_room_is_waited_for_when_the_last_has_failed_for_good(restart: bool) -> None:
    desk = Desk()
    desk.submit(task("a", method="shop/pay", fallback=TWO, queue_timeout_seconds=60.0))
    limit(desk, 40.0)
    desk.fail("a", message="no such model", data={"retryable": False})
    desk.wait(1.0)
    desk.fail("a", message="no key", data={"retryable": False})
    if restart:
        desk = desk.restart()
        desk.provider("p#1")
    assert desk.states() == {"a": "retrying"}
    (turned,) = [e for e in desk.events["w"] if isinstance(e, ev.TaskTurnedBack)]
    assert (turned.alternative, turned.label, turned.until) == (0, "p", desk.now + 39_000)
    reason = explain(desk.engine, desk.workflow(), desk.workflow().tasks["a"], desk.now)
    assert reason.reason == "provider_busy"
    assert "(no key); p (a limit of 40 s) is asked again in 39 s" in reason.message
    desk.wait(38.9)
    assert desk.states() == {"a": "retrying"}
    desk.wait(0.1)
    assert desk.call("a").method == "shop/pay"
    limit(desk, 20.0)  # nothing else is left now
    assert desk.states() == {"a": "retrying"}
    desk.wait(20.0)
    desk.complete("a")
    assert desk.workflow().state == "completed"
    again = replay(desk.events["w"])
    again.released[:] = desk.workflow().released[:] = []
    assert snapshot(again) == snapshot(desk.workflow())


def test_what_was_waited_for_fails_with_all_that_was_tried() -> None:
    desk = Desk()
    workflow = desk.submit(task("a", method="shop/pay", attempts=2, fallback=TWO[:1]))
    limit(desk, 10.0)
    desk.fail("a", message="no key", data={"retryable": False})
    desk.wait(10.0)
    desk.fail("a", message="a hiccup")
    desk.wait(1.0)
    assert desk.call("a").method == "shop/pay"  # by the whole retry policy, and what has failed is not called again
    desk.fail("a", message="broken")
    assert workflow.error is not None
    tried = "the task's own call: a limit of 10 s; small: no key"
    assert workflow.error.message == f"broken (what was tried before failed, too: {tried})"


def test_of_those_without_room_the_first_that_has_some_is_waited_for() -> None:
    desk = Desk()
    desk.submit(task("a", method="shop/pay", fallback=TWO))
    for seconds in (30.0, 10.0, 100.0):
        limit(desk, seconds)
    assert desk.states() == {"a": "retrying"}
    desk.wait(10.0)
    assert desk.call("a").method == "llm/chat"
    limit(desk, 60.0)  # longer than what is left of the task's own
    desk.wait(20.0)
    assert desk.call("a").method == "shop/pay"
    limit(desk, 41.0)  # hardly longer: there it stays
    assert desk.kinds()[-1] == "CallRefused"
    desk.wait(41.0)
    assert desk.call("a").method == "shop/pay"


def test_the_time_to_start_ends_also_the_wait_for_what_was_put_off() -> None:
    desk = Desk()
    workflow = desk.submit(task("a", fallback=TWO[:1], queue_timeout_seconds=5.0))
    limit(desk, 60.0)
    desk.fail("a", message="no key", data={"retryable": False})
    desk.wait(4.9)
    assert desk.states() == {"a": "retrying"}
    desk.wait(0.1)
    assert workflow.error is not None
    assert workflow.error.message.startswith("not started within 5 s (queue_timeout): p did not take it: a limit of")


def test_what_is_spent_or_cancelled_does_not_turn_back() -> None:
    desk = Desk()
    workflow = desk.submit(task("a", fallback=TWO[:1], attempts=2), budget=Budget(calls=1))
    limit(desk, 60.0)
    desk.fail("a", message="a hiccup")
    desk.wait(1.0)
    assert (workflow.state, workflow.error is not None and workflow.error.name) == ("failed", "BUDGET_EXCEEDED")


@pytest.mark.parametrize("restart", [False, True])
def test_the_time_to_start_counts_while_its_provider_lets_it_wait(restart: bool) -> None:
    desk = Desk()
    desk.submit(task("a", queue_timeout_seconds=10.0))
    desk.wait(1.0)
    desk.tell(inp.CallNotStarted(desk.call("a"), "too many", 4.0))
    desk.wait(4.0)
    desk.tell(inp.CallNotStarted(desk.call("a"), "too many requests", 600.0))
    desk = desk.restart() if restart else desk
    desk.wait(4.9)
    assert desk.states() == {"a": "retrying"}
    desk.wait(0.1)
    error = desk.workflow().error
    assert error is not None
    assert error.message == "not started within 10 s (queue_timeout): p did not take it: too many requests"


def test_the_time_to_start_is_over_while_the_provider_is_asked_once_more() -> None:
    desk = Desk()
    desk.submit(task("a", queue_timeout_seconds=10.0))
    desk.tell(inp.CallNotStarted(desk.call("a"), "too many", 4.0))
    desk.wait(4.0)
    desk.wait(8.0)
    assert desk.states() == {"a": "running"}
    desk.tell(inp.CallNotStarted(desk.call("a"), "too many", 4.0))
    assert desk.states() == {"a": "failed"}


def test_what_has_started_has_as_much_time_again_for_its_next_attempt() -> None:
    desk = Desk()
    desk.submit(task("a", queue_timeout_seconds=5.0, attempts=3))
    desk.tell(inp.CallNotStarted(desk.call("a"), "too many", 4.0))
    desk.wait(4.0)
    desk.fail("a")
    desk.wait(1.0)
    desk.tell(inp.CallNotStarted(desk.call("a"), "too many", 4.5))
    desk.wait(4.5)
    desk.complete("a")
    assert desk.workflow().state == "completed"


def holders(*models: str) -> Desk:
    """A desk with a provider for each of these lists of models, which are `p0#1`, `p1#1`, …; of "" one that tells
    none."""
    desk = Desk(providers=())
    for number, held in enumerate(models):
        ready = inp.ProviderReady(f"p{number}", f"p{number}#1", METHODS, 10, frozenset(held.split()))
        desk.tell(ready)
    desk.wait(1.0)  # no others follow
    return desk


def asks(*models: str, **more: Any) -> TaskDefinition:
    return task("a", method="llm/chat", params={"model": list(models), "prompt": "?"}, **more)


def test_a_list_of_models_is_tried_at_every_provider_without_a_retry() -> None:
    desk = holders("a b", "c", "d")
    workflow = desk.submit(asks("a", "b", "c", "d"))
    places = []
    for _ in range(2):
        places.append(desk.call("a").instance)
        desk.fail("a", data={"retryable": False})
    assert desk.call("a").instance == "p2#1"
    assert msgspec.json.decode(desk.call("a").params)["model"] == ["d"]
    assert places == ["p0#1", "p1#1"]
    assert [e.label for e in desk.events["w"] if isinstance(e, ev.TaskFellBack)] == ["c", "d"]
    desk.fail("a", message="the last", data={"retryable": False})
    assert workflow.error is not None
    assert workflow.error.message == "the last (what was tried before failed, too: p0: no; p1: no)"


def test_each_attempt_goes_through_the_list() -> None:
    desk = holders("a", "b")
    desk.submit(asks("a", "b", attempts=2))
    places = []
    for _ in range(4):
        places.append(desk.call("a").instance)
        desk.fail("a")
        desk.wait(1.0)
    assert places == ["p0#1", "p1#1"] * 2
    assert desk.states() == {"a": "failed"}


def test_of_a_list_nobody_is_asked_twice_for_the_same() -> None:
    desk = holders("a c", "b", "a c")
    desk.submit(asks("a", "b", "c"))
    desk.fail("a")
    assert desk.call("a").instance == "p1#1"
    desk.fail("a")
    assert desk.states() == {"a": "failed"}


def test_who_tells_no_models_may_have_those_of_a_list_that_nobody_tells() -> None:
    desk = holders("a", "", "x")
    desk.submit(asks("a", "b", "c"))
    desk.fail("a")
    assert desk.call("a").instance == "p1#1"
    desk.fail("a")
    assert desk.states() == {"a": "failed"}


def test_a_list_goes_no_further_than_the_provider_that_the_task_names() -> None:
    desk = holders("a", "b")
    desk.submit(asks("a", "b", provider="p0"))
    desk.fail("a")
    assert desk.states() == {"a": "failed"}


def test_a_model_at_a_limit_is_waited_for_when_those_of_other_providers_have_failed() -> None:
    desk = holders("a", "b", "c")
    workflow = desk.submit(asks("a", "b", "c"))
    desk.fail("a", message="broken", data={"retryable": False})
    limit(desk, 30.0)
    desk.fail("a", message="no key", data={"retryable": False})
    desk.wait(30.0)
    assert desk.call("a").instance == "p1#1"
    assert msgspec.json.decode(desk.call("a").params)["model"] == ["b", "c"]
    desk.fail("a", message="no", data={"retryable": False})
    assert workflow.error is not None
    tried = "p0: broken; p1: a limit of 30 s; p2: no key"
    assert workflow.error.message == f"no (what was tried before failed, too: {tried})"


def test_a_model_that_was_waited_for_is_asked_again_and_not_those_that_have_failed() -> None:
    desk = holders("a", "b", "c")
    desk.submit(asks("a", "b", "c", attempts=2))
    desk.fail("a", data={"retryable": False})
    limit(desk, 30.0)
    desk.fail("a", data={"retryable": False})
    desk.wait(30.0)
    desk.fail("a", -29003)
    assert desk.states() == {"a": "retrying"}
    desk.wait(1.0)
    assert desk.call("a").instance == "p1#1"
    assert msgspec.json.decode(desk.call("a").params)["model"] == ["b", "c"]


def test_a_list_and_a_fallback() -> None:
    desk = holders("a", "b")
    workflow = desk.submit(asks("a", "b", fallback=(Alternative("echo", "echo/echo"),)))
    desk.tell(inp.CallNotStarted(desk.call("a"), "too many requests", 60.0))
    assert desk.call("a").instance == "p1#1"
    desk = desk.restart()
    for name, model in (("p0", "a"), ("p1", "b")):
        desk.tell(inp.ProviderReady(name, f"{name}#1", METHODS, 10, frozenset({model})))
    desk.fail("a")
    assert desk.call("a").method == "echo/echo"
    desk.complete("a")
    workflow = desk.workflow()
    assert workflow.state == "completed"
    again = replay(desk.events["w"])
    again.released[:] = workflow.released[:] = []
    assert snapshot(again) == snapshot(workflow)


def test_a_provider_that_is_named_gets_the_task_and_no_other() -> None:
    desk = Desk(providers=[("p#1", 100), ("q#1", 1)])
    desk.submit(*(task(f"t{n}", provider="q") for n in range(3)), task("any"))
    assert [call.instance for call in desk.engine.calls.values()].count("q#1") == 1
    assert desk.call("any").instance == "p#1"
    for n in range(3):
        assert desk.call(f"t{n}").instance == "q#1"
        desk.complete(f"t{n}")
    desk.tell(inp.ProviderDown("q#1", gone=True))
    desk.submit(task("late", provider="q"), workflow_id="w2")
    assert desk.states("w2") == {"late": "ready"}
    desk.provider("q#2", 5, METHODS)
    assert desk.call("late", "w2").instance == "q#2"
