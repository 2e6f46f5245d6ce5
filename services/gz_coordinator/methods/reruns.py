"""`workflow.rerun` and `workflow.diff`: the same once more, and what came out differently."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

import msgspec
from msgspec import Raw, Struct, structs

from gleitzeit import errors
from gleitzeit.engine import inputs as inp
from gleitzeit.engine import view
from gleitzeit.engine.decisions.rerun import with_params
from gleitzeit.engine.state.naming import task_of
from gleitzeit.engine.state.task import Task
from gleitzeit.engine.state.workflow import STEP, Workflow
from gleitzeit.jsonrpc.methods import Request
from gleitzeit.model.definition import Definition
from gleitzeit.model.events import Origin
from gleitzeit.model.shards import SHARDS, shard_of
from gleitzeit.schemas import near
from gleitzeit.spec.inputs import misfits
from gleitzeit.spec.references.paths import payload
from gleitzeit.spec.references.references import escape
from gz_coordinator.ids import workflow_id_for
from gz_coordinator.parts import Parts
from gz_coordinator.steps import encoded_definition
from gz_coordinator.submitting.documents import digest
from gz_coordinator.submitting.submission import ask_in_steps, new_id_here

SHOWN_BYTES = 1_024
"""A result up to this size stands in the difference."""


class RerunMethods:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._service = parts.service

    def table(self) -> dict[str, Callable[..., Any]]:
        return {"workflow.rerun": self.rerun, "workflow.diff": self.diff}

    async def rerun(
        self,
        request: Request,
        /,
        workflow_id: str,
        from_task: str | None = None,
        set: dict[str, Any] | None = None,
        params: dict[str, dict[str, Any]] | None = None,
        hold: bool = False,
        idempotency_key: str = "",
    ) -> dict[str, Any]:
        service = self._service
        await service.ended.bring_back(workflow_id)
        old = await service.read(workflow_id, _ended)
        anew = task_of(old, from_task).id if from_task is not None else ""
        definition = old.definition
        for name, changed in (params or {}).items():
            definition = self._changed(definition, task_of(old, name), changed)
        inputs = {**msgspec.json.decode(old.inputs, type=dict[str, Any]), **(set or {})}
        _check_inputs(old, inputs, set or {})
        new_id = await self._id_for(old, idempotency_key)
        body = digest([old.id, anew, set or {}, params or {}]) if idempotency_key else ""
        origin = Origin(rerun_of=old.id, from_task=anew)
        encoded = Raw(msgspec.json.encode(inputs))
        what = inp.Submit(None, new_id, definition, encoded, idempotency_key, body, hold, origin, old)
        if len(definition.tasks) > 2 * STEP:
            await asyncio.sleep(0)
            answer = await ask_in_steps(service, what, await encoded_definition(definition))
        else:
            answer = await service.ask(lambda token: structs.replace(what, token=token))
        assert answer.workflow is not None
        status = view.status_view(answer.workflow, service.engine.scheduler.held)
        return {**status, "rerun_of": old.id, "created": answer.created}

    async def _id_for(self, old: Workflow, idempotency_key: str) -> str:
        """Of the new workflow; that of a key is always the same, and in the shard of the old one, which we have."""
        if not idempotency_key:
            return new_id_here(self._parts)
        candidates = (workflow_id_for("rerun", f"{old.id}\0{idempotency_key}\0{number}") for number in count())
        new_id = next(one for one in candidates if shard_of(one, SHARDS) == shard_of(old.id, SHARDS))
        with suppress(errors.WorkflowNotFound):  # it may have ended and left memory
            await self._service.ended.bring_back(new_id)
        return new_id

    def _changed(self, definition: Definition, task: Task, changed: dict[str, Any]) -> Definition:
        """With other params of a task: values, in which `${` means nothing. Raises InvalidParams."""
        params = {**msgspec.json.decode(task.definition.params, type=dict[str, Any]), **_as_text(changed)}
        schema = self._service.engine.catalogue.get(task.definition.method)
        wrong = schema.check_params({key: params[key] for key in params}) if schema is not None else []
        told = [
            f"'{'.'.join(map(str, one.path))}' {one.message}"
            for one in wrong
            if one.path[:1] and one.path[0] in changed
        ]
        if told:
            raise errors.InvalidParams(f"task {task.id}: {'; '.join(told)}")
        return with_params(definition, task.definition.id, msgspec.json.encode(params))

    async def diff(self, request: Request, /, a: str, b: str) -> dict[str, Any]:
        one, other = await self._side(a), await self._side(b)
        names = {**dict.fromkeys(one.tasks), **dict.fromkeys(other.tasks)}
        tasks = [_difference(name, one.tasks.get(name), other.tasks.get(name)) for name in names]
        differing = [task for task in tasks if task["differs"]]
        inputs = {
            name: [one.inputs.get(name), other.inputs.get(name)]
            for name in {**one.inputs, **other.inputs}
            if one.inputs.get(name) != other.inputs.get(name)
        }
        return {
            "a": one.head, "b": other.head, "inputs": inputs, "tasks": differing,
            "same": len(tasks) - len(differing), "outputs": one.outputs != other.outputs,
        }  # fmt: skip

    async def _side(self, workflow_id: str) -> "Side":
        return await self._service.read(workflow_id, self._look)

    def _look(self, workflow: Workflow) -> "Side":
        head = view.workflow_head(workflow, ())
        shown = ("workflow_id", "name", "status", "created_at", "duration_seconds")
        return Side(
            {key: head[key] for key in shown},
            _inputs(workflow),
            bytes(workflow.outputs),
            {task.id: self._task(workflow, task) for task in workflow.tasks.values()},
        )

    def _task(self, workflow: Workflow, task: Task) -> "TaskSide":
        try:
            params = self._service.engine.params_digest(workflow, task) if task.attempt else ""
        except errors.GleitzeitError:
            params = ""
        result = bytes(task.result) if task.state == "completed" and task.result is not None else b""
        said = msgspec.json.encode(payload(msgspec.json.decode(result))) if result else b""
        shown = view.task_view(task)
        seen: dict[str, Any] = {
            key: shown[key] for key in ("status", "attempts", "duration_seconds", "cached") if key in shown
        }
        if task.error is not None:
            seen["error"] = task.error.message
        if result and len(result) <= SHOWN_BYTES:
            seen["result"] = Raw(result)
        return TaskSide(task.definition.method, params, said, seen)


class TaskSide(Struct, frozen=True):
    method: str
    params: str
    """What it was called with, as a digest; "" if it was not."""
    said: bytes
    """What `${task.result}` gives: without times and the like, which are never the same twice."""
    seen: dict[str, Any]


class Side(Struct, frozen=True):
    head: dict[str, Any]
    inputs: dict[str, Any]
    outputs: bytes
    tasks: dict[str, TaskSide]


def _difference(name: str, one: TaskSide | None, other: TaskSide | None) -> dict[str, Any]:
    if one is None or other is None:
        return {"task_id": name, "differs": ["missing"], "a": one.seen if one else {}, "b": other.seen if other else {}}
    differs = [
        word
        for word, same in (
            ("method", one.method == other.method),
            ("params", one.params == other.params),
            ("status", one.seen["status"] == other.seen["status"]),
            ("result", one.said == other.said),
        )
        if not same
    ]
    return {"task_id": name, "differs": differs, "a": one.seen, "b": other.seen}


def _inputs(workflow: Workflow) -> dict[str, Any]:
    """Those that were given, and the defaults of the others."""
    return {**msgspec.json.decode(workflow.definition.parameters), **msgspec.json.decode(workflow.inputs)}


def _ended(workflow: Workflow) -> Workflow:
    if not workflow.final:
        message = f"workflow {workflow.id} is {workflow.state}: what is under way cannot be run again"
        raise errors.InvalidState(message, {"status": workflow.state})
    return workflow


def _check_inputs(old: Workflow, inputs: dict[str, Any], changed: dict[str, Any]) -> None:
    schema = msgspec.json.decode(old.definition.inputs, type=dict[str, Any])
    known = schema.get("properties", {})
    wrong = [message for _, message, _ in misfits(schema, inputs)]
    for name in changed if known else ():
        if name not in known:
            meant = near(name, known)
            wrong.append(f"there is no input '{name}'" + (f" (did you mean '{meant}'?)" if meant else ""))
    if wrong:
        raise errors.InvalidParams("; ".join(wrong))


def _as_text(value: Any) -> Any:
    """With every text escaped: what is set by hand is a value."""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, dict):
        return {key: _as_text(inner) for key, inner in value.items()}
    return [_as_text(inner) for inner in value] if isinstance(value, list) else value
