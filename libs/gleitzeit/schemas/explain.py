"""What a JSON Schema validator finds, in the words of someone who writes workflows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from gleitzeit.schemas.words import near

if TYPE_CHECKING:
    import jsonschema_rs  # at run time it arrives with the validator: see catalogue.compile_schema

_LONGEST_VALUE = 80
_ONLY_ONE = "give only one of "
_UNKNOWN_KEY = ("additionalProperties", "unevaluatedProperties")

TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a map",
    "null": "null",
}


class SchemaProblem(Struct, frozen=True):
    """`path` leads to the value (keys and list indexes); for an unknown key it ends with that key.

    `keyword` is the word of JSON Schema that was not obeyed (`type`, `additionalProperties`, …);
    `required` for all that is about keys which should be there or not together; `missing` are those of which one should
    be there.
    """

    path: tuple[str | int, ...]
    message: str
    suggestion: str = ""
    keyword: str = ""
    missing: tuple[str, ...] = ()


def explain(validator: jsonschema_rs.Validator, value: object, schema: dict[str, Any]) -> list[SchemaProblem]:
    """All problems of `value`, in the order of the document; empty when it fits. Never raises for any value."""
    try:
        if validator.is_valid(value):
            return []
        found = _unique(problem for error in validator.iter_errors(value) for problem in _problems(error, schema))
        return _without_mistyped(list(found))
    except (ValueError, TypeError, RecursionError) as error:  # not JSON, or nested too deeply
        return [SchemaProblem((), f"cannot be checked: {str(error).partition(chr(10))[0]}", keyword="json")]


def _unique(problems: Iterable[SchemaProblem]) -> Iterator[SchemaProblem]:
    """Branches of `anyOf` may say one thing twice."""
    seen = set()
    for problem in problems:
        if problem not in seen:
            seen.add(problem)
            yield problem


def _without_mistyped(problems: list[SchemaProblem]) -> list[SchemaProblem]:
    """A key that is there, mistyped, is not missing too."""
    meant = {(*one.path[:-1], one.suggestion) for one in problems if one.suggestion and one.keyword in _UNKNOWN_KEY}
    return [one for one in problems if not any((*one.path, key) in meant for key in one.missing)]


def _problems(error: jsonschema_rs.ValidationError, schema: dict[str, Any]) -> Iterator[SchemaProblem]:
    path = tuple(error.instance_path)
    kind: Any = error.kind
    keyword = str(kind.name)
    if keyword in _UNKNOWN_KEY:
        known = _known_keys(schema, error)
        for key in kind.unexpected:
            yield SchemaProblem((*path, key), f"unknown key '{key}'", near(key, known), keyword)
    elif keyword in ("anyOf", "oneOf") and all(kind.context):  # an empty one fits: then oneOf fits several
        yield from _alternatives(error, schema)
    else:
        message = _message(error, schema)
        keyword = "required" if message.startswith(_ONLY_ONE) else keyword  # it too is about which keys are there
        missing = (str(kind.property),) if str(kind.name) == "required" else ()
        yield SchemaProblem(path, message, _suggestion(error), keyword, missing)


def _message(error: jsonschema_rs.ValidationError, schema: dict[str, Any]) -> str:
    kind: Any = error.kind
    match str(kind.name):
        case "required":
            return f"'{kind.property}' is missing"
        case "type":
            return f"must be {_one_of(TYPES[name] for name in kind.types)}, not {_shown(error.instance)}"
        case "enum" if not kind.options:
            return "can have no value: its 'enum' is empty"
        case "enum":
            return f"must be {_one_of(_shown(option) for option in kind.options)}, not {_shown(error.instance)}"
        case "const":
            return f"must be {_shown(kind.expected_value)}, not {_shown(error.instance)}"
        case "oneOf":
            return _only_one_of(_place(schema, error.schema_path))
        case "not" if isinstance(kind.schema, dict) and list(kind.schema) == ["required"]:
            return _only_one_of([{"required": [name]} for name in kind.schema["required"]])
        case "format":
            return f"must be a {kind.format}, not {_shown(error.instance)}"
        case "minLength" if kind.limit == 1:
            return "must not be empty"
        case "falseSchema" if error.schema_path and error.schema_path[-1] == "additionalProperties":
            return "nothing may be given here"  # of which key it speaks it does not say
        case "falseSchema":
            return "is not allowed here"
    return str(error.message)[:300]


def _suggestion(error: jsonschema_rs.ValidationError) -> str:
    kind: Any = error.kind
    if kind.name != "enum" or not isinstance(error.instance, str):
        return ""
    return near(error.instance, [option for option in kind.options if isinstance(option, str)])


def _alternatives(error: jsonschema_rs.ValidationError, schema: dict[str, Any]) -> Iterator[SchemaProblem]:
    """None of the branches fits. One sentence where all fail alike, else the problems of the nearest branch."""
    kind: Any = error.kind
    path, keyword = tuple(error.instance_path), str(kind.name)
    branches: list[list[Any]] = [branch for branch in kind.context if branch]
    first = [branch[0] for branch in branches]
    alike = all(len(branch) == 1 and tuple(branch[0].instance_path) == path for branch in branches)
    if alike and all(one.kind.name == "type" for one in first):
        types = (TYPES[name] for one in first for name in one.kind.types)
        yield SchemaProblem(path, f"must be {_one_of(types)}, not {_shown(error.instance)}", keyword=keyword)
    elif alike and all(one.kind.name == "required" for one in first):
        names = tuple(str(one.kind.property) for one in first)
        needed = _one_of(f"'{name}'" for name in names)
        yield SchemaProblem(path, f"needs {needed}", keyword="required", missing=names)
    else:
        # A branch whose own type is right was meant rather than one of another type.
        wrong_type = [tuple(one.instance_path) == path and one.kind.name == "type" for one in first]
        fitting = [branch for branch, wrong in zip(branches, wrong_type, strict=True) if not wrong]
        for one in min(fitting or branches, key=len):
            yield from _problems(one, schema)


def _known_keys(schema: dict[str, Any], error: jsonschema_rs.ValidationError) -> list[str]:
    """The property names beside the `additionalProperties` that refused."""
    place = _place(schema, error.schema_path[:-1])
    return list(place.get("properties", ())) if isinstance(place, dict) else []


def _place(schema: dict[str, Any], path: Iterable[str | int]) -> Any:
    """What stands at a path in the schema; None where the path goes through a `$ref`."""
    place: Any = schema
    for step in path:
        try:
            place = place[step]
        except (KeyError, IndexError, TypeError):
            return None
    return place


def _only_one_of(branches: Any) -> str:
    """For branches that each require one key, as in `oneOf: [{required: [file]}, {required: [code]}]`."""
    required = [branch.get("required") for branch in branches or () if isinstance(branch, dict)]
    names = [f"'{keys[0]}'" for keys in required if isinstance(keys, list) and len(keys) == 1]
    if not names or len(names) != len(branches):
        return "fits more than one of the shapes of which only one is allowed"
    return _ONLY_ONE + _one_of(names, "and")


def _one_of(words: Iterable[str], conjunction: str = "or") -> str:
    unique = list(dict.fromkeys(words))
    return unique[0] if len(unique) == 1 else f"{', '.join(unique[:-1])} {conjunction} {unique[-1]}"


def _shown(value: object) -> str:
    """A value as it looks in a sentence: short ones themselves, containers by their kind."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case dict():
            return "a map"
        case list():
            return "a list"
        case str():
            return f"'{value}'" if len(value) <= _LONGEST_VALUE else f"'{value[:_LONGEST_VALUE]}…'"
    return str(value)
