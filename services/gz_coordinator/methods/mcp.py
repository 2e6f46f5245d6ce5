"""The coordinator as an MCP server, on the same socket: workflows and stored templates as tools of any MCP host.

A long run does not hold a host up: after `wait_seconds` the tool answers with a handle, the workflow's id, and
`get_workflow` goes on waiting for it. Meanwhile it tells how far it is.
"""

import asyncio
import functools
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from gleitzeit import errors
from gleitzeit.engine import view
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.jsonrpc.methods import Methods
from gleitzeit.mcp.serving import Serving, ToolCall, UnknownTool
from gleitzeit.schemas import MethodSchema, SchemaProblem, method_schema, near
from gleitzeit.spec.loading.load import load_text
from gz_coordinator.methods.mcp_tools import FINAL, TOOLS
from gz_coordinator.parts import Parts

WAIT_SECONDS = 20.0
"""Hosts give up on a tool that says nothing for about a minute."""
PROGRESS_SECONDS = 0.1
SHOWN_RESULT_BYTES = 16_384
"""Of one result; a model reads them."""
TEMPLATE = "template_"
NAME_LENGTH = 64
INSTRUCTIONS = (
    "Gleitzeit runs workflows durably: tasks and what they wait for. submit_workflow takes a document (YAML or an "
    "object); list_methods says what tasks can call. A tool that answers with a status that is not final has begun: "
    "call get_workflow with its workflow_id. Tools called template_… run a stored workflow."
)

Functions = Mapping[str, Callable[..., Any]]


def install(methods: Methods, parts: Parts, functions: Functions) -> None:
    """Beside the coordinator's own methods, which `functions` has by name."""
    toolbox = WorkflowTools(parts, functions)
    serving = Serving(toolbox, "gleitzeit", parts.version, title="Gleitzeit", instructions=INSTRUCTIONS)
    for name, function in serving.table.items():
        methods.add(name, function, bind=False)


class WorkflowTools:
    """See `gleitzeit.mcp.serving.Toolbox`."""

    def __init__(self, parts: Parts, functions: Functions) -> None:
        self._parts = parts
        self._functions = functions
        self._table: dict[str, Callable[[ToolCall], Any]] = {
            "submit_workflow": self._submit,
            "get_workflow": self._get,
            "watch_workflow": self._watch,
            "list_workflows": self._list,
            "cancel_workflow": self._cancel,
            "validate_workflow": self._validate,
            "list_methods": self._methods,
        }

    async def tools(self) -> Sequence[Mapping[str, Any]]:
        templates = await self._templates()
        return [*TOOLS.values(), *(_template_tool(name, row) for name, row in templates.items())]

    async def call(self, call: ToolCall) -> Any:
        function = self._table.get(call.name)
        if function is not None:
            _check(TOOLS[call.name], call.arguments)
            return await function(call)
        if call.name.startswith(TEMPLATE):
            return await self._run_template(call)
        raise _unknown(call.name, TOOLS)

    async def _ask(self, call: ToolCall, method: str, **params: Any) -> Any:
        """One of the coordinator's own methods."""
        answer = self._functions[method](call.request, **params)
        return await answer if asyncio.iscoroutine(answer) else answer

    # Workflows

    async def _submit(self, call: ToolCall) -> dict[str, Any]:
        given = call.arguments
        status = await self._ask(
            call,
            "workflow.submit",
            definition=_document(given["definition"]),
            inputs=given.get("inputs"),
            idempotency_key=given.get("idempotency_key", ""),
        )
        return await self._waited(call, status, given.get("wait_seconds", WAIT_SECONDS))

    async def _waited(self, call: ToolCall, status: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        shown = await self._until_final(call, status["workflow_id"], seconds)
        warnings = status.get("warnings")
        return {**shown, "warnings": warnings} if warnings else shown

    async def _get(self, call: ToolCall) -> dict[str, Any]:
        workflow_id = await self._whole_id(call, call.arguments["workflow_id"])
        return await self._until_final(call, workflow_id, call.arguments.get("wait_seconds", 0))

    async def _whole_id(self, call: ToolCall, text: str) -> str:
        """Of an id, the beginning of one, a name, @latest."""
        rows = (await self._ask(call, "workflow.list", id=text, limit=2))["workflows"]
        if len(rows) > 1 and all(row["workflow_id"] != text for row in rows):
            begins = any(row["workflow_id"].startswith(text) for row in rows)  # of names there is a newest
            instead = "more of its id" if begins else f"its id, or {text}@latest"
            raise errors.InvalidParams(f"{text!r} is not one workflow: give {instead}")
        if not rows:
            raise errors.WorkflowNotFound(f"there is no workflow {text!r}")
        return str(next((row["workflow_id"] for row in rows if row["workflow_id"] == text), rows[0]["workflow_id"]))

    async def _until_final(self, call: ToolCall, workflow_id: str, seconds: float) -> dict[str, Any]:
        """What there is to see of it when it has ended, or when the time is up."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        with self._parts.watchers.changes(workflow_id) as changed:
            while True:
                changed.clear()
                shown = await self._parts.service.read(workflow_id, _shown)
                done = shown["tasks_done"]
                call.progress(done, shown["tasks_total"], f"{shown['name']}: {shown['status']}")
                if shown["status"] in FINAL or loop.time() >= end:
                    return shown
                await _wait(changed, end - loop.time())

    async def _watch(self, call: ToolCall) -> dict[str, Any]:
        """Events that the host has not seen, as soon as there are some."""
        workflow_id = await self._whole_id(call, call.arguments["workflow_id"])
        after = call.arguments.get("after", 0)
        loop = asyncio.get_running_loop()
        end = loop.time() + call.arguments.get("wait_seconds", WAIT_SECONDS)
        with self._parts.watchers.changes(workflow_id) as changed:
            while True:
                changed.clear()
                page = await self._ask(call, "workflow.history", workflow_id=workflow_id, after=after, limit=100)
                status = await self._parts.service.read(workflow_id, lambda workflow: workflow.state)
                if page["events"] or status in FINAL or loop.time() >= end:
                    events = [_event(one["seq"], one["event"]) for one in page["events"]]
                    seen = events[-1]["seq"] if events else after
                    return {"workflow_id": workflow_id, "status": status, "events": events, "after": seen}
                await _wait(changed, end - loop.time())

    async def _list(self, call: ToolCall) -> Any:
        given = {key: call.arguments[key] for key in ("status", "name") if key in call.arguments}
        return await self._ask(call, "workflow.list", limit=call.arguments.get("limit", 20), **given)

    async def _cancel(self, call: ToolCall) -> Any:
        workflow_id = await self._whole_id(call, call.arguments["workflow_id"])
        reason = call.arguments.get("reason", "cancelled by an MCP host")
        return await self._ask(call, "workflow.cancel", workflow_id=workflow_id, reason=reason)

    async def _validate(self, call: ToolCall) -> Any:
        return await self._ask(call, "workflow.validate", definition=_document(call.arguments["definition"]))

    async def _methods(self, call: ToolCall) -> Any:
        catalogue = self._parts.service.engine.catalogue
        wanted = call.arguments.get("protocol")
        names = catalogue.names(wanted) if wanted else catalogue.names()
        if not names:
            await self._ask(call, "protocol.get", protocol=wanted)  # which says what there is
        described = [(name, catalogue.methods[name]) for name in names]
        return {
            "methods": [
                {"name": name, "description": one.description, **({"params": one.params} if wanted else {})}
                for name, one in described
            ]
        }

    # Templates

    async def _templates(self) -> dict[str, Mapping[str, Any]]:
        """By the name of the tool."""
        listed = await self._functions["template.list"](None)
        found: dict[str, Mapping[str, Any]] = {}
        for row in listed["templates"]:
            found.setdefault(tool_name(row["name"]), row)
        return found

    async def _run_template(self, call: ToolCall) -> dict[str, Any]:
        templates = await self._templates()
        row = templates.get(call.name)
        if row is None:
            raise _unknown(call.name, templates)
        status = await self._ask(call, "template.run", name=row["name"], inputs=call.arguments)
        return await self._waited(call, status, WAIT_SECONDS)


def _unknown(name: str, known: Collection[str]) -> UnknownTool:
    meant = near(name, known)
    return UnknownTool(f"Unknown tool: {name}" + (f" (did you mean '{meant}'?)" if meant else ""))


def tool_name(template: str) -> str:
    """What hosts allow in the name of a tool."""
    return (TEMPLATE + re.sub(r"[^A-Za-z0-9_-]", "_", template))[:NAME_LENGTH]


def _template_tool(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    schema = msgspec.json.decode(row["inputs"]) if isinstance(row["inputs"], msgspec.Raw) else dict(row["inputs"])
    about = row["description"] or row["title"] or row["name"]
    return {
        "name": name,
        "title": row["title"] or row["name"],
        "description": f"{about} (runs the stored workflow {row['name']}@{row['version']})",
        "inputSchema": {"type": "object", **schema},
        "annotations": {"readOnlyHint": False, "idempotentHint": False},
    }


def _document(given: Any) -> Any:
    """A document as an object, or as the text of a file. Raises DocumentError."""
    return load_text(given.encode(), name="definition").value if isinstance(given, str) else given


def _check(tool: Mapping[str, Any], arguments: dict[str, Any]) -> None:
    """Raises InvalidParams, which the model reads. As `take_params`."""
    problems = _method(tool["name"]).take_params(arguments)
    if problems:
        raise errors.InvalidParams(f"{tool['name']}: {'; '.join(map(_sentence, problems))}")


@functools.cache
def _method(tool: str) -> MethodSchema:
    return method_schema(tool, {"params": TOOLS[tool]["inputSchema"]})


def _sentence(problem: SchemaProblem) -> str:
    where = "".join(f"{part}: " for part in problem.path[:1] if problem.keyword != "additionalProperties")
    meant = f" (did you mean '{problem.suggestion}'?)" if problem.suggestion else ""
    return f"{where}{problem.message}{meant}"


async def _wait(changed: asyncio.Event, seconds: float) -> None:
    """Until something changes; many changes at once count as one."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await changed.wait()
            await asyncio.sleep(PROGRESS_SECONDS)
    except TimeoutError:
        return


def _shown(workflow: Workflow) -> dict[str, Any]:
    """Called between turns."""
    tasks = workflow.tasks.values()
    shown: dict[str, Any] = {
        "workflow_id": workflow.id,
        "name": workflow.definition.name,
        "status": workflow.state,
        "tasks_total": len(workflow.tasks),
        "tasks_done": sum(workflow.counts.get(state, 0) for state in ("completed", "failed", "skipped", "cancelled")),
        "counts": view.counts(workflow),
    }
    if workflow.error is not None:
        shown["error"] = view.error_view(workflow.error)
    if bytes(workflow.outputs) != b"null":
        shown["outputs"] = _short(workflow.outputs)
    elif workflow.final:
        done = [task for task in tasks if task.state == "completed" and task.result is not None][-20:]
        shown["results"] = {task.id: _short(task.result) for task in done if task.result is not None}
    return shown


def _short(raw: msgspec.Raw) -> Any:
    size_bytes = len(bytes(raw))
    return raw.copy() if size_bytes <= SHOWN_RESULT_BYTES else {"$omitted_bytes": size_bytes}


def _event(seq: int, event: Any) -> dict[str, Any]:
    fields = msgspec.json.decode(event) if isinstance(event, msgspec.Raw) else dict(event)
    kept = {key: value for key, value in fields.items() if key not in ("definition", "params", "result", "inputs")}
    return {"seq": seq, **kept}
