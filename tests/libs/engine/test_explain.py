"""Every task can say why it stands where it stands."""

from typing import get_args

from tests.libs.engine.builders import Desk, task

from gleitzeit.engine import inputs as inp
from gleitzeit.engine.explain import _EXPLAIN, Reason, explain
from gleitzeit.model import events as ev


def reason(desk: Desk, name: str = "a", workflow_id: str = "w") -> Reason:
    workflow = desk.workflow(workflow_id)
    return explain(desk.engine, workflow, workflow.tasks[name], desk.now)


def test_there_is_an_explanation_for_every_state() -> None:
    assert set(_EXPLAIN) == set(get_args(ev.TaskStatus))


def test_from_pending_to_completed() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a"))
    desk.wait(2)
    assert reason(desk, "b") == Reason("b", "pending", "dependency", "waits for a (running)")
    assert reason(desk) == Reason("a", "running", "running", "attempt 1 has run at p for 2 s")
    desk.complete("a")
    assert reason(desk).reason == "completed"


def test_why_a_ready_task_does_not_start() -> None:
    desk = Desk(providers=())
    desk.submit(task("a"), task("b"), max_parallel=1)
    assert reason(desk) == Reason("a", "ready", "no_provider", "no provider serves echo/echo")
    desk.provider("p#1", capacity=1)
    assert reason(desk, "b").reason == "max_parallel"
    desk.submit(task("a"), workflow_id="v")
    assert reason(desk, "a", "v").reason == "busy"
    desk.tell(inp.ProviderDraining("p#1"))
    assert reason(desk, "a", "v").reason == "draining"
    desk.tell(inp.Pause("", "v"))
    assert reason(desk, "a", "v").reason == "paused"
    desk.tell(inp.Hold("", "v"))
    assert reason(desk, "a", "v").reason == "held"


def test_why_it_waits_between_attempts() -> None:
    desk = Desk()
    desk.submit(task("a", attempts=2))
    desk.tell(inp.CallNotStarted(desk.call("a"), "full", 3.0))
    assert reason(desk).reason == "provider_busy"
    desk.wait(3)
    desk.fail("a")
    said = reason(desk)
    assert (said.reason, said.message) == ("backoff", "attempt 2 failed (no); the next follows in 1 s")


def test_a_provider_out_of_reach_is_named() -> None:
    desk = Desk()
    desk.submit(task("a"))
    desk.tell(inp.ProviderDown("p#1"))
    assert reason(desk).reason == "provider_unreachable"
    assert "given up in 30 s" in reason(desk).message


def test_what_waits_inside_the_coordinator() -> None:
    desk = Desk()
    wait = {"method": "signal/wait", "params": {"signal_name": "go", "timeout": 60}}
    desk.submit(task("a", method="timer/sleep", params={"seconds": 9}), task("s", **wait))
    assert reason(desk) == Reason("a", "waiting", "timer", "sleeps for another 9 s")
    assert reason(desk, "s") == Reason("s", "waiting", "signal", "waits for another 1 min for the signal go")


def test_how_a_task_ended_without_completing() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a"), task("c"))
    desk.fail("a")
    assert (reason(desk).reason, reason(desk).message) == ("failed", "no")
    assert reason(desk, "b").reason == "dependency_failed"
    assert "a" in reason(desk, "b").message
    desk.tell(inp.Cancel("", "w"))
    assert reason(desk, "c").reason == "cancelled"
