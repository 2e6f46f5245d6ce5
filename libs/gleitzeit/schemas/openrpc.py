"""Methods as an OpenRPC 1.4.1 document, which is the answer to `rpc.discover`, and back."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gleitzeit.schemas.catalogue import Json, MethodSchema, is_task_method, method_schema, verify_all

OPENRPC_VERSION = "1.4.1"
PIECE = 50
"""Methods."""


def openrpc(title: str, version: str, methods: Iterable[MethodSchema], extension: Mapping[str, Any]) -> Json:
    """The document. `extension` is what stands under `x-gleitzeit`; an empty one is left out.

    OpenRPC lists params one by one; the whole schema of the params object is beside them as `x-params-schema`.
    """
    document: Json = {
        "openrpc": OPENRPC_VERSION,
        "info": {"title": title, "version": version},
        "methods": [_described(method) for method in methods],
    }
    if extension:
        document["x-gleitzeit"] = dict(extension)
    return document


def _described(method: MethodSchema) -> Json:
    required = set(method.params.get("required", ()))
    properties: Json = method.params.get("properties", {})
    described: Json = {
        "name": method.name,
        "description": method.description,
        # Provider calls carry `_meta` and are by name; the coordinator's methods can also be typed by hand.
        "paramStructure": "by-name" if is_task_method(method.name) else "either",
        "params": [
            {"name": name, "description": _description(schema), "required": name in required, "schema": schema}
            for name, schema in properties.items()
        ],
        "result": {"name": "result", "schema": method.result if method.result is not None else {}},
        "x-params-schema": method.params,
        "x-idempotent": method.idempotent,
        "x-runs": method.runs,
    }
    if method.result is not None:
        described["x-result-schema"] = method.result
    if method.aliases:
        described["x-aliases"] = list(method.aliases)
    if method.timeout_seconds is not None:
        described["x-timeout-seconds"] = method.timeout_seconds
    if method.wants_dependencies:
        described["x-wants-dependencies"] = True
    return described


def _description(schema: object) -> str:
    return str(schema.get("description", "")) if isinstance(schema, dict) else ""


def methods_of(document: object) -> list[MethodSchema]:
    """The methods that a peer's `rpc.discover` describes, ours or a stranger's, each verified.

    Raises ValueError, naming the method, for a document that is not OpenRPC or a schema that is not JSON Schema.
    """
    return [method for piece in methods_in_pieces(document) for method in piece]


def methods_in_pieces(document: object) -> Iterator[list[MethodSchema]]:
    """As `methods_of`, a millisecond's work at a time: for who has others to serve meanwhile."""
    methods = document.get("methods") if isinstance(document, dict) else None
    if not isinstance(methods, list):
        raise ValueError("not an OpenRPC document: `methods` is no list")
    for start in range(0, len(methods), PIECE):
        piece = [_method_of(method) for method in methods[start : start + PIECE]]
        verify_all(piece)
        yield piece


def _method_of(described: object) -> MethodSchema:
    if not isinstance(described, dict) or not isinstance(described.get("name"), str):
        raise ValueError("not an OpenRPC document: a method has no name")
    name = described["name"]
    parts = dict(described)
    parts["params"] = described.get("x-params-schema") or _params_of(described)
    parts["result"] = described.get("x-result-schema") or _schema_of(described.get("result"))
    try:
        return method_schema(name, parts)
    except (ValueError, TypeError) as error:
        raise ValueError(f"method '{name}': {error}") from error


def _params_of(described: Json) -> Json:
    """The params object's schema out of content descriptors, for a peer that only knows plain OpenRPC."""
    listed = described.get("params")
    descriptors = [one for one in listed if isinstance(one, dict) and "name" in one] if isinstance(listed, list) else []
    if not descriptors:
        return {}
    return {
        "type": "object",
        "properties": {str(one["name"]): one.get("schema") or {} for one in descriptors},
        "required": [str(one["name"]) for one in descriptors if one.get("required")],
    }


def _schema_of(descriptor: object) -> Json | None:
    schema = descriptor.get("schema") if isinstance(descriptor, dict) else None
    return schema if isinstance(schema, dict) and schema else None
