"""`fallback`: the next one is tried when one has failed for good, each by the whole retry policy; and `provider`."""

from tests.libs.engine.builders import METHODS, Desk, snapshot, task

from gleitzeit.engine import effects as fx
from gleitzeit.engine.view import task_view
from gleitzeit.engine.workflow import replay
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Alternative

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
    desk.tell(fx.Retry("t", "w"))
    for _ in range(3):
        desk.fail("a", message="again", data={"retryable": False})
    assert "no key" not in str(workflow.error)


def test_not_on_cancel() -> None:
    desk = Desk()
    desk.submit(task("a", fallback=TWO))
    desk.tell(fx.Cancel("t", "w"))
    assert "TaskFellBack" not in desk.kinds()
    assert desk.workflow().state == "cancelled"


def test_what_may_have_had_its_effect_is_not_repeated_elsewhere() -> None:
    desk = Desk()
    desk.submit(task("a", fallback=TWO, on_lost="fail"))
    desk.tell(fx.ProviderDown("p#1", gone=True))
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
    desk.tell(fx.Retry("t", "w"))
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


def test_a_provider_that_is_named_gets_the_task_and_no_other() -> None:
    desk = Desk(providers=[("p#1", 100), ("q#1", 1)])
    desk.submit(*(task(f"t{n}", provider="q") for n in range(3)), task("any"))
    assert [call.instance for call in desk.engine.calls.values()].count("q#1") == 1
    assert desk.call("any").instance == "p#1"
    for n in range(3):
        assert desk.call(f"t{n}").instance == "q#1"
        desk.complete(f"t{n}")
    desk.tell(fx.ProviderDown("q#1", gone=True))
    desk.submit(task("late", provider="q"), workflow_id="w2")
    assert desk.states("w2") == {"late": "ready"}
    desk.provider("q#2", 5, METHODS)
    assert desk.call("late", "w2").instance == "q#2"
