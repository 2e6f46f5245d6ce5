"""The properties of a JSON Schema, for people: params of a method, inputs of a document."""

from collections.abc import Mapping

LONGEST_ENUM = 6


def properties(schema: object) -> list[tuple[str, Mapping[str, object], bool]]:
    """Name, schema and whether it is needed; what is needed comes first."""
    if not isinstance(schema, Mapping):
        return []
    properties, needed = schema.get("properties"), schema.get("required")
    if not isinstance(properties, Mapping):
        return []
    required = needed if isinstance(needed, list) else []
    found = [
        (str(name), told if isinstance(told, Mapping) else {}, name in required) for name, told in properties.items()
    ]
    return sorted(found, key=lambda one: not one[2])


def about(schema: Mapping[str, object], *, needed: bool) -> str:
    """`integer, required: how many`; a default is told by whoever wants it told"""
    said = ", ".join(part for part in (_type(schema), "required" * needed) if part)
    return ": ".join(part for part in (said, str(schema.get("description", ""))) if part)


def _type(schema: Mapping[str, object]) -> str:
    kind, choices = schema.get("type", ""), schema.get("enum")
    if isinstance(choices, list) and len(choices) <= LONGEST_ENUM:
        return " | ".join(map(str, choices))
    return " or ".join(map(str, kind)) if isinstance(kind, list) else str(kind)
