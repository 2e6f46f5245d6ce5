import msgspec
import pytest
from tests.libs.engine.builders import definition, raw, task

from gleitzeit.model import events as ev
from gz_coordinator.steps import LARGE_BYTES, built, decoded, last_of


@pytest.mark.parametrize("count", [1, 10_000])
async def test_a_large_event_is_read_in_steps_as_it_would_be_at_once(count: int) -> None:
    many = [task(f"t{n}", metadata={"n": n}) for n in range(count)]
    event = ev.WorkflowSubmitted(1, "w", definition(*many, config=raw({"tasks": []})), raw({"a": 1}))
    encoded = msgspec.json.encode(event)
    assert (len(encoded) > LARGE_BYTES) == (count > 1)
    steps = list(decoded(encoded))
    assert len(steps) == 1 or len(steps) > count / 1_000
    assert msgspec.json.encode(steps[-1]) == encoded
    read = await last_of(decoded(encoded))
    assert isinstance(read, ev.WorkflowSubmitted)
    workflow = await built(read)
    assert [t.id for t in workflow.released] == [f"t{n}" for n in range(count)]
