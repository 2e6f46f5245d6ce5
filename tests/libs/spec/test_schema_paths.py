import pytest

from gleitzeit.spec.schema_paths import missing_key

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
