"""Limits by key: never exceeded, whatever ends, waits, fails or crashes, and nobody waits for ever."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.libs.engine.builders import Desk, raw, task

from gleitzeit.engine import inputs as inp
from gleitzeit.engine.explain import explain
from gleitzeit.model.definition import Concurrency, ForEach, Priority


def keyed(name: str, key: str = "k", limit: int = 1, on_conflict: Any = "queue", **more: Any) -> Any:
    return task(name, *more.pop("dependencies", ()), concurrency=Concurrency(key, limit, on_conflict), **more)


def submit(desk: Desk, workflow_id: str, key: str = "k", limit: int = 1, on_conflict: Any = "queue") -> None:
    desk.submit(task("a"), workflow_id=workflow_id, concurrency=Concurrency(key, limit, on_conflict))


def states(desk: Desk, *workflow_ids: str) -> list[str]:
    return [desk.workflow(one).state for one in workflow_ids]


def test_tasks_of_one_key_run_one_after_the_other_over_workflows() -> None:
    desk = Desk()
    desk.submit(keyed("a"), workflow_id="one")
    desk.submit(keyed("a"), keyed("b", "other"), workflow_id="two")
    assert desk.states("two") == {"a": "ready", "b": "running"}
    told = explain(desk.engine, desk.workflow("two"), desk.workflow("two").tasks["a"], desk.now)
    assert (told.reason, told.message) == (
        "concurrency", "1 task with the key 'k' may run at once (concurrency); now: one, task a"
    )  # fmt: skip
    desk.complete("a", workflow_id="one")
    assert desk.states("two") == {"a": "running", "b": "running"}


def test_a_key_may_depend_on_what_the_task_reads() -> None:
    desk = Desk()
    desk.submit(task("first"), keyed("a", "x${first}", dependencies=("first",)), keyed("b", "x1"))
    desk.complete("first", 1)
    assert desk.states() == {"first": "completed", "a": "ready", "b": "running"}


@pytest.mark.parametrize("key", ["k", "k${item}"])
def test_of_a_task_with_items_each_item_takes_a_permit_and_the_task_none(key: str) -> None:
    desk = Desk()
    desk.submit(keyed("each", key, for_each=ForEach(raw([1, 2]))))
    for number, running in enumerate(
        (["each[0]"], ["each[1]"]) if key == "k" else (["each[0]", "each[1]"], ["each[1]"])
    ):
        assert [name for name, state in desk.states().items() if state == "running"] == running
        desk.complete(f"each[{number}]", number)
    assert desk.workflow().state == "completed"


@pytest.mark.parametrize("on_conflict", ["fail", "cancel_running"])
def test_a_task_more_fails_or_takes_the_place_of_the_oldest(on_conflict: str) -> None:
    desk = Desk()
    desk.submit(keyed("a"), workflow_id="one")
    desk.submit(keyed("a", on_conflict=on_conflict), workflow_id="two")
    loser, winner = ("two", "one") if on_conflict == "fail" else ("one", "two")
    error = desk.workflow(loser).tasks["a"].error
    assert error is not None
    assert error.name == ("CONCURRENCY_LIMIT" if on_conflict == "fail" else "CONCURRENCY_REPLACED")
    assert desk.states(winner) == {"a": "running"}


def test_a_waiting_task_holds_its_permit_and_a_retrying_one_does_not() -> None:
    desk = Desk()
    desk.submit(keyed("w8", method="signal/wait", params={"name": "go"}), keyed("b", attempts=2), keyed("c"))
    assert desk.states() == {"w8": "waiting", "b": "ready", "c": "ready"}
    desk.tell(inp.Signal("s", "w", "go", raw(1)))
    assert desk.states() == {"w8": "completed", "b": "running", "c": "ready"}
    desk.fail("b")
    assert desk.states() == {"w8": "completed", "b": "retrying", "c": "running"}


def test_workflows_of_one_key_wait_for_each_other() -> None:
    desk = Desk()
    for name in ("one", "two", "three"):
        submit(desk, name, limit=2)
    assert states(desk, "one", "two", "three") == ["running", "running", "pending"]
    told = explain(desk.engine, desk.workflow("three"), desk.workflow("three").tasks["a"], desk.now)
    assert (told.reason, told.message) == (
        "concurrency", "2 workflows with the key 'k' may be under way at once (concurrency); now: one, two"
    )  # fmt: skip
    desk.tell(inp.Cancel("c", "one"))
    assert states(desk, "two", "three") == ["running", "running"]


def test_those_that_wait_are_told_whom_somebody_has_to_let_go_on() -> None:
    desk = Desk()
    for name in ("a", "b", "c", "d", "waits"):
        submit(desk, name, limit=4)
    desk.tell(inp.Pause("", "c"))
    desk.tell(inp.Hold("", "d"))
    told = explain(desk.engine, desk.workflow("waits"), desk.workflow("waits").tasks["a"], desk.now)
    assert told.message.endswith(
        "now: c (paused: `gz resume c` lets it go on), d (held: `gz resume d` lets it go on), a and 1 more"
    )


LATE_AND_URGENT = {"low": Priority.LOW, "one": Priority.NORMAL, "other": Priority.NORMAL, "urgent": Priority.URGENT}


@pytest.mark.parametrize(("of_tasks", "restarts"), [(True, False), (False, False), (False, True)])
def test_the_most_urgent_has_its_turn_first_and_of_one_priority_who_came_first(of_tasks: bool, restarts: bool) -> None:
    desk, limit = Desk(), Concurrency("k", 1)
    for name, priority in {"first": Priority.LOW, **LATE_AND_URGENT}.items():
        desk.now += 1
        if of_tasks:
            desk.submit(task("a", concurrency=limit, priority=priority), workflow_id=name)
        else:
            desk.submit(task("a"), workflow_id=name, concurrency=limit, priority=priority)
    if restarts:
        desk = desk.restart()
        desk.provider("p#1")
    order = []
    while desk.engine.calls:
        (call,) = desk.engine.calls.values()
        order.append(call.workflow.id)
        desk.tell(inp.CallCompleted(call, raw(1)))
    assert order == ["first", "urgent", "one", "other", "low"]


def test_one_that_waits_can_be_cancelled() -> None:
    desk = Desk()
    for name in ("one", "two", "three"):
        submit(desk, name)
    desk.tell(inp.Cancel("c", "two"))
    desk.complete("a", workflow_id="one")
    assert states(desk, "one", "two", "three") == ["completed", "cancelled", "running"]


@pytest.mark.parametrize("restarts", ["never", "before it begins", "after that"])
def test_one_that_is_cancelled_while_it_waits_cleans_up_without_a_place(restarts: str) -> None:
    desk = Desk(providers=())
    last = [task(name, *needs, trigger="always", late=True) for name, needs in (("last", ()), ("very_last", ["last"]))]
    submit(desk, "one")
    desk.submit(task("a"), *last, workflow_id="two", concurrency=Concurrency("k", 1, "queue"))
    submit(desk, "three")
    desk.tell(inp.Cancel("c", "two"))
    if restarts == "before it begins":
        desk = desk.restart()
    desk.provider("p#1")
    if restarts == "after that":
        desk = desk.restart()
        desk.provider("p#1")
    assert desk.states("two") == {"a": "cancelled", "last": "running", "very_last": "pending"}
    desk.complete("last", workflow_id="two")
    desk.complete("very_last", workflow_id="two")
    assert states(desk, "one", "two", "three") == ["running", "cancelled", "pending"]


def test_whose_timeout_is_over_while_it_waits_for_its_place_fails_then() -> None:
    desk = Desk()
    submit(desk, "one")
    told = task("told", trigger="failure", late=True)
    desk.submit(task("a"), told, workflow_id="two", concurrency=Concurrency("k", 1, "queue"), timeout_seconds=5)
    desk.wait(6)
    desk.complete("told", workflow_id="two")
    assert states(desk, "one", "two") == ["running", "failed"]


@pytest.mark.parametrize(
    ("on_conflict", "expected"), [("fail", ["running", "failed"]), ("cancel_running", ["cancelled", "running"])]
)
def test_a_workflow_more_fails_or_cancels_the_oldest(on_conflict: str, expected: list[str]) -> None:
    desk = Desk()
    submit(desk, "one")
    submit(desk, "two", on_conflict=on_conflict)
    assert states(desk, "one", "two") == expected


@pytest.mark.parametrize("restarts", [False, True])
def test_the_newest_wins_and_what_runs_always_is_waited_for(restarts: bool) -> None:
    desk = Desk()
    limit = Concurrency("k", 1, "cancel_running")
    for name in ("one", "two", "three"):
        last = task("last", trigger="always", late=True)
        desk.submit(task("a"), last, workflow_id=name, concurrency=limit)
        desk.now += 1
        if restarts:
            desk = desk.restart()
            desk.provider("p#1")
    assert desk.states("one") == {"a": "cancelled", "last": "running"}
    assert states(desk, "one", "three") == ["running", "pending"]
    assert desk.states("two") == {"a": "cancelled", "last": "running"}, "it waits for no place to clean up"
    desk.complete("last", workflow_id="one")
    desk.complete("last", workflow_id="two")
    assert states(desk, "one", "two", "three") == ["cancelled", "cancelled", "running"]
    assert desk.states("three") == {"a": "running", "last": "pending"}


def test_of_two_places_the_two_newest_are_left() -> None:
    desk = Desk()
    for name in ("one", "two", "queued"):
        submit(desk, name, limit=2)
    for name in ("three", "four", "five"):
        submit(desk, name, limit=2, on_conflict="cancel_running")
    assert states(desk, "one", "two", "three", "four", "five") == ["cancelled"] * 3 + ["running"] * 2
    assert states(desk, "queued") == ["pending"]


def test_after_a_restart_who_was_under_way_goes_first() -> None:
    desk = Desk()
    for name in ("one", "two", "three"):
        submit(desk, name)
        desk.now += 1
    desk = desk.restart()
    desk.provider("p#1")
    assert states(desk, "one", "two", "three") == ["running", "pending", "pending"]
    desk.complete("a", workflow_id="one")
    assert states(desk, "one", "two", "three") == ["completed", "running", "pending"]


def test_what_has_waited_in_vain_for_the_place_of_its_workflow_has_not_begun() -> None:
    """Not even if it ran before the workflow was retried."""
    desk = Desk()
    limit = Concurrency("k", 1, "queue")
    desk.submit(task("a", queue_timeout_seconds=3), task("b"), workflow_id="again", concurrency=limit)
    desk.tell(inp.Cancel("c", "again"))
    submit(desk, "one")
    desk.now += 1
    desk.tell(inp.Retry("r", "again"))
    desk.wait(4)
    assert desk.states("again") == {"a": "failed", "b": "ready"}
    desk = desk.restart()
    desk.provider("p#1")
    assert desk.states("again") == {"a": "failed", "b": "ready"}, "its place is still another's"
    desk.complete("a", workflow_id="one")
    assert desk.states("again") == {"a": "failed", "b": "running"}


POLICIES = ["queue", "queue", "cancel_running", "fail"]


@settings(max_examples=80)
@given(
    st.lists(st.tuples(st.sampled_from("kx"), st.integers(1, 3), st.sampled_from(POLICIES)), min_size=1, max_size=8),
    st.lists(st.tuples(st.sampled_from(["end", "fail", "cancel", "restart", "wait"]), st.integers(0, 7)), max_size=25),
    st.booleans(),
)  # fmt: skip
def test_no_limit_is_exceeded_and_all_have_their_turn(
    wanted: list[tuple[str, int, str]], course: list[tuple[str, int]], of_tasks: bool
) -> None:
    desk = Desk()
    limits: dict[str, int] = {}
    for key, limit, _ in wanted:
        limits.setdefault(key, limit)  # one key, one limit: as authors have it
    names = []
    for number, (key, _, on_conflict) in enumerate(wanted):
        name = f"w{number}"
        names.append((name, key))
        limit = Concurrency(key, limits[key], on_conflict)  # type: ignore[arg-type]
        if of_tasks:
            desk.submit(task("a", attempts=2, concurrency=limit), workflow_id=name)
        else:
            desk.submit(task("a", attempts=2), workflow_id=name, concurrency=limit)
        check(desk, names, limits, of_tasks)
    for what, index in course:
        running = list(desk.engine.calls.values())
        match what:
            case "end" if running:
                desk.tell(inp.CallCompleted(running[index % len(running)], raw(1)))
            case "fail" if running:
                desk.tell(inp.CallFailed(running[index % len(running)], -29002, "no"))
            case "cancel":
                desk.tell(inp.Cancel("c", f"w{index % len(wanted)}"))
            case "restart":
                desk = desk.restart()
                desk.provider("p#1")
            case "wait":
                desk.wait(1.5)
        check(desk, names, limits, of_tasks)
    for _ in range(100):
        for call in list(desk.engine.calls.values()):
            desk.tell(inp.CallCompleted(call, raw(1)))
            check(desk, names, limits, of_tasks)
        desk.wait(2)
    assert all(desk.workflow(name).final for name, _ in names), [desk.workflow(name).state for name, _ in names]
    assert not desk.engine.scheduler.blocked


def check(desk: Desk, names: list[tuple[str, str]], limits: dict[str, int], of_tasks: bool) -> None:
    under_way: dict[str, int] = {}
    for name, key in names:
        workflow = desk.workflow(name)
        busy = workflow.tasks["a"].state == "running" if of_tasks else workflow.state in ("running", "paused")
        under_way[key] = under_way.get(key, 0) + busy
    for key, number in under_way.items():
        assert number <= limits[key]
