"""What one decision means for very many tasks is spread over turns: none of them is long, and others have theirs."""

import itertools
from collections.abc import Callable

import pytest
from tests.libs.engine.builders import Desk, definition, raw, snapshot, task

from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.state.replay import replay
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Concurrency, ForEach, TaskDefinition

MANY, ROOM, AT_ONCE = 1_000, 200, 100
Build = Callable[[Desk, int], inp.Input]
"""Submits a workflow `w` of so many tasks, and gives what then ends most of them."""


def _independent(count: int, **more: object) -> list[TaskDefinition]:
    return [task("first"), *(task(f"t{n}", method="llm/chat", **more) for n in range(count - 1))]


def _cancelled(desk: Desk, count: int) -> inp.Input:
    desk.submit(*_independent(count))
    return inp.Cancel("cancel", "w", "enough")


def _failing_fast(desk: Desk, count: int) -> inp.Input:
    desk.submit(*_independent(count), error_policy="fail_fast")
    return inp.CallFailed(desk.call("first"), -29002, "no", None)


def _chained(desk: Desk, count: int) -> inp.Input:
    names = ["first", *(f"t{n}" for n in range(count - 1))]
    desk.submit(task("first"), *(task(name, before) for before, name in itertools.pairwise(names)))
    return inp.CallFailed(desk.call("first"), -29002, "no", None)


def _of_items(desk: Desk, count: int) -> inp.Input:
    each = ForEach(raw(list(range(count - 1))), max_items=count)
    desk.submit(task("each", for_each=each), task("after", "each"))
    return inp.CallFailed(desk.call("each[0]"), -29002, "no", None)


CASES = [_cancelled, _failing_fast, _chained, _of_items]


def _desk(room: int = ROOM, at_once: int = AT_ONCE) -> Desk:
    desk = Desk(providers=())
    desk.engine.settled, desk.engine.at_once = room, at_once
    desk.provider("p#1", 2, frozenset({"echo/echo"}))
    return desk


def _turns(desk: Desk, first: inp.Input) -> list[int]:
    """How many events each turn records, until nothing follows."""
    sizes: list[int] = []
    inputs: tuple[inp.Input, ...] = (first,)
    while inputs or desk.engine.more:
        sizes.append(sum(len(append.events) for append in desk.turn(inputs).appends.values()))
        inputs = ()
    return sizes


def _ended(desk: Desk) -> Workflow:
    """The calls that still run are answered first."""
    while desk.engine.calls:
        desk.complete(next(iter(desk.engine.calls.values())).task.id)
    return desk.workflow()


@pytest.mark.parametrize("build", CASES)
def test_no_turn_is_long_and_all_ends_as_it_does_at_once(build: Build) -> None:
    desk, at_once = _desk(), _desk(room=100 * MANY, at_once=MANY)
    sizes = _turns(desk, build(desk, MANY))
    assert max(sizes) <= ROOM + 3
    assert len(sizes) > MANY / ROOM
    at_once.tell(build(at_once, MANY))
    ended = _ended(desk)
    assert (ended.state, desk.states()) == (_ended(at_once).state, at_once.states())
    assert ended.final
    assert replay(desk.events["w"]).counts == ended.counts


@pytest.mark.parametrize("build", CASES)
@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_a_crash_between_two_turns_leaves_nothing_open(build: Build, after: int) -> None:
    desk = _desk(room=4, at_once=0)
    first = build(desk, 12)
    for number in range(after):
        desk.turn((first,) if number == 0 else ())
    assert not desk.workflow().final
    other = desk.restart()
    other.engine.settled = 4
    other.provider("p#1", 2, frozenset({"echo/echo"}))
    for call in list(other.engine.calls.values()):  # calls that it had run: their provider knows nothing of them
        other.tell(inp.CallFailed(call, -29002, "no", None))
    states = set(_ended(other).tasks[name].state for name in other.states())
    assert other.workflow().final
    assert states <= {"failed", "skipped", "cancelled"}
    assert not [e for e in other.events["w"][len(desk.events["w"]) :] if isinstance(e, ev.TaskStarted)]


def test_providers_hear_of_a_cancel_in_its_first_turn_and_who_asked_in_the_last() -> None:
    desk = _desk()
    first = desk.turn((_cancelled(desk, MANY),))
    assert [type(effect) for effect in first.effects] == [fx.CancelCall]
    assert isinstance(first.appends["w"].events[0], ev.WorkflowCancelling)
    answered = list(first.answers)
    while desk.engine.more:
        assert not answered
        desk.provider("p#2", 100)  # nothing more starts there
        answered += desk.last.answers
    assert [answer.token for answer in answered] == ["cancel"]
    assert answered[0].workflow is not None
    assert answered[0].workflow.state == "cancelled"
    assert desk.kinds().count("TaskStarted") == 1


@pytest.mark.parametrize("room", range(1, 9))
def test_a_workflow_that_ends_before_all_of_it_is_queued_may_leave_memory_at_once(room: int) -> None:
    desk = _desk(room=room, at_once=0)
    desk.submit(task("first", method="llm/chat"))
    desk.turn((_submission(40),))
    desk.turn((inp.Cancel("cancel", "w2"),))
    while not desk.workflow("w2").final:
        desk.turn(())
    desk.engine.forget("w2")
    desk.tell(inp.Cancel("cancel", "w"))
    assert desk.workflow().state == "cancelled"


def _submission(count: int) -> inp.Submit:
    return inp.Submit("submit", "w2", definition(*_independent(count)), raw({}))


def test_what_runs_always_runs_when_many_have_been_cancelled() -> None:
    desk = _desk()
    desk.submit(*_independent(MANY), task("always", late=True, trigger="always"))
    desk.tell(inp.Cancel("cancel", "w"))
    assert desk.sent() == ["always"]
    assert desk.workflow().state == "running"
    desk.complete("always")
    assert desk.workflow().state == "cancelled"


def test_a_second_cancel_cuts_short_what_the_first_has_begun() -> None:
    desk = _desk()
    desk.submit(*_independent(MANY), task("always", late=True, trigger="always"))
    desk.turn((inp.Cancel("first", "w"),))
    desk.tell(inp.Cancel("second", "w"))
    assert {answer.token for answer in desk.last.answers} == {"first", "second"}
    assert desk.workflow().state == "cancelled"
    assert desk.states()["always"] == "cancelled"


def test_a_child_may_end_with_its_parent_before_it_has_seen_to_its_own_failure() -> None:
    desk = _desk(room=4)
    run = task("run", method="workflow/run", params={"inputs": {}}, workflow=definition(task("inner")))
    tasks = _independent(AT_ONCE)
    desk.submit(*tasks[:4], run, *tasks[4:])  # the first turn has room for four
    inner = desk.call("inner", "w~run~1")
    desk.turn((inp.Cancel("cancel", "w"), inp.CallFailed(inner, -29002, "no", None)))
    while desk.engine.more:
        desk.turn(())
    assert [desk.workflow(name).state for name in ("w", "w~run~1")] == ["cancelled", "cancelled"]


def test_items_of_what_was_cut_short_do_not_start_with_who_takes_over() -> None:
    desk = _desk(room=6, at_once=0)
    each = ForEach(raw(list(range(8))), max_items=8)
    desk.submit(task("each", for_each=each, trigger="always"), task("after", "each"))
    desk.turn((inp.Cancel("first", "w"),))
    while desk.states()["each"] == "waiting":
        desk.turn((inp.Cancel("second", "w"),))
    assert not desk.workflow().final
    other = desk.restart()
    other.provider("p#1", 8, frozenset({"echo/echo"}))
    started = [e for e in other.events["w"][len(desk.events["w"]) :] if isinstance(e, ev.TaskStarted)]
    assert (other.workflow().state, started) == ("cancelled", [])


def test_who_fails_its_own_workflow_by_taking_a_place_does_not_start() -> None:
    desk = _desk(room=4, at_once=0)
    first = task("first", concurrency=Concurrency("k", 1))
    each = task("each", "gate", for_each=ForEach(raw([1, 2, 3])), concurrency=Concurrency("k", 1, "cancel_running"))
    desk.submit(first, task("gate"), *_independent(12)[1:], each, error_policy="fail_fast")
    desk.complete("gate")
    assert desk.sent() == []
    assert desk.states()["each[0]"] == "cancelled"
    assert desk.workflow().state == "failed"


def test_others_do_not_wait_while_many_become_ready() -> None:
    desk = _desk()
    desk.turn((_submit("w", *_independent(MANY)),))
    desk.turn((_submit("small", task("a"), task("b", "a")),))
    assert desk.engine.more
    assert desk.call("a", "small").workflow.id == "small"
    desk.turn((inp.CallCompleted(desk.call("a", "small"), ev.NULL),))
    desk.turn((inp.CallCompleted(desk.call("b", "small"), ev.NULL),))
    assert desk.workflow("small").state == "completed"
    assert desk.engine.more, "all the while the large one is being queued"


def _submit(workflow_id: str, *tasks: TaskDefinition) -> inp.Submit:
    return inp.Submit("submit", workflow_id, definition(*tasks), raw({}))


def test_a_retry_in_steps_is_the_same_as_at_once() -> None:
    desk = _desk()
    desk.tell(_chained(desk, MANY))
    names = tuple(desk.states())
    event = ev.WorkflowRetried(desk.now, names)
    steps = replay(desk.events["w"])
    assert len(list(steps.retried_in_steps(event))) > 4
    once = replay([*desk.events["w"], event])
    assert snapshot(steps) == snapshot(once)


def test_an_item_that_comes_back_when_another_has_failed_is_cancelled() -> None:
    desk = _desk()
    desk.submit(task("each", for_each=ForEach(raw([1, 2]), max_items=2)))
    other = desk.call("each[1]")
    desk.fail("each[0]")
    assert desk.states()["each[1]"] == "running"
    desk.tell(inp.CallNotStarted(other, "busy", 0))
    desk.wait(60)
    assert desk.states() == {"each": "failed", "each[0]": "failed", "each[1]": "cancelled"}
