"""What the engine has begun and others go on with: calls at providers, questions to the cache, signals for others,
permits that were asked for."""

from collections.abc import Iterable

from msgspec import Struct

from gleitzeit.engine.scheduling.breaker import Circuit
from gleitzeit.engine.state.workflow import Task, Workflow
from gleitzeit.model.definition import TaskDefinition
from gleitzeit.model.events import SignalReceived
from gleitzeit.model.permits import Ask


class Call:
    """One attempt at a provider, from its TaskStarted to its end. Not journaled: rebuilt from the running tasks."""

    __slots__ = (
        "attempt", "circuit", "deadline", "id", "instance", "lent", "lost_at", "method", "params", "probe", "provider",
        "sent", "task", "workflow",
    )  # fmt: skip

    def __init__(self, workflow: Workflow, task: Task, attempt: int, call_id: str) -> None:
        self.workflow = workflow
        self.task = task
        self.attempt = attempt
        self.id = call_id
        self.method = task.definition.method
        self.provider = task.provider
        self.instance = task.instance
        self.params: bytes = b""
        """The request's params with `_meta`, encoded. Who has sent them may drop them: `Engine.params_of` makes them
        again."""
        self.circuit: Circuit | None = None
        """The one it went through, if that has seen a failure; `probe`: while it was half open."""
        self.probe = False
        self.sent = False
        """Whether the request may have left; written by who sends it."""
        self.lent = workflow.meter.lent.get(task.id, 0) if workflow.meter is not None else 0
        """Requests that it may make of a model besides its first, of what its budget leaves."""
        self.deadline: int | None = None
        self.lost_at: int | None = None
        """When the call is given up because nobody has a connection to its provider; None while one has."""

    @property
    def current(self) -> bool:
        """Whether an answer to it may still be recorded."""
        workflow, task = self.workflow, self.task
        return task.state == "running" and task.attempt == self.attempt and not workflow.final and not workflow.disowned


class Lookup(Struct, frozen=True, eq=False):
    """A question to the cache. `definition` is the task's as it was when it was asked."""

    workflow: Workflow
    task: Task
    definition: TaskDefinition
    key: str
    """sha256 in hex"""
    ttl_seconds: float


class Search:
    """Whom the signal of a task that is ready is for: workflows by id or name, or all that wait for it."""

    __slots__ = ("name", "ready_at", "targets", "task", "workflow")

    def __init__(self, workflow: Workflow, task: Task, name: str, targets: tuple[str, ...]) -> None:
        self.workflow = workflow
        self.task = task
        self.name = name
        self.targets = targets
        self.ready_at = task.ready_at

    @property
    def current(self) -> bool:
        """Whether the task still waits for the answer."""
        workflow, task = self.workflow, self.task
        ready = task.state == "ready" and task.ready_at == self.ready_at
        return ready and not workflow.final and not workflow.disowned


class Sending:
    """A signal of a task on its way to workflows that may be another coordinator's. `left`: those that may not have it
    yet; `gone`: those that ended before."""

    __slots__ = ("attempt", "gone", "left", "signal", "task", "workflow")

    def __init__(self, workflow: Workflow, task: Task, signal: SignalReceived, left: Iterable[str]) -> None:
        self.workflow = workflow
        self.task = task
        self.attempt = task.attempt
        self.signal = signal
        self.left = set(left)
        self.gone: set[str] = set()

    @property
    def current(self) -> bool:
        """Whether the task still waits for it."""
        workflow, task = self.workflow, self.task
        return task.state == "waiting" and task.attempt == self.attempt and not workflow.final and not workflow.disowned


class Permit:
    """What a workflow of ours, or a task of one, has asked for: from the asking to the end."""

    __slots__ = ("ask", "dropped", "granted", "task", "workflow")

    def __init__(self, ask: Ask, workflow: Workflow, task: Task | None) -> None:
        self.ask = ask
        self.workflow = workflow
        self.task = task
        """None: it is for the workflow as a whole."""
        self.granted = False
        self.dropped = False
        """Nobody wants it any more: if it comes all the same, it is given back."""
