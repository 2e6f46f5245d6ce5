"""What the engine asks of the shell. No effect is performed before the events decided with it are durable."""

from collections.abc import Sequence
from typing import Any

from msgspec import Raw, Struct

from gleitzeit.engine.state.schedule import Schedule
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.engine.underway import Call, Lookup, Permit, Search, Sending
from gleitzeit.errors import GleitzeitError
from gleitzeit.model.blobs import Look
from gleitzeit.model.permits import HeldPermit
from gleitzeit.model.places import Report


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
