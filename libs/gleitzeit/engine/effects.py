"""What the engine is told (inputs), and what it asks of the shell (effects). No effect is performed before the
events decided with it are durable."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from msgspec import Raw, Struct

from gleitzeit.engine.breaker import Circuit
from gleitzeit.engine.permits import Permit
from gleitzeit.engine.schedule import Schedule
from gleitzeit.engine.workflow import Task, Workflow
from gleitzeit.errors import GleitzeitError
from gleitzeit.model.blobs import Look
from gleitzeit.model.definition import Definition, TaskDefinition
from gleitzeit.model.events import Origin, SignalReceived, WorkflowRetried, WorkflowSubmitted
from gleitzeit.model.permits import Ask, Held, HeldPermit
from gleitzeit.model.places import Report
from gleitzeit.model.schedules import Checkpoint, ScheduleDefinition
from gleitzeit.model.targets import Target


class Call:
    """One attempt at a provider, from its TaskStarted to its end. Not journaled: rebuilt from the running tasks."""

    __slots__ = (
        "attempt", "circuit", "deadline", "id", "instance", "lost_at", "method", "params", "probe", "provider", "sent",
        "task", "workflow",
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


# Inputs: requests. `token` comes back in the Answer.


class Submit(Struct, frozen=True):
    token: Any
    workflow_id: str
    definition: Definition
    inputs: Raw
    idempotency_key: str = ""
    body_sha256: str = ""
    held: bool = False
    origin: Origin | None = None
    source: Workflow | None = None
    """The workflow that it runs again."""
    built: Workflow | None = None
    """It, if it was too large to be built in a turn."""

    def event(self, at: int) -> WorkflowSubmitted:
        return WorkflowSubmitted(
            at, self.workflow_id, self.definition, self.inputs, self.idempotency_key, self.body_sha256, self.origin
        )


class Cancel(Struct, frozen=True):
    token: Any
    workflow_id: str
    reason: str = ""


class Pause(Struct, frozen=True):
    token: Any
    workflow_id: str


class Resume(Struct, frozen=True):
    """Lifts a pause and a hold."""

    token: Any
    workflow_id: str


class Hold(Struct, frozen=True):
    """Start nothing more of it until somebody resumes it, or until the next `gz up`. Not journaled."""

    token: Any
    workflow_id: str


class Retry(Struct, frozen=True):
    """`tasks` empty: all that did not complete."""

    token: Any
    workflow_id: str
    tasks: tuple[str, ...] = ()
    changed: Workflow | None = None
    """It, to which `event` is applied already: it was too large for that to be done in a turn."""
    event: WorkflowRetried | None = None


class Signal(Struct, frozen=True):
    token: Any
    workflow_id: str
    name: str
    payload: Raw
    sender: str = ""
    idempotency_key: str = ""
    body_sha256: str = ""


class Complete(Struct, frozen=True):
    """A person's answer to a task that asks for one. With `attempt` it is for that one only."""

    token: Any
    workflow_id: str
    task: str
    approved: bool
    values: Raw
    comment: str = ""
    by: str = ""
    attempt: int | None = None


class PutSchedule(Struct, frozen=True):
    """Make or change one. `before` is where one of this name stood when it was deleted; `paused` None: as it is."""

    token: Any
    definition: ScheduleDefinition
    before: Checkpoint | None = None
    paused: bool | None = None


class ChangeSchedule(Struct, frozen=True):
    token: Any
    name: str
    what: Literal["pause", "resume", "delete"]


class Trigger(Struct, frozen=True):
    """Start a workflow of the schedule now. `workflow_id` is a new one, or (`known_is_fine`) that of an idempotency
    key, whose workflow may have been started before."""

    token: Any
    name: str
    workflow_id: str
    known_is_fine: bool = False


class Backfill(Struct, frozen=True):
    """Start workflows for times of the past (UTC milliseconds) for which none was ever started."""

    token: Any
    name: str
    dues: tuple[int, ...]


# Inputs: whose workflows are whose


class Adopt(Struct, frozen=True, eq=False):
    """These workflows, as replayed, are ours from now on, and so are the permits of these keys."""

    token: Any
    workflows: tuple[Workflow, ...]
    limits: tuple[Held, ...] = ()


class Disown(Struct, frozen=True, eq=False):
    """The workflows whose id `wanted` says are another coordinator's: forget them without a word to anybody. They may
    be let go once it is answered."""

    token: Any
    wanted: Callable[[str], bool]


# Inputs: permits of keys, between coordinators


class TakePermit(Struct, frozen=True):
    """Another coordinator asks for one that is ours to give. Answered when it is its turn, with a verdict."""

    token: Any
    ask: Ask


class ReturnPermits(Struct, frozen=True):
    """They are free again; said at least once. Without a token it is our own word, which may be for another by now."""

    token: Any
    permits: tuple[HeldPermit, ...]


class CheckPermits(Struct, frozen=True):
    """Who keeps these asks whether workflows of ours know of them. The answer has those that do not; who holds one that
    has to make room, ends."""

    token: Any
    permits: tuple[HeldPermit, ...]


class PermitsGone(Struct, frozen=True):
    """The answer to an AskAfterPermits, by those who have the workflows, with the epochs of their shards."""

    permits: tuple[HeldPermit, ...]


class PermitAnswered(Struct, frozen=True):
    """The answer to an AskPermit. "here": the permits of its key are ours to give by now. "dropped": nobody wants it,
    and it was not granted as far as we know."""

    permit: Permit
    verdict: Literal["granted", "reached", "replaced", "here", "dropped"]


# Inputs: places at foreign providers, between coordinators


class PlacesGiven(Struct, frozen=True):
    """The answer to an AskPlaces, by the coordinator at `given_by`: so many calls may be there at once. None: nobody
    answered; ask again."""

    url: str
    places: int | None = None
    given_by: str = ""


class PlacesWanted(Struct, frozen=True):
    """Who gives out the places at this url wants a report."""

    url: str


# Inputs: signals of tasks, between coordinators


class TargetsFound(Struct, frozen=True):
    """The answer to a FindTargets, of all coordinators; nothing if nobody wants to know any more."""

    search: Search
    found: tuple[Target, ...]


class SignalSent(Struct, frozen=True):
    """One of the targets of a SendSignal has it durably, or with `error` will not have it."""

    sending: Sending
    target: str
    error: GleitzeitError | None = None


# Inputs: what came of calls, and of providers


class CallCompleted(Struct, frozen=True):
    call: Call
    result: Raw


class CallFailed(Struct, frozen=True):
    call: Call
    code: int
    message: str
    data: Raw | None = None


class CallNotStarted(Struct, frozen=True):
    """The provider refused it before it began: busy, draining, or another instance than addressed."""

    call: Call
    reason: str
    retry_after_seconds: float | None = None
    name: str = ""
    """Of the error, if it has one of its own: LLM_RATE_LIMITED."""


class CallUnknown(Struct, frozen=True):
    """The answer to an attach: the provider has never heard of it. `instance` is the one that answered."""

    call: Call
    instance: str


class LookedUp(Struct, frozen=True):
    """The answer to a LookUp; `result` None if nothing young enough is kept."""

    lookup: Lookup
    result: Raw | None = None
    stored_at: int = 0


class LookedInto(Struct, frozen=True):
    """The answer to a LookInto: what was found, of `size_bytes` as JSON, or Missing; or why it cannot be had."""

    look: Look
    value: object = None
    size_bytes: int = 0
    problem: GleitzeitError | None = None


class ProviderSeen(Struct, frozen=True):
    """Discovery says that this instance exists; whether it can be reached remains to be seen."""

    instance: str


class ProviderReady(Struct, frozen=True):
    """Its socket works and its methods are known. Sent again when they change."""

    name: str
    instance: str
    methods: frozenset[str]
    capacity: int
    models: frozenset[str] = frozenset()
    """Those that it holds; empty where it does not say, or has none."""
    foreign: str = ""
    """Its url, if it keeps no table of calls (`calls: v1`), nor its capacity."""


class ProviderDown(Struct, frozen=True):
    """Its socket is closed. `gone`: the process is known to be dead, so nothing of it can still run. `reason` is what
    the side said that closed it; `too_large`: a message did not fit into a frame."""

    instance: str
    gone: bool = False
    reason: str = ""
    too_large: bool = False


class ProviderDraining(Struct, frozen=True):
    """It takes nothing more, by its own word: it is about to end."""

    instance: str


class ProvidersDrained(Struct, frozen=True):
    """All that get nothing more by an operator's word, in place of what was said before: providers by name, and single
    instances."""

    names: frozenset[str] = frozenset()
    instances: frozenset[str] = frozenset()


Input = (
    Submit | Cancel | Pause | Resume | Hold | Retry | Signal | Complete | Adopt | Disown
    | PutSchedule | ChangeSchedule | Trigger | Backfill
    | TakePermit | ReturnPermits | CheckPermits | PermitsGone | PermitAnswered | TargetsFound | SignalSent
    | PlacesGiven | PlacesWanted
    | CallCompleted | CallFailed | CallNotStarted | CallUnknown | LookedUp | LookedInto
    | ProviderSeen | ProviderReady | ProviderDown | ProviderDraining | ProvidersDrained
)  # fmt: skip


# Effects


class CallProvider(Struct, frozen=True):
    call: Call


class AttachCall(Struct, frozen=True):
    call: Call


class CancelCall(Struct, frozen=True):
    call: Call
    reason: str


class AckCall(Struct, frozen=True):
    """Its outcome is durable, or will never matter: the provider may forget it."""

    call: Call


class LookUp(Struct, frozen=True):
    """Answer it with LookedUp, in any case: the task waits for it."""

    lookup: Lookup


class KeepResult(Struct, frozen=True):
    """Into the cache, for `ttl_seconds` from `at` (UTC milliseconds) on."""

    key: str
    method: str
    result: Raw
    at: int
    ttl_seconds: float


class LookInto(Struct, frozen=True):
    """A blob. Answer it with LookedInto, in any case: something waits for it."""

    look: Look


class AskPermit(Struct, frozen=True):
    """Of the coordinator that keeps the permits of the key, whoever that is, until it answers or nobody wants it any
    more: PermitAnswered, in any case."""

    permit: Permit


class ReturnPermit(Struct, frozen=True):
    """Say so to the coordinator that keeps the permits of its key."""

    permit: HeldPermit


class AskAfterPermits(Struct, frozen=True):
    """Of the coordinators that have the holders' workflows; answer with PermitsGone what they know nothing of."""

    permits: tuple[HeldPermit, ...]


class AskPlaces(Struct, frozen=True):
    """Of the coordinator that gives them out: PlacesGiven, in any case."""

    report: Report


class FindTargets(Struct, frozen=True):
    """Ask all coordinators, this one too, until each shard has been answered for: TargetsFound, in any case."""

    search: Search


class SendSignal(Struct, frozen=True):
    """To each target, until it has it or refuses it, or the sending is not current any more: SignalSent for each."""

    sending: Sending
    targets: tuple[str, ...]


class Answer(Struct, frozen=True):
    """`error` is to be raised at the one who asked, else `workflow` is what it was about. `verdict` and `permits` are
    for other coordinators."""

    token: Any
    workflow: Workflow | None = None
    created: bool = True
    tasks: Sequence[str] = ()
    error: GleitzeitError | None = None
    schedule: Schedule | None = None
    verdict: str = ""
    permits: tuple[HeldPermit, ...] = ()


Effect = (
    CallProvider | AttachCall | CancelCall | AckCall | LookUp | KeepResult | LookInto
    | AskPermit | ReturnPermit | AskAfterPermits | AskPlaces | FindTargets | SendSignal
)  # fmt: skip
ForOthers = AskPermit | ReturnPermit | AskAfterPermits | AskPlaces | FindTargets | SendSignal
"""What is for other coordinators."""
