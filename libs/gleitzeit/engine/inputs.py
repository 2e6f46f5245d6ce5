"""What the engine is told: by clients, by other coordinators, by providers. Each becomes events, and effects."""

from collections.abc import Callable, Collection
from typing import Any, Literal

from msgspec import Raw, Struct

from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.engine.underway import Call, Lookup, Permit, Search, Sending
from gleitzeit.errors import GleitzeitError
from gleitzeit.model.blobs import Look
from gleitzeit.model.definition import Definition
from gleitzeit.model.events import Origin, WorkflowRetried, WorkflowSubmitted
from gleitzeit.model.permits import Ask, Held, HeldPermit
from gleitzeit.model.schedules import Checkpoint, ScheduleDefinition
from gleitzeit.model.targets import Target

# Requests. `token` comes back in the Answer.


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
    traceparent: str = ""

    def event(self, at: int) -> WorkflowSubmitted:
        return WorkflowSubmitted(
            at,
            self.workflow_id,
            self.definition,
            self.inputs,
            self.idempotency_key,
            self.body_sha256,
            self.origin,
            self.traceparent,
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


# Whose workflows are whose


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
    names: Collection[str] | None = None
    """Only these are looked at; None: all …"""
    known: Collection[str] = frozenset()
    """… but for these, which somebody has looked at: to ask about 100,000 takes as long as many turns."""


# Permits of keys, between coordinators


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


# Places at foreign providers, between coordinators


class PlacesGiven(Struct, frozen=True):
    """The answer to an AskPlaces, by the coordinator at `given_by`: so many calls may be there at once. None: nobody
    answered; ask again."""

    url: str
    places: int | None = None
    given_by: str = ""


class PlacesWanted(Struct, frozen=True):
    """Who gives out the places at this url wants a report."""

    url: str


# Signals of tasks, between coordinators


class TargetsFound(Struct, frozen=True):
    """The answer to a FindTargets, of all coordinators; nothing if nobody wants to know any more."""

    search: Search
    found: tuple[Target, ...]


class SignalSent(Struct, frozen=True):
    """One of the targets of a SendSignal has it durably, or with `error` will not have it."""

    sending: Sending
    target: str
    error: GleitzeitError | None = None


# What came of calls, and of providers


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
    tokens: int = 0
    """That it has cost nevertheless: one of several models had answered, and wrongly."""
    calls: int = 0
    """Likewise."""


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
