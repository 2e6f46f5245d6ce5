"""What every decision is made of: events recorded, effects asked for, timers set, looks into large values awaited."""

import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Raw, Struct

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions import inner
from gleitzeit.engine.decisions.blobs import BlobNeeded, Looks
from gleitzeit.engine.decisions.params import CallParams, Identity
from gleitzeit.engine.decisions.timers import Callback, Timers
from gleitzeit.engine.scheduling.grouping import FLOW
from gleitzeit.engine.scheduling.permits import Limit
from gleitzeit.engine.scheduling.pools import Share
from gleitzeit.engine.scheduling.scheduler import Scheduler
from gleitzeit.engine.scheduling.turns import Turns
from gleitzeit.engine.state.population import Population
from gleitzeit.engine.state.schedule import Schedule
from gleitzeit.engine.state.workflow import Task, Workflow
from gleitzeit.engine.underway import Call, Permit
from gleitzeit.model import events as ev
from gleitzeit.model.blobs import Look
from gleitzeit.model.permits import Grant, Held
from gleitzeit.model.schedules import AnyScheduleFact
from gleitzeit.schemas import Catalogue

COORDINATOR = "coordinator"
"""The roster's name for the engine itself, which serves the methods whose schema says `x-runs: coordinator`."""
LOST_CODE = -30005  # of an unhealthy provider
MAX_QUEUED = 1_000_000
SETTLED = 2_000
"""So many tasks are queued in one turn, or events follow from others, or workflows are looked at: others wait for its
end."""
AT_ONCE = 1_000
"""A workflow of which no more tasks are under way ends in one commit."""


class Append(Struct):
    """`events` for the stream of `workflow`; the first of them has the number `seq`."""

    workflow: Workflow
    seq: int
    events: list[ev.AnyEvent]


class ScheduleAppend(Struct):
    """`facts` for the stream of `schedule`; the first of them has the number `seq`."""

    schedule: Schedule
    seq: int
    facts: list[AnyScheduleFact]


class Decision:
    """`appends` by workflow, `schedules` by the name of the schedule, and `limits` whose permits others hold now: all
    of them are one commit."""

    __slots__ = ("answers", "appends", "effects", "limits", "schedules")

    def __init__(self) -> None:
        self.appends: dict[str, Append] = {}
        self.schedules: dict[str, ScheduleAppend] = {}
        self.limits: list[Held] = []
        self.effects: list[fx.Effect] = []
        self.answers: list[fx.Answer] = []


def call_id(workflow_id: str, task_id: str, attempt: int) -> str:
    """`<workflow_id>/<task_id>/<attempt>`, each percent-encoded."""
    return f"{urllib.parse.quote(workflow_id, safe='')}/{urllib.parse.quote(task_id, safe='')}/{attempt}"


def failure(error: errors.GleitzeitError) -> ev.Failure:
    return ev.Failure(error.code, error.message, error.name, ev.NULL, error.retryable)


def call_lost(message: str, data: Raw = ev.NULL) -> ev.Failure:
    return ev.Failure(LOST_CODE, message, "CALL_LOST", data)


def to_ms(seconds: float) -> int:
    return round(seconds * 1000)


class Core:
    def __init__(self, catalogue: Catalogue, identity: Identity) -> None:
        self.catalogue = catalogue
        """Replace it when providers describe more methods."""
        self.workflows = Population()
        self.calls: dict[str, Call] = {}
        self.schedules: dict[str, Schedule] = {}
        """Those that are not deleted, by name."""
        self._identity = identity
        self._shared = identity.shards > 1
        """Other coordinators may work on the same journal."""
        self._limits: dict[str, Limit] = {}
        """Whose permits are ours to give, by name: those of which there is one that holds or waits."""
        self._limits_changed: dict[str, Limit] = {}
        self._looks = False
        """A time is set to look after what others hold."""
        self._permits: dict[str, Permit] = {}
        """What workflows and tasks of ours hold or wait for, by holder."""
        self._permit_of: dict[Task | Workflow, Permit] = {}
        self._moved: dict[str, dict[str, Grant]] = {}
        """By limit, who held its permits before this turn, if that has changed in it."""
        self._were_held: dict[str, bool] = {}
        """Workflows that somebody has held or let go in this turn: whether they were held before."""
        self._resumed: dict[str, Call] = {}
        """By id, calls under way that go on when their workflow is adopted anew."""
        self._asked: dict[str, Turns[Permit, Permit]] = {}
        """By limit whose permits another coordinator keeps: what it has been asked for, …"""
        self._unasked: dict[str, Turns[Permit, Permit]] = {}
        """… and what it will be asked for when it has answered."""
        self._ask_count = 0
        self._shares: dict[str, Share] = {}
        """Of the places at foreign providers that other coordinators may call too, by url."""
        self._found: dict[Task, tuple[int, inp.TargetsFound]] = {}
        """When it was found whom the signal of a task is for that is about to begin, and what."""
        self._unadmitted: list[Workflow] = []
        """Adopted ones that have a concurrency key."""
        self._scheduled: dict[str, dict[str, None]] = {}
        """The workflows of each schedule that have not ended."""
        self.scheduler = Scheduler()
        self.scheduler.provider_ready(
            inp.ProviderReady(COORDINATOR, COORDINATOR, frozenset({*inner.METHODS, FLOW}), capacity=MAX_QUEUED)
        )
        self.more = False
        """Decide again at once: this turn ended at its limit, not for want of work."""
        self._wake_at: int | None = None
        """When something may start that a circuit or a budget holds back."""
        self.draining = False
        """Start nothing more."""
        self.owns: Callable[[str], bool] = lambda workflow_id: True
        """Whether a workflow of this id is ours to make: where several coordinators share a journal, some are not."""
        self.let_go: Callable[[Workflow], None] = lambda workflow: None
        """Hears of a workflow that the engine needs no more: what is large is not to be freed at once."""
        self._seen: set[str] = set()
        """Instances that discovery knows of and nobody has found dead: a namesake of theirs is no successor."""
        self._blobs = Looks()
        self._when_looked: dict[Look, list[tuple[Callable[..., None], tuple[Any, ...]]]] = {}
        """What goes on when a look into a blob is answered."""
        self._loads: dict[Task, Counter[Look]] = {}
        """Of tasks that wait for blobs: how often each was asked for."""
        self._params = CallParams(identity, lambda: self.catalogue, self._blobs.value)
        self._lease_ms = to_ms(identity.lease_seconds)
        self._timers, self._wall_timers = Timers(), Timers()
        self.ahead_ms = 0
        """By how much the machine's clock has been set forward, which `now` does not follow; written by who decides. A
        time after which something is due does not change by that, one at which it is due does."""
        self._budgets: dict[str, int] = {}
        """By workflow: when to look whether it has used up its seconds."""
        self._started_bytes = 0
        self._touched: dict[str, Workflow] = {}
        self.settled, self.at_once = SETTLED, AT_ONCE
        self._room = 0
        """What is left of `settled` in this turn."""
        self._sweeps: dict[str, list[Iterator[None]]] = {}
        """By workflow: what follows from its events in more steps than a turn had room for."""
        self._stopping: dict[str, bool] = {}
        """Workflows that start nothing any more; True: but what runs always."""
        self._askers: dict[str, list[Any]] = {}
        """By workflow: whom to answer when its sweeps are over."""
        self._decision = Decision()
        self._carried = Decision()
        """What the next one begins with."""
        self._now = 0

    @property
    def shards(self) -> int:
        """Of the journal."""
        return self._identity.shards

    # Recording

    def _record(self, workflow: Workflow, event: ev.AnyEvent) -> None:
        seq = workflow.seq + 1
        workflow.apply(event)
        self._applied(workflow, event, seq)
        if workflow.meter is not None:  # what was lent to a call is there for others when it has ended
            self.scheduler.unpark(workflow)

    def _applied(self, workflow: Workflow, event: ev.AnyEvent, seq: int) -> None:
        """What has been applied is part of the commit, as the event of that number."""
        append = self._decision.appends.get(workflow.id)
        if append is None:
            append = self._decision.appends[workflow.id] = Append(workflow, seq, [])
        append.events.append(event)
        self._touched[workflow.id] = workflow
        self._follow(workflow, event)

    def _follow(self, workflow: Workflow, event: ev.AnyEvent) -> None:
        """What an event of one workflow means for others, to be decided in the same commit."""

    def _effect(self, effect: fx.Effect) -> None:
        self._decision.effects.append(effect)

    def _answer(self, token: Any, workflow: Workflow, *, created: bool = True, tasks: tuple[str, ...] = ()) -> None:
        self._decision.answers.append(fx.Answer(token, workflow, created, tasks))

    def _refuse(self, token: Any, error: errors.GleitzeitError) -> None:
        self._decision.answers.append(fx.Answer(token, error=error))

    def _at(self, when: int, callback: Callback, *arguments: Any) -> None:
        self._timers.add(when, callback, arguments)

    def _at_wall(self, when: int, callback: Callback, *arguments: Any) -> None:
        """When the machine's clock says so: for times that a person has named."""
        self._wall_timers.add(when, callback, arguments)

    @property
    def _wall(self) -> int:
        return self._now + self.ahead_ms

    # Blobs

    def _await_blob(self, needed: BlobNeeded, callback: Callable[..., None], *arguments: Any) -> None:
        """Have it looked into, and call back then."""
        waiting = self._when_looked.setdefault(needed.look, [])
        if not waiting:
            self._effect(fx.LookInto(needed.look))
        waiting.append((callback, arguments))

    def _looked_into(self, item: inp.LookedInto) -> None:
        if item.problem is not None:
            self._blobs.add_problem(item.look, item.problem)
        else:
            self._blobs.add(item.look, item.value, item.size_bytes)
        for callback, arguments in self._when_looked.pop(item.look, ()):
            if not (isinstance(arguments[0], Workflow) and arguments[0].disowned):
                callback(*arguments)

    def _note_held(self, workflow: Workflow) -> None:
        """Before that changes."""
        self._were_held.setdefault(workflow.id, workflow.id in self.scheduler.held)

    def _touch(self, workflow: Workflow) -> None:
        self._touched[workflow.id] = workflow
