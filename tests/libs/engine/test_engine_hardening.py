"""What once stopped the engine, or left a workflow waiting for ever."""

import pytest
from msgspec import Raw
from tests.libs.engine.builders import Desk, task

from gleitzeit.engine import calls as calls_module
from gleitzeit.engine import effects as fx
from gleitzeit.engine.core import SPARE_TIMERS
from gleitzeit.engine.retry import MAX_ASKED_SECONDS, asked_seconds


def test_a_retried_task_whose_dependency_failed_would_wait_for_ever_and_is_refused() -> None:
    desk = Desk()
    desk.submit(task("a"), task("b", "a"))
    desk.fail("a")
    desk.tell(fx.Retry("retry", "w", ("b",)))
    assert str(desk.error()) == "task b needs a, which is failed: retry a"
    assert desk.states() == {"a": "failed", "b": "skipped"}


def test_a_dependent_stays_skipped_while_another_of_its_dependencies_is_not_retried() -> None:
    desk = Desk()
    desk.submit(task("a"), task("x"), task("y", "a", "x"), task("z", "y"))
    desk.fail("a")
    desk.fail("x")
    desk.tell(fx.Retry("retry", "w", ("a",)))
    assert desk.last.answers[0].tasks == ("a",)
    desk.complete("a")
    assert desk.workflow().state == "failed"
    assert desk.states() == {"a": "completed", "x": "failed", "y": "skipped", "z": "skipped"}
    desk.tell(fx.Retry("retry", "w", ("x",)))
    for name in ("x", "y", "z"):
        desk.complete(name)
    assert desk.workflow().state == "completed"


@pytest.mark.parametrize("wish", [1e308, float("inf"), 10**30])
def test_a_provider_may_not_ask_for_more_patience_than_an_hour(wish: float) -> None:
    assert asked_seconds(wish, 0.25) == MAX_ASKED_SECONDS
    desk = Desk()
    desk.submit(task("a"))
    desk.tell(fx.CallNotStarted(desk.call("a"), "busy", wish))
    desk.wait(MAX_ASKED_SECONDS)
    assert desk.sent() == ["a"]


@pytest.mark.parametrize("wish", [None, True, "soon", [], float("nan")])
def test_a_pause_that_is_no_number_is_ours_to_choose(wish: object) -> None:
    assert asked_seconds(wish, 0.25) == 0.25


def test_the_timeout_of_a_retried_workflow_holds_over_a_restart() -> None:
    desk = Desk()
    desk.submit(task("a"), timeout_seconds=10)
    desk.fail("a")
    desk.wait(5)
    desk.tell(fx.Retry("retry", "w"))
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


def test_calls_with_large_params_are_started_a_few_in_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "MAX_START_BYTES", 5_000)
    desk = Desk()
    desk.submit(task("big"), *(task(f"t{i}", "big", params={"message": "${big.result}"}) for i in range(20)))
    done = fx.CallCompleted(desk.call("big"), Raw(b'"' + b"x" * 2_000 + b'"'))
    decision = desk.engine.decide(desk.now, [done])
    assert sum(isinstance(effect, fx.CallProvider) for effect in decision.effects) == 3
    assert desk.engine.more


def test_timers_of_calls_that_have_ended_do_not_pile_up() -> None:
    desk = Desk(providers=[("p#1", 5_000)])
    for number in range(5):
        name = f"w{number}"
        desk.submit(*(task(f"t{i}", timeout_seconds=3_600) for i in range(4_000)), workflow_id=name)
        desk.tell(*(fx.CallCompleted(call, Raw(b"1")) for call in list(desk.engine.calls.values())))
    assert len(desk.engine._timers) < 2 * SPARE_TIMERS
