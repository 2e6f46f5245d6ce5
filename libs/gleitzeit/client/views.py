"""What a coordinator answers, typed. Times are ISO 8601 in UTC, durations seconds. Unknown members are ignored."""

from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import Raw, Struct

from gleitzeit.errors import GleitzeitError, ProtocolError, TaskError, TaskNotFound, error_for
from gleitzeit.spec.references.paths import look_up

View = TypeVar("View")
Json = Any
"""Whatever JSON can say."""


class OfWorkflow(Protocol):
    """What `submit` returns, and all else that tells of a workflow."""

    @property
    def workflow_id(self) -> str: ...


AnyWorkflow = str | OfWorkflow
"""Where a method takes a workflow: its id, or what has it."""


def id_of(workflow: AnyWorkflow) -> str:
    """Raises TypeError."""
    found = workflow if isinstance(workflow, str) else getattr(workflow, "workflow_id", None)
    if not isinstance(found, str):
        kind = type(workflow).__name__
        raise TypeError(f"a workflow is its id, or what submit() returned, not {kind}")
    return found


def understood(answer: Any, cls: type[View]) -> View:
    """A result as JSON (Raw) or decoded already. Raises ProtocolError for one of another shape."""
    try:
        return msgspec.json.decode(answer, type=cls) if isinstance(answer, Raw) else msgspec.convert(answer, cls)
    except msgspec.ValidationError as error:
        raise ProtocolError(
            f"an answer of the coordinator is not understood ({error}): it is of another version, or no coordinator"
        ) from None


class Submitted(Struct, frozen=True):
    """`created` is False when the idempotency key was known: then `workflow_id` is the workflow it made before."""

    workflow_id: str
    name: str
    status: str
    created: bool = True
    warnings: tuple[str, ...] = ()


class ErrorView(Struct, frozen=True, omit_defaults=True):
    """As a JSON-RPC error has it; `name` is the word for `code`, `task` the task that failed, if one did."""

    code: int
    message: str
    name: str = ""
    task: str = ""
    data: Json = None


class TaskView(Struct, frozen=True, omit_defaults=True):
    """`result` is absent (None) where it is larger than a page takes; `result_size_bytes` says so."""

    task_id: str
    name: str
    method: str
    status: str
    attempts: int
    dependencies: tuple[str, ...] = ()
    provider: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    duration_seconds: float | None = None
    result: Json = None
    result_size_bytes: int | None = None
    error: ErrorView | None = None
    reason: str | None = None
    items: dict[str, int] = {}
    """Of a `for_each` or a `matrix`: `total`, and how many are in each state."""
    parent: str = ""
    """Of an item: the task that it belongs to, whose item `index` (from 0) it is."""
    index: int | None = None
    rounds: int = 0
    """Of an `until`: how many are over."""
    cached: bool = False
    """Completed without a call."""
    until: str | None = None
    """While it waits: for how long at most."""
    child: str = ""
    """The workflow that it runs."""
    asks: Json = None
    """While it waits for a person: message and form."""
    alternative: int = 0
    """Which of its `fallback` it uses, from 1; `fallback` is what sets that one apart."""
    fallback: str = ""


class Spent(Struct, frozen=True):
    """By the calls of a workflow that has a budget."""

    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0


class WorkflowView(Struct, frozen=True, omit_defaults=True):
    """`tasks` is one page; `next`, if there are more, is the `after` that continues."""

    workflow_id: str
    name: str
    status: str
    tasks_total: int
    counts: dict[str, int]
    seq: int
    held: bool = False
    priority: str = "normal"
    created_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    duration_seconds: float | None = None
    tasks_completed: int = 0
    tasks_failed: int = 0
    error: ErrorView | None = None
    outputs: Json = None
    tasks: tuple[TaskView, ...] = ()
    next: int | None = None
    spent: Spent | None = None
    cancelling: str = ""
    """It is to end, and what runs always runs before: why."""


class WorkflowResult(Struct, frozen=True, omit_defaults=True):
    """`results` has the whole result of every completed task, by task id."""

    workflow_id: str
    status: str
    results: dict[str, Json]
    name: str = ""
    outputs: Json = None
    error: ErrorView | None = None

    @property
    def ok(self) -> bool:
        return self.status == "completed"

    def raise_for_status(self) -> "WorkflowResult":
        """Itself if the workflow completed. Else raises the error that ended it, whose class its code tells."""
        if not self.ok:
            raise self.failure()
        return self

    def failure(self) -> GleitzeitError:
        """The error of a workflow that did not complete."""
        if self.error is None:
            return TaskError(f"the workflow {self.workflow_id} is {self.status}", {"workflow_id": self.workflow_id})
        data = self.error.data if isinstance(self.error.data, dict) else {}
        data = {**data, "workflow_id": self.workflow_id, "task": self.error.task, "name": self.error.name}
        return error_for(self.error.code, self.error.message, data)

    def value(self, task_id: str) -> Json:
        """What `${task_id.result}` means: the text of an answer, the value of a script. Raises TaskNotFound."""
        if task_id not in self.results:
            raise TaskNotFound(f"no completed task {task_id!r}", {"tasks": list(self.results)[:50]})
        return look_up(self.results[task_id], ("result",))


class WorkflowRow(Struct, frozen=True, omit_defaults=True):
    """One line of a list; `counts` is how many of its tasks are in each state."""

    workflow_id: str
    name: str
    status: str
    tasks_total: int
    counts: dict[str, int]
    held: bool = False
    created_at: str | None = None
    updated_at: str | None = None
    quarantined: str = ""
    """Why its events cannot be read: nothing of it runs."""


class WorkflowPage(Struct, frozen=True, omit_defaults=True):
    """Newest first; `next`, if there are more, is the `before` that continues."""

    workflows: tuple[WorkflowRow, ...]
    next: tuple[int, str] | None = None


class State(Struct, frozen=True):
    """What a workflow is after it was cancelled, paused, resumed, held or tried again."""

    workflow_id: str
    status: str
    held: bool = False
    tasks: tuple[str, ...] = ()
    """Of a retry: the tasks that run again."""
    cancelling: str = ""
    """Of a cancel: it ends when what runs always has run; why."""


class Signalled(Struct, frozen=True):
    """`kept` is True while no task has taken the signal; `awaited` are the names of signals that its tasks wait for, or
    will: as far as they are known."""

    workflow_id: str
    status: str
    held: bool = False
    kept: bool = False
    awaited: tuple[str, ...] = ()


class EventPage(Struct, frozen=True, omit_defaults=True):
    """Events as they stand in the journal; `next`, if there are more, is the `after` that continues."""

    workflow_id: str
    events: tuple[dict[str, Json], ...]
    next: int | None = None


class Explanation(Struct, frozen=True, omit_defaults=True):
    """`inner` is the same of that task for which this one waits: of the workflow `workflow_id` that it runs, or of one
    of its items."""

    task_id: str
    status: str
    reason: str
    message: str
    workflow_id: str = ""
    inner: "Explanation | None" = None

    @property
    def innermost(self) -> "Explanation":
        return self if self.inner is None else self.inner.innermost


class Explained(Struct, frozen=True):
    """Why tasks stand where they stand. `reason` of each is one word for machines, `message` a sentence for people."""

    workflow_id: str
    status: str
    tasks: tuple[Explanation, ...]
    """Those that have not completed, or the one that was asked for."""
    error: ErrorView | None = None
    """Why the workflow failed."""


class CircuitView(Struct, frozen=True, omit_defaults=True):
    """A method that failed again and again; `state` is open or half_open."""

    method: str
    state: str
    failures: int
    retry_after_seconds: float = 0.0


class PlacesView(Struct, frozen=True):
    """Calls that the coordinator may have at a provider at once, by the word of the one at `given_by` ("": not yet)."""

    ours: int
    given_by: str


class ProviderView(Struct, frozen=True, omit_defaults=True):
    """`calls` is "v1" where a call that was interrupted is joined or collected, None where it may be paid again. There
    may be `places` where several coordinators call one that does not keep its capacity itself."""

    name: str
    instance: str
    url: str
    status: str
    protocols: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    running: int = 0
    capacity: int | None = None
    places: PlacesView | None = None
    source: str = ""
    calls: str | None = None
    circuits: tuple[CircuitView, ...] = ()
    problem: str = ""


class ProviderList(Struct, frozen=True, omit_defaults=True):
    """`drained` are names that get no calls until that is undone, also those of which nobody is there. `running` of a
    provider counts the calls of the coordinator that was asked, which is one of `coordinators`."""

    providers: tuple[ProviderView, ...]
    drained: tuple[str, ...] = ()
    coordinators: int = 1


class ProtocolView(Struct, frozen=True, omit_defaults=True):
    """`methods` are the names of its methods, `providers` those who serve it now."""

    protocol: str
    description: str = ""
    methods: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()


class MethodView(Struct, frozen=True, omit_defaults=True):
    """`params` and `result` are JSON Schemas."""

    name: str
    aliases: tuple[str, ...] = ()
    description: str = ""
    params: Json = None
    result: Json = None
    idempotent: bool = False
    runs: str = "provider"
    providers: tuple[str, ...] = ()


class ProviderDetail(Struct, frozen=True, omit_defaults=True):
    """`draining`: no instance gets new calls, also none that starts later. `methods` only where they were asked for."""

    name: str
    draining: bool = False
    instances: tuple[ProviderView, ...] = ()
    methods: tuple[MethodView, ...] = ()


class ProtocolDetail(Struct, frozen=True, omit_defaults=True):
    """A protocol with its version, as `llm/v1`."""

    protocol: str
    methods: tuple[MethodView, ...] = ()


class NatsStatus(Struct, frozen=True, omit_defaults=True):
    """None for `url`: the coordinator works without NATS."""

    url: str | None = None
    connected: bool = False


class CoordinatorRow(Struct, frozen=True):
    """One of several that share a journal."""

    instance: str
    url: str
    shards: int
    """How many of them it has."""


class SystemStatus(Struct, frozen=True, omit_defaults=True):
    """`workflows` counts those that the coordinator has in memory, by status. Where several share a journal, `shards`
    are those of this one, and `coordinators` all of them."""

    version: str
    pid: int
    url: str
    uptime_seconds: float = 0.0
    instance: str = ""
    journal: str = ""
    cluster: str = ""
    embedded: bool = False
    draining: bool = False
    nats: NatsStatus | None = None
    workflows: dict[str, int] = {}
    queued: int = 0
    running: int = 0
    providers: int = 0
    shards: tuple[int, ...] = ()
    coordinators: tuple[CoordinatorRow, ...] = ()
    warnings: tuple[str, ...] = ()


class Validation(Struct, frozen=True):
    """`problems` as `gleitzeit.spec.problems.from_wire` reads them; warnings leave a document valid."""

    valid: bool
    problems: tuple[dict[str, Json], ...] = ()


class TaskDifference(Struct, frozen=True):
    """`differs` names what is not the same: method, params, status, result; or missing. `a` and `b` say how it is."""

    task_id: str
    differs: tuple[str, ...]
    a: dict[str, Json] = {}
    b: dict[str, Json] = {}


class Difference(Struct, frozen=True):
    """Of two workflows; `same` counts the tasks that do not differ."""

    a: dict[str, Json]
    b: dict[str, Json]
    tasks: tuple[TaskDifference, ...]
    inputs: dict[str, tuple[Json, Json]] = {}
    same: int = 0
    outputs: bool = False
