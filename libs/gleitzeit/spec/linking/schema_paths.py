"""Whether a result that fits a JSON Schema can have what a reference reads: a mistyped key is found at submit."""

from typing import Any

from gleitzeit.spec.legacy import modern
from gleitzeit.spec.references.paths import ALIASES
from gleitzeit.spec.references.resolution import FACTS

_COMBINING = frozenset({"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "patternProperties"})

_WITHOUT_PARTS = ("string", "number", "integer", "boolean")


def missing_key(schema: dict[str, Any], path: tuple[str, ...]) -> tuple[str, list[str]] | None:
    """The step of `path` that no such result can have, and the keys there are instead. None when it may be there.

    Follows the rule of `paths.look_up`. Only what the schema closes (`additionalProperties: false`) is sure.
    """
    if not path or path[0] in FACTS:
        return None
    paths = [path]
    while paths[-1] and paths[-1][0] == "result":
        paths.append(paths[-1][1:])
    payload = schema.get("properties", {}).get("result")
    starts = [schema, payload] if isinstance(payload, dict) else [schema]
    missing = [_missing(start, steps) for start in starts for steps in paths]
    found = [one for one in missing if one is not None]
    if len(found) < len(missing):
        return None
    farthest = max(found, key=lambda one: len(one[1]))[0]
    return farthest, list(dict.fromkeys(key for step, known in found if step == farthest for key in known))


def result_of_child(workflow: object, schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """The schema of the result of a task that runs this workflow (as written): its outputs have names. Without any the
    result is that of its last task, and `schema` says all that is known."""
    if isinstance(workflow, dict) and len(workflow) == 1 and isinstance(workflow.get("workflow"), dict):
        workflow = workflow["workflow"]
    outputs = modern(workflow).get("outputs") if isinstance(workflow, dict) else None
    if not schema or not isinstance(outputs, dict) or not outputs:
        return schema
    named = {"type": "object", "properties": {key: {} for key in outputs}, "additionalProperties": False}
    return {**schema, "properties": {**schema["properties"], "result": named, "outputs": named}}


def _missing(schema: Any, path: tuple[str, ...]) -> tuple[str, list[str]] | None:
    for step in path:
        if not isinstance(schema, dict) or not schema.keys().isdisjoint(_COMBINING):
            return None
        properties = schema.get("properties", {})
        key = next((key for key in (step, *ALIASES.get(step, ())) if key in properties), None)
        if key is not None:
            schema = properties[key]
        elif schema.get("additionalProperties") is False or schema.get("type") in _WITHOUT_PARTS:
            return step, list(properties)
        else:
            return None
    return None
