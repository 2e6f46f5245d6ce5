import sys
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.libs.engine.builders import submitted, task

from gleitzeit.engine.scheduling.queue import LEVELS, PATIENCE, Lane, Queue
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.model.definition import Priority


def workflow(name: str, **priorities: Priority) -> Workflow:
    """With one task for each keyword."""
    return Workflow(submitted(*(task(n, priority=p) for n, p in priorities.items()), workflow_id=name))


def filled(*workflows: Workflow) -> Queue:
    queue = Queue()
    for one in workflows:
        for ready in one.tasks.values():
            queue.push(one, ready)
    return queue


def drained(queue: Queue) -> list[str]:
    taken = []
    while (lane := queue.lane()) is not None:
        taken.append(f"{lane.workflow.id}.{queue.take(lane).id}")
    return taken


def test_workflows_take_turns_and_each_keeps_its_order() -> None:
    normal = Priority.NORMAL
    batch = workflow("batch", **{f"t{i}": normal for i in range(4)})
    chat = workflow("chat", a=normal, b=normal)
    assert drained(filled(batch, chat)) == ["batch.t0", "chat.a", "batch.t1", "chat.b", "batch.t2", "batch.t3"]


def test_the_more_urgent_comes_first() -> None:
    one = workflow("w", low=Priority.LOW, normal=Priority.NORMAL, urgent=Priority.URGENT, high=Priority.HIGH)
    assert drained(filled(one)) == ["w.urgent", "w.high", "w.normal", "w.low"]


def test_what_is_low_waits_for_a_bounded_number_of_turns() -> None:
    many = workflow("many", **{f"u{i}": Priority.URGENT for i in range(200)})
    levels = workflow("few", low=Priority.LOW, normal=Priority.NORMAL, high=Priority.HIGH)
    order = drained(filled(many, levels))
    assert max(order.index(f"few.{name}") for name in ("low", "normal", "high")) <= (PATIENCE + 2) * LEVELS


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(list(Priority))), max_size=60), st.randoms())
def test_each_task_comes_out_once_whenever_it_is_pushed(pushed: list[tuple[int, Priority]], chance: Random) -> None:
    queue = Queue()
    workflows = [workflow(f"w{i}", **{f"t{n}": p for n, (w, p) in enumerate(pushed) if w == i}) for i in range(5)]
    waiting = [(workflows[w], workflows[w].tasks[f"t{n}"]) for n, (w, _) in enumerate(pushed)]
    out: list[str] = []
    while waiting or len(queue):
        if waiting and chance.random() < 0.5:
            queue.push(*waiting.pop(0))
        elif (lane := queue.lane()) is not None:
            out.append(queue.take(lane).id)
    assert sorted(out) == sorted(f"t{n}" for n in range(len(pushed)))
    assert queue.lane() is None


@pytest.mark.parametrize("seed", range(12))
def test_what_is_detached_and_attached_at_any_time_comes_out_once(seed: int) -> None:
    queue, chance, tasks = Queue(), Random(seed), 1 + seed % 4
    workflows = [workflow(f"w{i}", **{f"t{n}": Priority(1 + i % 2) for n in range(tasks)}) for i in range(200)]
    waiting = [(one, ready) for one in workflows for ready in one.tasks.values()]
    out: dict[str, list[str]] = {one.id: [] for one in workflows}
    away: dict[str, list[Lane]] = {}
    forgotten: set[str] = set()
    while waiting or len(queue) or away:
        match chance.choice(("push", "push", "take", "take", "detach", "attach", "forget")):
            case "push" if waiting:
                queue.push(*waiting.pop(0))
            case "take" if (lane := queue.lane()) is not None:
                out[lane.workflow.id].append(queue.take(lane).id)
            case "detach":
                name = chance.choice(workflows).id
                if lanes := queue.detach(name):
                    away.setdefault(name, []).extend(lanes)
            case "attach" if away:
                for lane in away.pop(chance.choice(list(away))):
                    queue.attach(lane)
            case "forget" if chance.random() < 0.2 and (lane := queue.lane()) is not None:
                forgotten.add(lane.workflow.id)
                queue.detach(lane.workflow.id)
        left = sum(len(lane) for lanes in away.values() for lane in lanes)
        assert len(list(queue)) == len(queue)
        assert left + len(queue) + len(waiting) <= tasks * len(workflows)
    for name, taken in out.items():
        assert len(taken) == len(set(taken))
        assert len(taken) == tasks or name in forgotten


def test_what_was_detached_is_held_no_more() -> None:
    queue = filled(*(workflow(f"w{number}", a=Priority.NORMAL) for number in range(100)))
    one = workflow("one", a=Priority.NORMAL)
    before = sys.getrefcount(one)
    queue.push(one, one.tasks["a"])
    assert sys.getrefcount(one) > before
    queue.detach("one")
    assert sys.getrefcount(one) == before


def test_what_is_detached_does_not_count_and_comes_back_in_front_of_what_is_newer() -> None:
    one = workflow("w", a=Priority.NORMAL, b=Priority.NORMAL, c=Priority.NORMAL)
    queue = Queue()
    a, b, c = one.tasks.values()
    queue.push(one, a)
    queue.push(one, b)
    (lane,) = queue.detach("w")
    assert len(queue) == 0
    assert queue.lane() is None
    assert queue.detach("w") == []
    queue.push(one, c)
    queue.attach(lane)
    assert len(queue) == 3
    assert [t.id for _, t in queue] == ["a", "b", "c"]
    assert drained(queue) == ["w.a", "w.b", "w.c"]


def test_looking_changes_nobodys_turn() -> None:
    queue = filled(workflow("v", a=Priority.LOW, b=Priority.HIGH), workflow("w", c=Priority.HIGH))
    assert [t.id for _, t in queue] == ["b", "c", "a"]
    assert drained(queue) == ["v.b", "w.c", "v.a"]
