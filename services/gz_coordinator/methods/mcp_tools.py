"""What the coordinator's MCP tools are called and take. Models read it: every word costs them."""

from collections.abc import Mapping
from typing import Any, Final

FINAL: Final = frozenset({"completed", "failed", "cancelled"})

_ID = {"type": "string", "minLength": 1, "description": "A workflow's id, a unique beginning of it, or @latest."}
_WAIT = {
    "type": "number",
    "minimum": 0,
    "maximum": 600,
    "description": "How long to wait for the end before answering with what there is.",
}
_DEFINITION = {
    "description": "The workflow document: an object, or YAML. It has `name` and `tasks`, each with `id`, `method`, "
    "`params`; `${id.field}` in params reads another task's result and waits for it.",
    "type": ["object", "string"],
}
_READS = {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False}


def _tool(
    name: str, description: str, properties: Mapping[str, Any], *required: str, hints: Mapping[str, bool] = _READS
) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    schema |= {"required": list(required)} if required else {}
    return {"name": name, "description": description, "inputSchema": schema, "annotations": hints}


TOOLS: Final[Mapping[str, Mapping[str, Any]]] = {
    tool["name"]: tool
    for tool in (
        _tool(
            "submit_workflow",
            "Start a workflow. Answers with its result, or after wait_seconds (20) with a workflow_id to ask for.",
            {
                "definition": _DEFINITION,
                "inputs": {"type": "object", "description": "Values for its parameters."},
                "wait_seconds": _WAIT,
                "idempotency_key": {"type": "string", "description": "The same key starts it only once."},
            },
            "definition",
            hints={"readOnlyHint": False, "idempotentHint": False},
        ),
        _tool(
            "get_workflow",
            "How a workflow is doing, and its result when it has ended.",
            {"workflow_id": _ID, "wait_seconds": _WAIT},
            "workflow_id",
        ),
        _tool(
            "watch_workflow",
            "What happened in a workflow since event number `after`; waits for something new. Call it again with the "
            "`after` that it answers.",
            {"workflow_id": _ID, "after": {"type": "integer", "minimum": 0}, "wait_seconds": _WAIT},
            "workflow_id",
        ),
        _tool(
            "list_workflows",
            "The workflows, newest first.",
            {
                "status": {"enum": ["pending", "running", "paused", "completed", "failed", "cancelled"]},
                "name": {"type": "string"},
                "limit": {"type": "integer", "minimum": 1, "maximum": 100},
            },
        ),
        _tool(
            "cancel_workflow",
            "End a workflow: nothing more of it starts, what runs is stopped.",
            {"workflow_id": _ID, "reason": {"type": "string"}},
            "workflow_id",
            hints={"readOnlyHint": False, "idempotentHint": True, "destructiveHint": True},
        ),
        _tool(
            "validate_workflow",
            "Check a workflow document without running it: all its problems.",
            {"definition": _DEFINITION},
            "definition",
        ),
        _tool(
            "list_methods",
            "What tasks can call. With a protocol, such as python/v1, its methods with their params.",
            {"protocol": {"type": "string"}},
        ),
    )
}
