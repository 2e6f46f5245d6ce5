"""`gz schema`: the JSON Schema of a workflow document, with the methods that are alive now; for editors.

Draft 07, because that is what editors know. It helps who writes and is no judge: `gz validate` knows more.
"""

import copy
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gleitzeit.client.coordinator import Coordinator
from gleitzeit.schemas import MethodSchema, builtin, definition_schema, is_task_method

FILE = "workflow.schema.json"
"""In the state folder."""

_REFERENCE = {"type": "string", "pattern": r"\$\{|\{\{"}
_COMBINING = ("oneOf", "anyOf", "allOf", "not", "required", "dependentRequired", "if", "then", "else")
"""What a whole params object must have: part of it may stand on the task, in `defaults`, or elsewhere."""


async def alive(client: Coordinator) -> list[MethodSchema]:
    """Everything that can be called there, as its providers describe it."""
    found: dict[str, MethodSchema] = {}
    for listed in await client.protocols():
        for method in (await client.protocol(listed.protocol)).methods:
            found[method.name] = MethodSchema(
                name=method.name,
                protocol=listed.protocol,
                description=method.description,
                params=method.params if isinstance(method.params, dict) else {},
                aliases=tuple(method.aliases),
            )
    return list(found.values())


_EARLIER = {"workflow/run": {"workflow_ref": "workflow"}}
"""method -> param of earlier versions -> what it is called now."""


def schema(methods: Iterable[MethodSchema] = ()) -> dict[str, Any]:
    """That of the documents, extended by what ships with us and by `methods`."""
    made = copy.deepcopy(definition_schema())
    known = {one.name: one for one in (*builtin().methods.values(), *methods) if is_task_method(one.name)}
    task = made["definitions"]["task"]
    task["properties"]["method"] = _method(task["properties"]["method"], known)
    task["allOf"] = [*task.get("allOf", ()), *(_when(one) for _, one in sorted(known.items()))]
    for one in known.values():
        made["definitions"][_name(one)] = _params(one)
    return made


def write(content: Mapping[str, Any], file: Path) -> None:
    """Whole or not at all: an editor may be reading."""
    import msgspec

    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.new")
    beside.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1))
    beside.replace(file)


def _method(described: Mapping[str, Any], known: Mapping[str, MethodSchema]) -> dict[str, Any]:
    """Any text, and a list of those that are there, each with its description, to choose from."""
    return {
        **{key: value for key, value in described.items() if key != "type"},
        "anyOf": [
            *({"const": name, "description": _first_sentence(one.description)} for name, one in sorted(known.items())),
            {"type": "string"},
        ],
    }


def _first_sentence(text: str) -> str:
    head, stop, _ = text.partition(". ")
    return head + stop.strip()


def _when(method: MethodSchema) -> dict[str, Any]:
    fits = {"$ref": f"#/definitions/{_name(method)}"}
    named = {"const": method.name} if not method.aliases else {"enum": [method.name, *method.aliases]}
    return {
        "if": {"properties": {"method": named}, "required": ["method"]},
        "then": {"properties": {"params": fits, "parameters": fits}},
    }


def _name(method: MethodSchema) -> str:
    """Of the definition of its params: as it can stand in a reference."""
    return "params_of_" + re.sub(r"[^A-Za-z0-9_.-]", "_", method.name)


def _params(method: MethodSchema) -> dict[str, Any]:
    params = {key: value for key, value in method.params.items() if key not in _COMBINING}
    made: dict[str, Any] = _translated(params, f"#/definitions/{_name(method)}/definitions/")
    made.setdefault("description", method.description)
    properties = made.get("properties", {})
    for key in method.seconds_params:
        properties[key] = {**properties[key], "type": ["number", "string"]}
    made["properties"] = {key: _or_reference(value) for key, value in properties.items()}
    for earlier, now in _EARLIER.get(method.name, {}).items():
        made["properties"][earlier] = made["properties"][now]
    if method.name.startswith("mcp/tool."):
        wrapped = {"type": "object", "properties": {"arguments": made}, "required": ["arguments"]}
        return {"description": made["description"], "anyOf": [made, wrapped]}
    return made


def _or_reference(value: Any) -> Any:
    if not isinstance(value, dict) or not value.keys() - {"description", "default", "title"}:
        return value
    about = {key: value[key] for key in ("description", "default", "title") if key in value}
    rest = {key: inner for key, inner in value.items() if key not in about}
    return {**about, "anyOf": [rest, _REFERENCE]}


def _translated(value: Any, where: str) -> Any:
    """From 2020-12 to draft 07, as far as our schemas use it; references stay within the method's own definitions."""
    if isinstance(value, list):
        return [_translated(one, where) for one in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for key, inner in value.items():
        if key == "$ref" and isinstance(inner, str):
            if inner.startswith("#"):  # the others would have to be fetched: left out, so that anything is right there
                made[key] = inner.replace("#/$defs/", where)
        elif key == "$defs":
            made["definitions"] = _translated(inner, where)
        elif key == "prefixItems":
            made["items"] = _translated(inner, where)
        elif not key.startswith(("x-", "$schema", "$id")):
            made[key] = _translated(inner, where)
    return made
