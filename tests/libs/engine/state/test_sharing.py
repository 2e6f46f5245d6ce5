import msgspec
import pytest
from tests.libs.engine.builders import definition, raw, task

from gleitzeit.engine.state.replay import replay
from gleitzeit.model import events as ev


@pytest.mark.parametrize("count", [1, 100])
def test_sharing_changes_nothing_that_can_be_seen(count: int) -> None:
    many = [task("first"), *(task(f"t{n}", "first", metadata={"n": n}, bindings={"p": "${a}"}) for n in range(count))]
    for inputs in (ev.WorkflowSubmitted(0, "w", definition()).inputs, raw({}), raw({"a": 1})):
        event = ev.WorkflowSubmitted(1, "w", definition(*many, config=raw({"c": 1})), inputs)
        before = msgspec.json.encode(event)
        read = msgspec.json.decode(before, type=ev.AnyEvent)
        replay([read])
        assert msgspec.json.encode(read) == before
        replay([event])
        assert msgspec.json.encode(event) == before


def test_what_is_empty_in_many_definitions_is_one_object() -> None:
    encoded = msgspec.json.encode(ev.WorkflowSubmitted(1, "w", definition(task("a"))))
    one, other = (replay([msgspec.json.decode(encoded, type=ev.AnyEvent)]).definition for _ in range(2))
    assert one.env is other.env
    assert one.tasks[0].bindings is other.tasks[0].bindings
    assert one.tasks[0].method is other.tasks[0].method


def test_workflows_of_one_document_share_its_definition() -> None:
    def built(message: str) -> ev.WorkflowSubmitted:
        event = ev.WorkflowSubmitted(1, "w", definition(task("a", params={"message": message})), raw({"n": message}))
        read = msgspec.json.decode(msgspec.json.encode(event), type=ev.WorkflowSubmitted)
        assert replay([read]).submitted == event
        return read

    first = built("x")
    assert built("x").definition is first.definition
    assert built("y").definition is not first.definition
    for number in range(100):
        built(f"other {number}")
    assert built("x").definition is not first.definition, "only the last ones are kept"
