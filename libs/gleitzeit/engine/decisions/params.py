"""From a task as its author wrote it to the params of the request: references replaced, `_meta` added.

Deterministic: what a task's stream says decides every byte, so that a request that is sent again after a restart is the
same request, with the same hash.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gleitzeit.engine.decisions.blobs import BlobNeeded
from gleitzeit.engine.graph import cleanup, fanout
from gleitzeit.engine.graph.fanout import joined_result
from gleitzeit.engine.state.workflow import Task, Workflow
from gleitzeit.engine.underway import Call
from gleitzeit.engine.view import iso
from gleitzeit.errors import GleitzeitError, ParameterError
from gleitzeit.model import events as ev
from gleitzeit.model.definition import TaskDefinition
from gleitzeit.model.secrets import Place, taken_out
from gleitzeit.model.shards import shard_of
from gleitzeit.model.traces import carried_on
from gleitzeit.schemas import Catalogue
from gleitzeit.spec.references.paths import Load, load_nothing
from gleitzeit.spec.references.resolution import Scope
from gleitzeit.spec.tasks.names import index_names

_json = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
KEPT_SCOPES = 64


class Identity(Struct, frozen=True):
    """Who the coordinator is to providers. `lease_seconds`: how long a provider goes on with a call without it."""

    cluster: str
    epoch: int
    owner: str
    shard: int = 0
    lease_seconds: float = 900.0
    shards: int = 1
    epochs: dict[int, int] | None = None
    """Of the shards that are held, where there are several. It changes while the coordinator runs."""

    @property
    def fence(self) -> dict[str, Any] | None:
        """With which to greet a provider: of any shard that is held, None while there is none."""
        if self.epochs is None:
            return self._fence(self.shard, self.epoch)
        shard = min(self.epochs, default=None)
        return None if shard is None else self._fence(shard, self.epochs[shard])

    def fence_of(self, workflow_id: str) -> dict[str, Any]:
        """For the calls of a workflow that is ours."""
        if self.epochs is None:
            return self._fence(self.shard, self.epoch)
        shard = shard_of(workflow_id, self.shards) or 0
        return self._fence(shard, self.epochs.get(shard, 0))

    def epoch_of(self, workflow_id: str) -> int:
        """0 if it is not ours."""
        return self.epoch if self.epochs is None else self.epochs.get(shard_of(workflow_id, self.shards) or 0, 0)

    def _fence(self, shard: int, epoch: int) -> dict[str, Any]:
        return {"cluster": self.cluster, "shard": shard, "epoch": epoch, "owner": self.owner}


class Results(Mapping[str, object]):
    """Decoded results of one workflow by task id and by task name; decoded when they are asked for, once."""

    def __init__(self, workflow: Workflow, names: Mapping[str, str]) -> None:
        self._workflow = workflow
        self._names = names
        self._decoded: dict[str, tuple[int, object]] = {}

    def _task(self, name: str) -> Task | None:
        return self._workflow.tasks.get(self._names.get(name, name))

    def __contains__(self, name: object) -> bool:
        task = self._task(name) if isinstance(name, str) else None
        return task is not None and (task.state == "completed" or task.state in ("failed", "skipped", "cancelled"))

    def __getitem__(self, name: str) -> object:
        task = self._task(name)
        if task is None:
            raise KeyError(name)
        kept = self._decoded.get(task.id)
        if kept is not None and kept[0] == task.attempt:
            return kept[1]
        value: object = None
        if task.state == "completed":
            value = _decode(task.result) if task.result is not None else None
            if task.fan is not None:
                value = joined_result(task)
        self._decoded[task.id] = task.attempt, value
        return value

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._names if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _names(workflow: Workflow) -> dict[str, str]:
    """Id or name -> id, by the same rule as when the document was checked."""
    return index_names((task.id, task.definition.name) for task in workflow.tasks.values()).ids


def _facts(workflow: Workflow, names: Mapping[str, str], name: str) -> dict[str, object]:
    """What can be read of a task besides its result."""
    task = workflow.tasks[names[name]]
    duration = (task.completed_at - task.started_at) / 1000 if task.completed_at and task.started_at else None
    timestamp = iso(task.completed_at)
    error = task.error if task.state == "failed" else None
    return {
        "status": task.state,
        "error": error and {"code": error.code, "name": error.name, "message": error.message},
        "duration": duration,
        "timestamp": timestamp,
        "metadata": {"duration": duration, "attempts": task.attempt, "provider": task.provider},
    }


def scope_of(workflow: Workflow, load: Load = load_nothing) -> Scope:
    """Everything that the workflow's references can read; `load` gives the values of blobs."""
    names = _names(workflow)
    definition = workflow.definition
    return Scope(
        results=Results(workflow, names),
        tasks=names,
        workflow={"id": workflow.id, "name": definition.name, "timestamp": iso(workflow.created_at) or ""},
        parameters={**_decode(definition.parameters), **_decode(workflow.inputs)},
        config=_decode(definition.config),
        env=definition.env,
        facts=lambda name: _facts(workflow, names, name),
        keep=definition.unresolved == "keep",
        load=load,
    )


def _named(task: Task, result: Raw | None) -> dict[str, object]:
    """The task itself (or the one that it undoes), by id and name."""
    if result is None:
        return {}
    definition = (task.origin or task).definition
    value = _decode(result)
    return {definition.id: value} | ({definition.name: value} if definition.name else {})


def _without_tried_models(body: bytes, count: int) -> bytes:
    """Of a list, those that have failed elsewhere are not asked for again: a server may take any name for its own."""
    params = _decode(body)
    if isinstance(params["model"], list):
        params["model"] = params["model"][count:]
    return _json(params)


def _may_have_secrets(definition: TaskDefinition) -> bool:
    return b"secrets" in bytes(definition.params) or any("secrets" in text for text in definition.bindings.values())


def outputs_of(workflow: Workflow, load: Load) -> Raw:
    """The workflow's `outputs`, or null if its definition names none. Raises ParameterError, and what `load` raises."""
    if not workflow.definition.outputs:
        return ev.NULL
    scope = scope_of(workflow, load)
    filled = {}
    for name, value in workflow.definition.outputs.items():
        try:
            filled[name] = scope.filled(value)
        except ParameterError as error:
            raise ParameterError(f"output '{name}': {error.message}", error.data) from None
    return Raw(_json(filled))


class CallParams:
    """Makes the params of calls. Keeps the decoded results of the workflows it was last asked for.

    What looks into a blob that is not loaded raises BlobNeeded.
    """

    def __init__(self, identity: Identity, catalogue: Callable[[], Catalogue], load: Load) -> None:
        self._catalogue = catalogue
        self._load = load
        self._identity = identity
        self._tails: dict[tuple[int, int], bytes] = {}
        """The end of `_meta`, by shard and epoch."""
        self._scopes: dict[str, tuple[Workflow, Scope]] = {}

    def _tail(self, workflow_id: str) -> bytes:
        fence = self._identity.fence_of(workflow_id)
        key = fence["shard"], fence["epoch"]
        tail = self._tails.get(key)
        if tail is None:
            lease = _json(self._identity.lease_seconds)
            tail = self._tails[key] = b',"fence":%b,"leaseSeconds":%b' % (_json(fence), lease)
        return tail

    def build(self, call: Call) -> tuple[bytes, str]:
        """The encoded params with `_meta`, and the sha256 of the resolved params without it. Raises ParameterError."""
        body, secrets = self._parted(call.workflow, call.task)
        if call.task.place:
            body = _without_tried_models(body, call.task.place)
        digest = hashlib.sha256(body).hexdigest()
        meta = self._meta(call, secrets)
        return (b"{%b}" % meta if body == b"{}" else b"%b,%b}" % (body[:-1], meta)), digest

    def resolved(self, workflow: Workflow, task: Task) -> Mapping[str, Any]:
        """The params as a value, for a method that runs inside the coordinator. Raises ParameterError."""
        params: dict[str, Any] = self.scope(workflow, task).whole(_decode(self._body(workflow, task)))
        return params

    def cache_key(self, workflow: Workflow, task: Task) -> str:
        """What results of equal calls are known by, sha256 in hex. Raises ParameterError."""
        definition = task.definition
        own = definition.cache.key if definition.cache is not None else ""
        known_by: list[object] = [definition.method, definition.provider]
        if own:
            known_by += ["key", self.scope(workflow, task).filled(own)]
        else:
            known_by += ["params", *self._known_params(workflow, task)]
        return hashlib.sha256(msgspec.json.encode(known_by, order="deterministic")).hexdigest()

    def digest(self, workflow: Workflow, task: Task) -> str:
        """What the task is called with, resolved, as sha256 in hex; of one that goes round, in its first round: what
        follows comes of that. Raises ParameterError."""
        definition = task.definition
        if definition.until is not None:
            task = copy(task)
            task.round, task.result = 0, None
        params, *beside = self._known_params(workflow, task)
        known_by = [definition.method, definition.provider, params, definition.workflow, *beside]
        return hashlib.sha256(msgspec.json.encode(known_by, order="deterministic")).hexdigest()

    def models_of(self, workflow: Workflow, task: Task) -> tuple[str, ...]:
        """The models that the params name, one or several that are to be tried in order; none for methods that know of
        none."""
        schema = self._catalogue().get(task.definition.method)
        if schema is None or "model" not in schema.param_names:
            return ()
        model = _decode(task.definition.params).get("model")
        try:
            if task.definition.references:
                model = self.scope(workflow, task).filled(model)
        except (GleitzeitError, BlobNeeded):
            return ()  # the start of the task will say what is wrong
        named = model if isinstance(model, list) else [model]
        return tuple(name for name in named if isinstance(name, str))

    def _known_params(self, workflow: Workflow, task: Task) -> list[object]:
        """The resolved params, and what a call is told beside them: what tells calls of one method from each other."""
        body, secrets = self._parted(workflow, task)
        beside = [Raw(value) for value in self._beside(workflow, task).values()]
        return [_decode(body), *beside, *([secrets] if secrets else [])]

    def _body(self, workflow: Workflow, task: Task) -> bytes:
        return self._parted(workflow, task)[0]

    def _parted(self, workflow: Workflow, task: Task) -> tuple[bytes, Sequence[Place]]:
        """The resolved params as JSON, and where the provider is to put secrets in."""
        definition = task.definition
        if not definition.references and not definition.bindings:
            return bytes(definition.params), ()
        scope = self.scope(workflow, task)
        params = _decode(definition.params)
        if definition.references:
            params = scope.filled(params)
        if definition.bindings:
            bound = {name: scope.filled(text) for name, text in definition.bindings.items()}
            params["bindings"] = {**params.get("bindings", {}), **bound}
        secrets: Sequence[Place] = ()
        if _may_have_secrets(definition):
            params, secrets = taken_out(params)
        return _json(params), secrets

    def items(self, workflow: Workflow, parent: Task) -> list[Any]:
        """What `${item}` stands for in each item of a `for_each`. Raises GleitzeitError."""
        if parent.fan is not None and parent.fan.values is not None:
            return parent.fan.values
        assert parent.definition.for_each is not None
        values = fanout.values_of(parent.definition.for_each, self.scope(workflow, parent))
        if parent.fan is not None:
            parent.fan.values = values
        return values

    def scope(self, workflow: Workflow, task: Task, result: Raw | None = None) -> Scope:
        """What the references of a task can read. `result` is that of the round that has just ended."""
        scope = self._scope(workflow)
        item, definition = task.item, task.definition
        ordinary = definition.trigger == "success" and not definition.late
        if item is None and task.origin is None and definition.until is None and ordinary:
            return scope
        local: dict[str, object] = {}
        if item is not None and item.parent is not None and item.definition.for_each is not None:
            value = self.items(workflow, item.parent)[item.number]
            local = {"item": value, "index": item.number}
            if item.definition.for_each.matrix:
                local["matrix"] = value
        if definition.until is not None:
            local["loop"] = {"round": task.round + 1, "last": _decode(task.result) if task.result else None}
        own = result
        if task.origin is not None:
            own = task.origin.result if task.origin.fan is None else None
        scope = scope.within(local, _named(task, own))
        if definition.trigger != "success" or definition.late:
            scope.workflow = {**scope.workflow, **cleanup.outcome_facts(workflow)}
        return scope

    def _scope(self, workflow: Workflow) -> Scope:
        kept = self._scopes.pop(workflow.id, None)
        if kept is None or kept[0] is not workflow:
            kept = workflow, scope_of(workflow, self._load)
        self._scopes[workflow.id] = kept
        if len(self._scopes) > KEPT_SCOPES:
            del self._scopes[next(iter(self._scopes))]
        return kept[1]

    def forget(self, workflow_id: str) -> None:
        """The workflow has ended: let its decoded results go."""
        self._scopes.pop(workflow_id, None)

    def _meta(self, call: Call, secrets: Sequence[Place]) -> bytes:
        definition = call.task.definition
        call_id = _json(call.id)
        where = b'"workflow_id":%b,"task_id":%b,"attempt":%d' % (
            _json(call.workflow.id),
            _json(call.task.id),
            call.attempt,
        )
        who = b'"callId":%b,"instance":%b,"progressToken":%b' % (call_id, _json(call.instance), call_id)
        trace = carried_on(call.workflow.submitted.traceparent, call.workflow.id, call.id)
        meta = b'"_meta":{%b,%b,"traceparent":"%b"%b' % (where, who, trace.encode(), self._tail(call.workflow.id))
        if definition.timeout_seconds is not None:
            meta += b',"deadlineSeconds":%b' % _json(definition.timeout_seconds)
        if call.workflow.meter is not None:
            left = call.workflow.meter.left(call.workflow.definition.budget, definition.budget, call.task.id, call.lent)
            meta += b',"budget":%b' % _json(left) if left else b""
        if definition.untrusted:
            meta += b',"untrusted":true'
        for name, value in self._beside(call.workflow, call.task).items():
            meta += b',"%b":%b' % (name.encode(), value)
        if secrets:
            meta += b',"secrets":%b' % _json(secrets)
        return meta + b"}"

    def _beside(self, workflow: Workflow, task: Task) -> dict[str, bytes]:
        """What a method is told besides its params, if it wants that, as JSON: `dependencies`, and in a workflow
        that is a task of another one the `inputs` that it was given."""
        schema = self._catalogue().get(task.definition.method)
        if schema is None or not schema.wants_dependencies:
            return {}
        found: dict[str, bytes] = {}
        if task.definition.dependencies:
            found["dependencies"] = self._dependencies(workflow, task)
        origin = workflow.submitted.origin
        if origin is not None and origin.parent and workflow.inputs != b"{}":
            found["inputs"] = bytes(workflow.inputs)
        return found

    def _dependencies(self, workflow: Workflow, task: Task) -> bytes:
        """`{id and name: result}` of the direct dependencies."""
        found: dict[str, Raw] = {}
        for dependency in task.definition.dependencies:
            other = workflow.tasks[dependency]
            result = other.result if other.state == "completed" and other.result is not None else ev.NULL
            if other.fan is not None and other.state == "completed":
                result = fanout.joined_raw(other)
            found[other.id] = result
            if other.definition.name:
                found.setdefault(other.definition.name, result)
        return _json(found)
