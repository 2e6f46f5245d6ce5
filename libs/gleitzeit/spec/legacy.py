"""Documents of very early versions, turned into those of today: task types, `${task_<id>_result}`, the state that was
saved with them, `output`, a protocol in the place of a method.

Everything stays at the path where it stood, so that what is wrong with it is shown where its author wrote it.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from gleitzeit.spec.environment import TASK_LISTS
from gleitzeit.spec.findings import Findings
from gleitzeit.spec.problems import Path

PathOf = Callable[[Path], Path]

TASK_TYPES: Final = {
    "llm_generate": "llm/generate",
    "llm_chat": "llm/chat",
    "llm_embed": "llm/embeddings",
    "llm_vision": "llm/vision",
    "function": "python/execute",
    "python": "python/execute",
    "python_execute": "python/execute",
    "shell": "shell/exec",
    "http_request": "http/request",
    "webhook": "http/request",
    "external_api": "http/request",
    "mcp_function": "mcp",
    "mcp_tool": "mcp",
}
"""`task_type` -> method; for MCP the tool is in the params."""

_PARAMS: Final = {
    "python/execute": {"function_name": "function"},
    "llm/generate": {"system_prompt": "system"},
    "llm/chat": {"system_prompt": "system"},
    "llm/vision": {"system_prompt": "system"},
}
"""Method -> param then -> param now."""

_WORKFLOW_STATE: Final = frozenset(
    {
        *("status", "completed_tasks", "failed_tasks", "task_results", "created_at", "started_at", "completed_at"),
        *("updated_at", "results", "error"),
    }
)
_TASK_STATE: Final = frozenset(
    {
        *("workflow_id", "status", "created_at", "started_at", "completed_at", "updated_at", "result", "error"),
        *("retry_count", "attempt", "provider_id", "worker_id"),
    }
)
"""What was saved with a workflow when it ran. In a document that says more than its name: it is no part of it."""

_REPLACED: Final = frozenset({"method", "protocol", "type", "params", "parameters"})
_CHAT: Final = {"message": "prompt"}

_REFERENCE = re.compile(r"(?<!\$)\$\{\s*task_(?P<id>[^{}\s]+?)_result(?P<path>[.\[][^{}]*?)?\s*\}")
_PROTOCOL = re.compile(r"([a-z][a-z0-9_-]*)/v\d+")


_PLACEMENT: Final = {
    "llm/": (
        ("instance_tags", "require_gpu"),
        "a task goes to the provider that has its model and the least to do",
    ),
    "python/": (
        ("execution_mode", "image", "memory_limit", "cpu_limit"),
        "every script runs in a process of its own, with the limits of its provider",
    ),
}
"""Prefix of methods -> params with which earlier versions chose where a call runs, and what chooses now."""


def without_placement(method: str, params: dict[str, Any], findings: Findings, path_of: PathOf) -> dict[str, Any]:
    """The params without those; each is told of."""
    for prefix, (names, instead) in _PLACEMENT.items():
        if method.startswith(prefix) and (found := [name for name in names if name in params]):
            for name in found:
                findings.warning(
                    path_of((name,)), f"'{name}' is of an earlier version and not used: {instead}", at_key=True
                )
            return {name: value for name, value in params.items() if name not in found}
    return params


def modern(workflow: Mapping[str, Any]) -> dict[str, Any]:
    """The map with `tasks`, as it would be written now; what was today's already is as it was. Never raises."""
    workflow = with_templates(workflow)
    tasks = workflow.get("tasks")
    made = dict(workflow)
    if _is_of_old(workflow, tasks):
        made = {key: value for key, value in made.items() if key not in _WORKFLOW_STATE}
        tasks = _renamed(tasks)
    if isinstance(tasks, list):
        made["tasks"] = [_task(task) for task in tasks]
    elif isinstance(tasks, dict):
        made["tasks"] = {key: _task(task) for key, task in tasks.items()}
    return _with_output(made)


def _is_of_old(workflow: Mapping[str, Any], tasks: object) -> bool:
    listed = tasks.values() if isinstance(tasks, dict) else tasks if isinstance(tasks, list) else ()
    return "error_strategy" in workflow or any(isinstance(task, dict) and "task_type" in task for task in listed)


def _task(task: Any) -> Any:
    if not isinstance(task, dict):
        return task
    if "task_type" not in task:
        return _without_protocol_as_method(task)
    made = {key: value for key, value in task.items() if key not in _TASK_STATE}
    kind = made["task_type"]
    method = TASK_TYPES.get(kind.lower(), "") if isinstance(kind, str) else ""
    if not method:
        return made  # is reported with the keys
    del made["task_type"]
    params = {**_map(made.get("parameters")), **_map(made.get("params"))}
    if method == "mcp":
        server, tool = params.pop("server", ""), params.pop("function", params.pop("tool", ""))
        made |= {"protocol": f"mcp/{server}/v1" if server else "mcp/v1", "method": f"tool.{tool}" if tool else ""}
    else:
        made.setdefault("method", method)
        params = {_PARAMS.get(method, {}).get(key, key): value for key, value in params.items()}
    if any(isinstance(made.get(key), dict) for key in ("params", "parameters")):
        key = "params" if isinstance(made.get("params"), dict) else "parameters"
        made = {name: value for name, value in made.items() if name not in ("params", "parameters")} | {key: params}
    return made


def _without_protocol_as_method(task: dict[str, Any]) -> dict[str, Any]:
    """`method: signal/v1` says the protocol, and what is to be done stands elsewhere, as with a `type`."""
    method = task.get("method")
    found = _PROTOCOL.fullmatch(method) if isinstance(method, str) else None
    if found is not None and not task.get("protocol") and not task.get("type"):
        task = {key: value for key, value in task.items() if key != "method"} | {"type": found[1]}
    params = task.get("params")
    if task.get("type") == "signal" and isinstance(params, dict) and "signal_action" in params:
        within = {key: value for key, value in params.items() if key != "signal_action"}
        task = {**task, "params": within, "signal_action": params["signal_action"]}
    return task


def with_templates(document: Any) -> Any:
    """The document with the tasks whose method was `template/<name>` or `agent/<name>` as what they are today."""
    if not isinstance(document, dict):
        return document
    if len(document) == 1 and isinstance(document.get("workflow"), dict):
        return {"workflow": with_templates(document["workflow"])}
    changed: dict[str, Any] = {}
    for name in TASK_LISTS:
        tasks = document.get(name)
        if isinstance(tasks, list):
            changed[name] = [_without_template(task) for task in tasks]
        elif isinstance(tasks, dict):
            changed[name] = {key: _without_template(task) for key, task in tasks.items()}
    return {**document, **changed}


def _without_template(task: Any) -> Any:
    """`template/chat` and `agent/chat` ask a model; the others run the template of that name, with their params as its
    inputs."""
    said = _template_of(task) if isinstance(task, dict) else ""
    if not said:
        return task
    params = {**_map(task.get("parameters")), **_map(task.get("params"))}
    made = {key: value for key, value in task.items() if key not in _REPLACED}
    if said == "chat":
        return made | {"method": "llm/chat", "params": {_CHAT.get(key, key): value for key, value in params.items()}}
    return made | {"method": "workflow/run", "params": {"workflow": said, "inputs": params}}


def _template_of(task: dict[str, Any]) -> str:
    method, family = task.get("method"), task.get("protocol") or task.get("type")
    if not isinstance(method, str):
        return ""
    prefix, slash, name = method.partition("/")
    if not slash and isinstance(family, str):
        prefix, name = family.partition("/")[0], method
    return name if prefix in ("template", "agent") else ""


def _map(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _renamed(value: Any) -> Any:
    """`${task_<id>_result}` is `${<id>.result}`."""
    if isinstance(value, str):
        return _REFERENCE.sub(lambda found: f"${{{found['id']}.result{found['path'] or ''}}}", value)
    if isinstance(value, list):
        return [_renamed(one) for one in value]
    if isinstance(value, dict):
        return {key: _renamed(one) for key, one in value.items()}
    return value


def _with_output(workflow: dict[str, Any]) -> dict[str, Any]:
    """`output: {format, fields: [{name: text}]}` is `outputs`, and the format a wish of who shows them."""
    output = workflow.get("output")
    if not isinstance(output, dict) or not output.keys() <= {"format", "fields"}:
        return workflow
    fields = output.get("fields")
    listed = fields if isinstance(fields, list) else [fields] if isinstance(fields, dict) else []
    if any(not isinstance(one, dict) for one in listed):
        return workflow
    outputs = {**_map(workflow.get("outputs")), **{name: text for one in listed for name, text in one.items()}}
    made = {key: value for key, value in workflow.items() if key != "output"} | {"outputs": outputs}
    if "format" in output:
        made["metadata"] = {**_map(workflow.get("metadata")), "output_format": output["format"]}
    return made
