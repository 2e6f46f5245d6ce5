"""Inputs: how they are declared, what of a submit does not fit, and what typed texts mean."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.schemas import builtin
from gleitzeit.spec.check import check
from gleitzeit.spec.inputs import from_texts, inputs_of, misfits

INPUTS: dict[str, Any] = {
    "count": {"type": "integer", "minimum": 1, "default": 3},
    "version": {"type": "string", "required": True, "pattern": "^[0-9.]+$", "description": "as 1.10"},
    "mode": {"enum": ["fast", "slow"], "default": "fast"},
    "tags": {"type": "list", "items": {"type": "string"}},
    "free": 1,
}


def document(inputs: Any = INPUTS, key: str = "inputs", **more: Any) -> dict[str, Any]:
    message = " ".join(f"${{inputs.{name}}}" for name in inputs) if isinstance(inputs, dict) else ""
    return {"name": "n", key: inputs, "tasks": [{"id": "a", "method": "echo/echo", "params": {"message": message}}]}


def problems(given: dict[str, object] | None, inputs: Any = INPUTS, key: str = "inputs") -> list[tuple[Any, str, str]]:
    found = check(document(inputs, key), builtin(), inputs=given).problems
    return [(problem.path, problem.message, problem.suggestion) for problem in found]


def test_the_normal_form_has_defaults_and_the_schema() -> None:
    definition = check(document(), builtin(), inputs={"version": "1.0"}).definition
    assert definition is not None
    assert json.loads(bytes(definition.parameters)) == {
        "count": 3, "version": None, "mode": "fast", "tags": None, "free": 1
    }  # fmt: skip
    schema = json.loads(bytes(definition.inputs))
    assert schema["required"] == ["version"]
    assert schema["properties"]["tags"] == {"type": "array", "items": {"type": "string"}}
    assert schema["properties"]["free"] == {"default": 1}
    assert schema["properties"]["count"] == {"type": "integer", "minimum": 1, "default": 3}


def test_everything_that_does_not_fit_is_told_at_once_where_it_is_declared() -> None:
    wrong: dict[str, object] = {"count": "abc", "mode": "fats", "tags": ["a", 3], "cuont": 3}
    assert problems(wrong) == [
        (("inputs",), "there is no input 'cuont'", "count"),
        (("inputs", "version"), "input 'version' is required: as 1.10", ""),
        (("inputs", "count"), "input 'count' must be a whole number, not 'abc'", ""),
        (("inputs", "mode"), "input 'mode' must be 'fast' or 'slow', not 'fats'", "fast"),
        (("inputs", "tags"), "input 'tags[1]' must be text, not 3", ""),
    ]


def test_a_format_is_asked_for_and_a_list_that_was_typed_is_explained() -> None:
    inputs = {"day": {"type": "string", "format": "date", "default": "2026-02-01"}, "tags": {"type": "list"}}
    assert problems({"day": "2026-02-03", "tags": ["a"]}, inputs) == []
    assert problems({"day": "2026-02-30", "tags": "a,b"}, inputs) == [
        (("inputs", "day"), "input 'day' must be a date, not '2026-02-30'", ""),
        (("inputs", "tags"), "input 'tags' must be a list, not 'a,b'; a list is written as [\"a\", \"b\"]", ""),
    ]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [("integer", "7", 7), ("boolean", "yes", True), ("string", "7", "7"), ("array", '["a"]', ["a"])],
)
def test_a_default_from_the_environment_is_taken_as_if_typed(kind: str, text: str, value: object) -> None:
    made = document({"n": {"type": kind, "default": "${env.N}"}}) | {"env": {"N": text}}
    definition = check(made, builtin(), inputs={}).definition
    assert definition is not None
    assert json.loads(bytes(definition.parameters)) == {"n": value}


@pytest.mark.parametrize(
    ("text", "message"),
    [("abc", "must be a whole number, not 'abc'"), ("70", "70 is greater than the maximum of 10")],
)
def test_a_default_from_the_environment_has_to_fit_unless_another_value_is_given(text: str, message: str) -> None:
    made = document({"n": {"type": "integer", "maximum": 10, "default": "${env.N}"}}) | {"env": {"N": text}}
    assert [(one.path, one.message) for one in check(made, builtin()).problems] == [
        (("inputs", "n", "default"), f"default of 'n' {message}")
    ]
    assert check(made, builtin(), inputs={"n": 3}).problems == ()


@pytest.mark.parametrize("key", ["inputs", "parameters"])
def test_what_a_default_cannot_read_is_told_where_it_stands(key: str) -> None:
    found = problems(None, {"k": "${secrets.T}", "n": {"default": "${a.x}"}}, key)
    assert [(path, message) for path, message, _ in found] == [
        ((key, "k", "default"), "${secrets.T}: only environment variables can be read here"),
        ((key, "n", "default"), "${a.x}: only environment variables can be read here"),
    ]


def test_nothing_is_missed_while_nobody_knows_the_inputs() -> None:
    assert problems(None) == []
    assert problems({"version": "1.10", "count": None, "free": {"any": "thing"}}) == [
        (("inputs", "count"), "input 'count' must be a whole number, not null", "")
    ]


@pytest.mark.parametrize(
    ("declaration", "message", "suggestion"),
    [
        ({"type": "integer", "minimun": 1}, "an input has no key 'minimun'", "minimum"),
        ({"type": "integer", "minimum": "x"}, "this is no JSON Schema", ""),
        ({"type": "strng", "default": 5}, "there is no type 'strng', only string, ", ""),
        ({"type": "strng"}, "(did you mean 'string'?)", ""),
        ({"typ": "string"}, "the input 'a' is this map, for 'typ' declares nothing", "type"),
        ({"type": "integer", "default": "x"}, "default of 'a' must be a whole number, not 'x'", ""),
        ({"type": "string", "required": "yes"}, "'required' must be true or false", ""),
        ({"type": "string", "required": True, "default": "x"}, "one of them is of no use", ""),
        ({"enum": ["x"], "default": "y"}, "default of 'a' must be 'x', not 'y'", ""),
    ],
)
@pytest.mark.parametrize("key", ["inputs", "parameters"])
def test_a_wrong_declaration_is_found(key: str, declaration: object, message: str, suggestion: str) -> None:
    [(path, told, meant)] = problems(None, {"a": declaration}, key)
    assert path[:2] == (key, "a")
    assert message in told
    assert meant == suggestion


@pytest.mark.parametrize(
    "value",
    [
        1,
        "x",
        None,
        [1],
        {},
        {"type": "postgres", "host": "x"},
        {"title": "x", "description": "y"},
        {"a": {"type": "x"}},
    ],
)
def test_what_is_no_declaration_is_a_default(value: object) -> None:
    definition = check(document({"a": value}), builtin(), inputs={}).definition
    assert definition is not None
    assert json.loads(bytes(definition.parameters)) == {"a": value}


def test_a_default_that_looks_like_a_declaration_can_be_said() -> None:
    assert inputs_of(document({"a": {"default": {"type": "string"}}}))["properties"]["a"] == {
        "default": {"type": "string"}
    }


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("string", "1.10", "1.10"),
        ("string", "true", "true"),
        ("string", "null", "null"),
        ("string", '"quoted"', "quoted"),
        (["string", "null"], "null", None),
        (["string", "integer"], "5", 5),
        ("integer", "5", 5),
        ("integer", "five", "five"),
        ("number", "5", 5),
        ("boolean", "yes", True),
        ("boolean", "0", False),
        ("boolean", "maybe", "maybe"),
        ("array", "[1]", [1]),
        ("object", '{"a": 1}', {"a": 1}),
        (None, "5", 5),
        (None, "five", "five"),
    ],
)
def test_a_typed_text_means_what_its_type_says(kind: object, text: str, value: object) -> None:
    schema = {"properties": {"a": {"type": kind} if kind is not None else {}}}
    assert from_texts(schema, {"a": text}) == {"a": value}


@given(st.text())
def test_every_text_can_be_given_to_a_text(text: str) -> None:
    schema = {"properties": {"a": {"type": "string"}}}
    value = from_texts(schema, {"a": text})
    assert misfits(schema, value) == []
    assert value["a"] == text or json.loads(text) == value["a"]


@given(st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.lists(st.integers()))
def test_a_value_written_as_json_fits_its_own_type(value: object) -> None:
    kinds = {bool: "boolean", int: "integer", float: "number", list: "array"}
    schema = {"properties": {"a": {"type": kinds[type(value)]}}}
    given_values = from_texts(schema, {"a": json.dumps(value)})
    assert misfits(schema, given_values) == []
    assert given_values["a"] == value
