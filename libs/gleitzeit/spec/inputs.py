"""The inputs of a workflow: which there are, of what type, and whether what a submit brings fits.

`name: value` is short for an input of any type with that default. A map is a declaration if it has a `type` of JSON
Schema, or nothing but words of JSON Schema and `required`; `{default: {…}}` says a map that would look so.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from gleitzeit.schemas import compile_schema, explain
from gleitzeit.spec.environment import with_env
from gleitzeit.spec.findings import Fields, Findings
from gleitzeit.spec.problems import Path
from gleitzeit.spec.references.references import has_places, texts_in

TYPES: Final = frozenset({"string", "integer", "number", "boolean", "array", "object", "null"})
_OTHER_NAMES: Final = {
    "str": "string", "text": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array",
    "map": "object", "dict": "object",
}  # fmt: skip
WORDS: Final = frozenset(
    {
        "type", "default", "required", "description", "title", "enum", "const", "examples", "format",
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
        "minLength", "maxLength", "pattern",
        "items", "minItems", "maxItems", "uniqueItems", "properties", "additionalProperties",
        "anyOf", "oneOf", "allOf", "not",
    }
)  # fmt: skip
_TELLING: Final = WORDS - {"title", "description", "items", "format", "examples"}
"""A map of nothing but the others may well be a value."""
_AS_JSON: Final = {"array": '; a list is written as ["a", "b"]', "object": '; a map is written as {"a": 1}'}
"""For who typed such an input."""
_TRUE, _FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})


class Declared(Struct, frozen=True):
    """`defaults` has every input that is declared, null where nobody says a value. `schema` is the JSON Schema of the
    object that a submit brings, `paths` says where each input is declared."""

    defaults: dict[str, Any]
    schema: dict[str, Any]
    paths: dict[str, Path]

    @property
    def raw(self) -> Raw:
        return Raw(msgspec.json.encode(self.schema if self.defaults else {}))

    def check(self, inputs: Mapping[str, object], findings: Findings) -> None:
        """Everything that is wrong with the inputs of a submit, each where it is declared."""
        for name, message, suggestion in misfits(self.schema, inputs):
            findings.error(self.paths.get(name, ()), message, suggestion, at_key=True)

    def with_env(self, env: Mapping[str, object], given: Mapping[str, object], findings: Findings) -> dict[str, Any]:
        """The defaults, with what they read from the environment: text, which is taken as if it had been typed. One
        that does not fit is reported, unless another value was `given`."""
        filled = with_env(self.defaults, env, lambda name: (*self.paths[name], "default"), findings)
        for name, value in filled.items():
            schema = self.schema["properties"].get(name, {})
            if value == self.defaults[name] or "type" not in schema:
                continue
            if isinstance(value, str):
                filled[name] = _from_text(value, schema["type"])
            if name not in given:
                _check_default(name, {**schema, "default": filled[name]}, self.paths[name], findings)
        return filled


def read_inputs(fields: Fields) -> Declared:
    """From `inputs` and `parameters`, which are one; where both say something, `parameters` wins."""
    declared = Declared({}, {"type": "object", "properties": {}}, {})
    required = list[str]()
    for key in ("inputs", "parameters"):
        for name, value in fields.mapping(key).items():
            path = (*fields.at(key), name)
            properties = _declaration(value, path, fields.findings)
            must = properties.pop("required", False) if isinstance(properties.get("required"), bool) else False
            if must and "default" in properties:
                message = f"the input '{name}' is required and has a default: one of them is of no use"
                fields.findings.error(path, message, at_key=True)
            if must and name not in required:
                required.append(name)
            declared.defaults[name] = properties.get("default")
            declared.schema["properties"][name] = properties
            declared.paths[name] = path
            _check_default(name, properties, path, fields.findings)
    if required:
        declared.schema["required"] = required
    return declared


def inputs_of(document: object) -> dict[str, Any]:
    """The JSON Schema of what a submit may bring to a document, whatever else may be wrong with it."""
    if isinstance(document, dict) and len(document) == 1 and "workflow" in document:
        document = document["workflow"]
    return read_inputs(Fields(document, (), Findings())).schema if isinstance(document, dict) else {}


def _declaration(value: object, path: Path, findings: Findings) -> dict[str, Any]:
    """As a JSON Schema, but for `required`, which is true or false here."""
    if not isinstance(value, dict) or not _is_declaration(value):
        _warn_of_mistyped(value, path, findings)
        return {"default": value}
    fields = Fields(value, path, findings)
    fields.check_keys(WORDS, "an input")
    schema = {key: inner for key, inner in value.items() if key in WORDS and inner is not None}
    if "type" in schema:
        schema["type"] = _type_of(schema["type"])
    if value.get("default", value) is None:
        schema["default"] = None
    if "required" in schema and not isinstance(schema["required"], bool | list):
        fields.wrong("required", "'required' must be true or false")
        del schema["required"]
    try:
        compile_schema({key: inner for key, inner in schema.items() if key != "required"})
    except ValueError as error:
        findings.error(path, f"this is no JSON Schema: {error}")
        return {}
    return schema


def _warn_of_mistyped(value: object, path: Path, findings: Findings) -> None:
    """`{typ: string}` is a default like any other map, but hardly meant as one."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        if _is_type(inner) and findings.near(key, ("type",)):
            message = f"the input '{path[-1]}' is this map, for '{key}' declares nothing"
            findings.warning((*path, key), message, "type", at_key=True)


def _is_declaration(value: dict[str, Any]) -> bool:
    if _is_type(value.get("type")):
        return True
    return bool(value) and value.keys() <= WORDS and not _TELLING.isdisjoint(value)


def _is_type(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_is_type(one) for one in value)
    return isinstance(value, str) and (value in TYPES or value.lower() in _OTHER_NAMES)


def _type_of(value: Any) -> Any:
    if isinstance(value, list):
        return [_type_of(one) for one in value]
    return _OTHER_NAMES.get(str(value).lower(), value)


def _check_default(name: str, schema: dict[str, Any], path: Path, findings: Findings) -> None:
    default = schema.get("default")
    if default is None or any(has_places(text) for text in texts_in(default)):
        return
    for _, message, suggestion in misfits({"properties": {name: schema}}, {name: default}):
        findings.error((*path, "default"), message.replace("input", "default of", 1), suggestion)


def misfits(schema: Mapping[str, Any], inputs: Mapping[str, object]) -> list[tuple[str, str, str]]:
    """`(input, what is wrong with it, what was meant)` for everything in which `inputs` do not fit a schema."""
    properties = schema.get("properties", {})
    found = []
    for name in schema.get("required", ()):
        if inputs.get(name) is None:
            about = properties.get(name, {}).get("description")
            found.append((name, f"input '{name}' is required" + (f": {about}" if about else ""), ""))
    for name, value in inputs.items():
        wanted = properties.get(name)
        if wanted is None or (value is None and "default" not in wanted):
            continue
        for problem in explain(compile_schema(wanted, formats=True), value, wanted):
            inner = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in problem.path)
            how = _AS_JSON.get(wanted.get("type"), "") if isinstance(value, str) else ""
            found.append((name, f"input '{name}{inner}' {problem.message}{how}", problem.suggestion))
    return found


def check_given(schema: Raw, given: object, path: Path, findings: Findings) -> None:
    """What is wrong with the inputs that a task gives to the workflow that it runs, as far as that is known now."""
    if given is not None and not isinstance(given, dict):
        return  # a reference, or wrong as a param
    wanted = msgspec.json.decode(schema, type=dict[str, Any])
    properties = wanted.get("properties", {})
    values = given or {}
    for name in values:
        if properties and name not in properties:
            message = f"the workflow has no input '{name}'"
            findings.error((*path, name), message, findings.near(name, properties), at_key=True)
    known = {n: v for n, v in values.items() if not any(has_places(text) for text in texts_in(v))}
    later = values.keys() - known.keys()
    for name, message, suggestion in misfits(wanted, known):
        if name not in later:
            findings.error((*path, name) if name in values else path, message, suggestion)


def from_texts(schema: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, object]:
    """Inputs that were typed, each by its type; of an unknown type: JSON, or else text. What cannot be converted stays
    text, for `misfits` to name."""
    properties = schema.get("properties", {})
    return {name: _from_text(text, properties.get(name, {}).get("type")) for name, text in texts.items()}


def _from_text(text: str, kind: Any) -> object:
    kinds = [kind] if isinstance(kind, str) else kind or []
    try:
        value: object = msgspec.json.decode(text)
    except msgspec.DecodeError:
        value = text
    if "boolean" in kinds and text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    if "string" in kinds and not isinstance(value, str) and not (value is None and "null" in kinds):
        others = {"integer": int, "number": int | float, "array": list, "object": dict}
        if not any(isinstance(value, others[one]) for one in kinds if one in others):
            return text
    return value
