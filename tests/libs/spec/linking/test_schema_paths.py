import pytest

from gleitzeit.schemas import builtin
from gleitzeit.spec.check import check
from gleitzeit.spec.linking.schema_paths import missing_key

CLOSED = {
    "type": "object",
    "properties": {
        "response": {"type": "string"},
        "usage": {"type": "object", "properties": {"tokens": {}}, "additionalProperties": False},
        "anything": {},
    },
    "additionalProperties": False,
}
PAYLOAD = {"properties": {"result": CLOSED, "output": {}}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({}, "x.y"),
        ({"type": "object"}, "x"),
        (CLOSED, ""),
        (CLOSED, "response"),
        (CLOSED, "content"),
        (CLOSED, "result"),
        (CLOSED, "result.result.usage.tokens"),
        (CLOSED, "anything.at.all"),
        (CLOSED, "status"),
        (CLOSED, "metadata.model"),
        (PAYLOAD, "usage"),
        (PAYLOAD, "result.usage"),
        ({**CLOSED, "anyOf": [{}]}, "nope"),
        ({"$ref": "#/x"}, "nope"),
    ],
)
def test_what_may_be_there(schema: dict[str, object], path: str) -> None:
    assert missing_key(schema, tuple(path.split(".")) if path else ()) is None


@pytest.mark.parametrize(
    ("schema", "path", "key"),
    [
        (CLOSED, "nope", "nope"),
        (CLOSED, "result.nope", "nope"),
        (CLOSED, "usage.nope", "nope"),
        (PAYLOAD, "nope", "nope"),
    ],
)
def test_what_cannot_be_there(schema: dict[str, object], path: str, key: str) -> None:
    found = missing_key(schema, tuple(path.split(".")))
    assert found is not None
    assert found[0] == key


CHILD = {"name": "c", "tasks": [{"id": "x", "method": "echo/echo"}], "outputs": {"sum": "x.response"}}


@pytest.mark.parametrize(
    ("reference", "suggestion"),
    [
        ("${a.summ}", "sum"),
        ("${a.outputs.summ}", "sum"),
        ("${a.result.summ}", "sum"),
        ("${a.sum} ${a.outputs.sum} ${a.result} ${a} ${a.workflow_id} ${a.status}", None),
    ],
)
def test_the_outputs_of_a_child_have_names(reference: str, suggestion: str | None) -> None:
    for child in (CHILD, {"workflow": CHILD}):
        tasks = [{"id": "a", "workflow": child}, {"id": "b", "method": "echo/echo", "params": {"message": reference}}]
        found = check({"name": "n", "tasks": tasks}, builtin())
        assert [one.suggestion for one in found.problems] == ([] if suggestion is None else [suggestion])


def test_without_outputs_the_result_of_a_child_may_be_anything() -> None:
    child = {key: value for key, value in CHILD.items() if key != "outputs"}
    tasks = [
        {"id": "a", "workflow": child},
        {"id": "b", "method": "echo/echo", "params": {"message": "${a.any.thing}"}},
    ]
    assert check({"name": "n", "tasks": tasks}, builtin()).problems == ()
