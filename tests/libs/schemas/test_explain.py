"""Every kind of schema error, in the words that an author reads."""

from typing import Any

import pytest

from gleitzeit.schemas import SchemaProblem, method_schema


def problems(params: dict[str, Any], value: object) -> list[tuple[tuple[str | int, ...], str, str]]:
    found = method_schema("a/b", {"params": params}).check_params(value)
    assert all(isinstance(problem, SchemaProblem) for problem in found)
    return [(problem.path, problem.message, problem.suggestion) for problem in found]


def shape(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def test_what_fits_has_no_problems() -> None:
    assert problems(shape(a={"type": "string"}), {"a": "x"}) == []


def test_an_unknown_key_suggests_the_near_one() -> None:
    assert problems(shape(message={}), {"mesage": 1}) == [(("mesage",), "unknown key 'mesage'", "message")]


def test_an_unknown_key_inside_suggests_from_its_own_neighbours() -> None:
    schema = shape(retry=shape(delay={}), delays={})
    assert problems(schema, {"retry": {"dela": 1}}) == [(("retry", "dela"), "unknown key 'dela'", "delay")]


def test_every_unknown_key_is_listed() -> None:
    assert [path for path, _, _ in problems(shape(), {"a": 1, "b": 2})] == [("a",), ("b",)]


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        ({"type": "string"}, 3, "must be text, not 3"),
        ({"enum": []}, 3, "can have no value: its 'enum' is empty"),
        ({"type": "integer"}, "3", "must be a whole number, not '3'"),
        ({"type": "number"}, None, "must be a number, not null"),
        ({"type": "boolean"}, {}, "must be true or false, not a map"),
        ({"type": "array"}, True, "must be a list, not true"),
        ({"type": "object"}, [], "must be a map, not a list"),
        ({"type": ["string", "null"]}, 1, "must be null or text, not 1"),
        ({"const": 3}, 4, "must be 3, not 4"),
        ({"type": "string", "minLength": 1}, "", "must not be empty"),
        ({"minimum": 1}, 0, "0 is less than the minimum of 1"),
        ({"oneOf": [{"type": "string"}, {"type": "array"}]}, 3, "must be text or a list, not 3"),
        ({"anyOf": [{"type": "string"}, {"type": "array"}]}, 3, "must be text or a list, not 3"),
        (False, 1, "is not allowed here"),
    ],
)
def test_messages(schema: Any, value: object, message: str) -> None:
    assert problems(shape(x=schema), {"x": value}) == [(("x",), message, "")]


def test_a_long_text_is_cut() -> None:
    [(_, message, _)] = problems(shape(x={"type": "integer"}), {"x": "y" * 500})
    assert len(message) < 150


def test_an_enum_suggests_the_near_option() -> None:
    schema = shape(x={"enum": ["fixed", "linear"]})
    assert problems(schema, {"x": "fixd"}) == [(("x",), "must be 'fixed' or 'linear', not 'fixd'", "fixed")]


def test_what_is_missing_is_named() -> None:
    assert problems({"required": ["a", "b"]}, {}) == [((), "'a' is missing", ""), ((), "'b' is missing", "")]


EITHER = {"oneOf": [{"required": ["file"]}, {"required": ["code"]}]}


def test_one_of_several_keys_is_missing() -> None:
    assert problems(EITHER, {}) == [((), "needs 'file' or 'code'", "")]


def test_two_keys_that_exclude_each_other() -> None:
    assert problems(EITHER, {"file": 1, "code": 2}) == [((), "give only one of 'file' and 'code'", "")]
    assert problems({"not": {"required": ["a", "b"]}}, {"a": 1, "b": 2}) == [((), "give only one of 'a' and 'b'", "")]


def test_other_shapes_that_exclude_each_other() -> None:
    schema = {"oneOf": [{"type": "number"}, {"type": "integer"}]}
    assert problems(shape(x=schema), {"x": 1}) == [
        (("x",), "fits more than one of the shapes of which only one is allowed", "")
    ]


def test_of_several_shapes_the_one_of_the_right_type_was_meant() -> None:
    schema = shape(o={"oneOf": [{"type": "string"}, {**shape(name={}), "required": ["name"]}]})
    assert problems(schema, {"o": {"zzz": 1}}) == [
        (("o", "zzz"), "unknown key 'zzz'", ""),
        (("o",), "'name' is missing", ""),
    ]


@pytest.mark.parametrize("wanted", [{"required": ["name"]}, {"oneOf": [{"required": ["name"]}, {"required": ["key"]}]}])
def test_a_mistyped_key_is_not_missing_too(wanted: dict[str, Any]) -> None:
    schema = {**shape(name={}, key={}, o={**shape(name={}), "required": ["name"]}), **wanted}
    assert problems(schema, {"nme": 1}) == [(("nme",), "unknown key 'nme'", "name")]
    assert problems(schema, {"name": 1, "o": {}}) == [(("o",), "'name' is missing", "")]
    assert {message for _, message, _ in problems(schema, {"nme": 1, "o": {}})} == {
        "unknown key 'nme'",
        "'name' is missing",
    }


@pytest.mark.parametrize("value", [{1: 2}, {"x": {1, 2}}, {"x": object()}, {"x": "\ud800"}])
def test_what_json_cannot_hold_is_a_problem_and_no_exception(value: object) -> None:
    [problem] = method_schema("a/b", {"params": shape(x={"type": "array"})}).check_params(value)
    assert "cannot be checked" in problem.message
    assert "\n" not in problem.message
