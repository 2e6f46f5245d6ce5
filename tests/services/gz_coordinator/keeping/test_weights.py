"""The estimate of what a workflow takes in memory, held against what Python has allocated for it."""

import gc
import tracemalloc

import msgspec
import pytest
from msgspec import Raw
from tests.libs.engine.builders import METHODS, NOW, Desk, definition, raw, task

from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.state.replay import replay
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.model import events as ev
from gleitzeit.model.definition import ForEach, TaskDefinition
from gz_coordinator.keeping.weights import weight_bytes

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ev.AnyEvent).decode
FILES = [
    {"path": f"docs/file {number}.txt", "name": f"file {number}.txt", "content": "x" * 100} for number in range(800)
]
SHAPES = {
    "one task": ([task("a", params={"n": 1})], b"1"),
    "many tasks": ([task(f"t{number}", params={"n": 1}) for number in range(300)], b'{"x":1}'),
    "large params": ([task(f"t{number}", params={"text": "x" * 3_000}) for number in range(100)], b"1"),
    "large results": ([task(f"t{number}") for number in range(100)], b'"%b"' % (b"x" * 3_000)),
    "a chain": ([task(f"t{number}", *([f"t{number - 1}"] if number else [])) for number in range(300)], b"1"),
    "items": ([task("a", for_each=ForEach(over=raw(FILES)), params={"path": "${item.path}"})], b'{"x":1}'),
}


@pytest.mark.parametrize(("tasks", "result"), SHAPES.values(), ids=SHAPES)
def test_the_estimate_is_about_what_python_has_allocated(tasks: list[TaskDefinition], result: bytes) -> None:
    events = _story(tasks, Raw(result))
    replay(map(_decode, events))  # what is made once is there then
    gc.collect()
    tracemalloc.start()
    workflow = replay(_decode(bytes(bytearray(event))) for event in events)
    gc.collect()
    allocated, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert workflow.state == "completed"
    assert 0.6 < weight_bytes(workflow) / allocated < 1.6


def test_what_is_heavier_than_counts_is_not_weighed_closely() -> None:
    workflow = Workflow(ev.WorkflowSubmitted(1, "w", definition(*(task(f"t{n}") for n in range(1_000)))))
    exactly = weight_bytes(workflow)
    assert weight_bytes(workflow, 2 * exactly) == exactly
    assert exactly / 4 < weight_bytes(workflow, exactly // 4) < exactly


def _story(tasks: list[TaskDefinition], result: Raw) -> list[bytes]:
    desk = Desk(providers=())
    engine = desk.engine
    submit = inp.Submit("token", "w", definition(*tasks), Raw(b"{}"))
    decision = engine.decide(NOW, [inp.ProviderReady("p", "p#1", METHODS, 10_000), submit])
    events: list[bytes] = []
    while True:
        events += [_encode(event) for append in decision.appends.values() for event in append.events]
        calls = [effect.call for effect in decision.effects if isinstance(effect, fx.CallProvider)]
        if not calls and not engine.more:
            return events
        decision = engine.decide(NOW, [inp.CallCompleted(call, result) for call in calls])
