"""A workflow is the replay of its stream, whatever has happened to it."""

import gc
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.libs.engine.builders import NOW, Desk, definition, raw, snapshot, submitted, task

from gleitzeit.engine import inputs as inp
from gleitzeit.engine.state.replay import replay
from gleitzeit.engine.state.workflow import Refused, Task
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Definition, ForEach, Priority, RetryPolicy, TaskDefinition

_decode = msgspec.json.Decoder(ev.AnyEvent).decode

METHODS = ("echo/echo", "echo/echo", "shop/pay", "timer/sleep", "signal/wait")


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    count = draw(st.integers(1, 6))
    tasks = []
    for number in range(count):
        earlier = [f"t{i}" for i in range(number)]
        dependencies = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3)) if earlier else []
        tasks.append(_task(draw, number, tuple(dependencies)))
    return definition(
        *tasks,
        error_policy=draw(st.sampled_from(["isolate", "fail_fast", "continue"])),
        max_parallel=draw(st.sampled_from([None, 1, 2])),
        timeout_seconds=draw(st.sampled_from([None, None, 30.0])),
    )


def _task(draw: st.DrawFn, number: int, dependencies: tuple[str, ...]) -> TaskDefinition:
    method = draw(st.sampled_from(METHODS))
    params = {"seconds": 2, "signal_name": "go", "timeout": 9}
    return TaskDefinition(
        f"t{number}",
        method,
        raw(params),
        dependencies=dependencies,
        priority=draw(st.sampled_from(list(Priority))),
        retry=RetryPolicy(draw(st.integers(1, 3)), base_delay_seconds=draw(st.sampled_from([0.0, 1.0]))),
        timeout_seconds=draw(st.sampled_from([None, 3.0])),
        queue_timeout_seconds=draw(st.sampled_from([None, 10.0])),
        on_error=draw(st.sampled_from(["fail", "skip"])),
    )


def something(desk: Desk, chance: random.Random) -> inp.Input | None:
    """Anything that can arrive, also what no longer fits; None: time passes."""
    calls = list(desk.engine.calls.values())
    choices: list[inp.Input | None] = [
        None,
        None,
        inp.Pause("", "w"),
        inp.Resume("", "w"),
        inp.Resume("", "w"),
        inp.Hold("", "w"),
        inp.Signal("", "w", chance.choice(["go", "stop"]), raw(1)),
        inp.ProviderReady("p", f"p#{chance.randrange(3)}", frozenset(METHODS[:3]), 2),
        inp.ProviderDown(f"p#{chance.randrange(3)}", gone=chance.random() < 0.5),
    ]
    if chance.random() < 0.1:
        choices += [inp.Cancel("", "w"), inp.Retry("", "w"), inp.Retry("", "w", ("t0",))]
    if calls:
        call = chance.choice(calls)
        choices += [inp.CallCompleted(call, raw(chance.random()))] * 4
        choices += [inp.CallFailed(call, chance.choice([-29002, -32602, -29004]), "no")]
        choices += [inp.CallNotStarted(call, "busy", 0.5), inp.CallUnknown(call, chance.choice(["p#0", "p#1"]))]
    return chance.choice(choices)


@settings(max_examples=60)
@given(definitions(), st.integers(0, 2**32), st.integers(5, 60))
def test_memory_is_the_replay_of_the_stream_whatever_happens(made: Definition, seed: int, steps: int) -> None:
    chance = random.Random(seed)
    desk = Desk(providers=[("p#0", 2)])
    desk.tell(inp.Submit("", "w", made, raw({})))
    for _ in range(steps):
        arrived = something(desk, chance)
        if arrived is None:
            desk.wait(chance.choice([0.1, 1, 5, 40]))
        else:
            desk.tell(arrived)
        stream = [_decode(msgspec.json.encode(event)) for event in desk.events["w"]]
        in_memory = desk.workflow()
        replayed = replay(stream)
        replayed.released.clear()  # the owner of the one in memory has taken them already
        assert snapshot(replayed) == snapshot(in_memory)
        if chance.random() < 0.05:
            desk = desk.restart()


def test_a_stream_begins_with_its_submit() -> None:
    with pytest.raises(Refused, match="begins with WorkflowSubmitted"):
        replay([])
    with pytest.raises(Refused, match="begins with WorkflowSubmitted"):
        replay([ev.TaskStarted(NOW, "t", 1, "p", "p#1")])
    with pytest.raises(Refused):
        replay([submitted(task("t")), ev.TaskCompleted(NOW, "t", 1)])


def test_an_event_for_a_task_that_does_not_exist_is_refused() -> None:
    workflow = replay([submitted(task("t"))])
    with pytest.raises(Refused, match="no task of w"):
        workflow.apply(ev.TaskReleased(NOW, "nobody"))


def test_a_signal_is_taken_once_and_in_order() -> None:
    workflow = replay(
        [
            submitted(task("a"), task("b")),
            ev.SignalReceived(NOW, "other", raw(0)),
            ev.SignalReceived(NOW, "go", raw(1)),
            ev.SignalReceived(NOW, "go", raw(2)),
            ev.TaskWaiting(NOW, "a", 1, None, ("go",)),
            ev.TaskCompleted(NOW, "a", 1, raw("x")),
        ]
    )
    assert [(s.name, bytes(s.payload)) for s in workflow.signals] == [("other", b"0"), ("go", b"2")]


def test_one_that_nobody_knows_any_more_leaves_memory_with_all_its_items() -> None:
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(each, Task) for each in gc.get_objects())
        desk = Desk()
        desk.submit(task("a", for_each=ForEach(over=raw(["x", "y"]))), task("b", "a"))
        assert sum(isinstance(each, Task) for each in gc.get_objects()) == before + 4
        again = replay(desk.events["w"])
        del again
        assert sum(isinstance(each, Task) for each in gc.get_objects()) == before + 4
    finally:
        gc.enable()
