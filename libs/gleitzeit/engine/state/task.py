"""A node of the graph and where it stands; and the items of one that stands for many. Written by `Workflow.apply`."""

from collections.abc import Iterator

from msgspec import Raw, Struct

from gleitzeit import errors
from gleitzeit.model import events as ev
from gleitzeit.model.definition import ForEach, TaskDefinition


class PutOff(Struct, frozen=True):
    """A call that its provider would have let wait until then, so that what the task names besides was called."""

    alternative: int
    place: int
    until: int
    provider: str
    reason: str


class Task:
    """Written by `Workflow.apply` only, but for `models`."""

    __slots__ = (
        "alternative", "approval", "attempt", "bypassed", "cached", "causes", "child", "completed_at", "definition",
        "dependents", "error", "failures", "fan", "id", "index", "instance", "losses", "models", "number", "origin",
        "parent", "place", "provider", "put_off", "queued_at", "ready_at", "refusal", "refusals", "result", "round",
        "sends", "signals", "started_at", "state", "turned_back", "undone", "unmet", "until", "wants_all",
    )  # fmt: skip

    def __init__(
        self,
        definition: TaskDefinition,
        index: int,
        *,
        parent: "Task | None" = None,
        number: int = 0,
        origin: "Task | None" = None,
    ) -> None:
        self.definition = definition
        """With the call that is its turn: once it fell back, the alternative's. An item shares that of its parent."""
        self.parent = parent
        """The `for_each` whose item it is, the one of that `number` (from 0)."""
        self.number = number
        self.origin = origin
        """The task that it undoes."""
        self.id: str = definition.id if parent is None else f"{parent.id}[{number}]"
        if origin is not None:
            self.id = f"{origin.id}[undo]"
        self.fan: Fan | None = None
        """Its items, once it has any."""
        self.alternative = 0
        """Which of the definition's `fallback` that is, from 1; 0 is its own."""
        self.causes: tuple[str, ...] = ()
        """Why the calls before that one have failed, in short."""
        self.cached = False
        """Completed without a call."""
        self.bypassed = False
        """Skipped because it was not wanted, not because something failed."""
        self.undone = False
        """Completed, and being or having been undone."""
        self.index = index
        self.dependents: list[Task] | tuple[()] = ()
        self.state: ev.TaskStatus = "pending"
        self.attempt = 0
        """The number of the latest attempt; it only grows."""
        self.round = 0
        """Of an `until`: how many rounds are over."""
        self.failures = 0
        """Attempts charged to the retry policy since the last retry by hand, and of the current round."""
        self.losses = 0
        """Calls whose provider died under them."""
        self.refusals = 0
        """How often in a row its providers were full, …"""
        self.refusal = ""
        """… and what the last one of them said."""
        self.unmet = 0
        self.result: Raw | None = None
        """Between two rounds that of the round before. That of a task with items is theirs, and not in here."""
        self.error: ev.Failure | None = None
        self.models: tuple[str, ...] = ()
        """What its call asks for, the dearest first; the engine notes them when it queues the task, as providers differ
        in their models."""
        self.place = 0
        """Which of them is next for this attempt: those before it have failed where they are."""
        self.put_off: tuple[PutOff, ...] = ()
        """What was to be waited for, and may still be called."""
        self.turned_back = False
        """Everything that it could call was called; it has come back to what it had put off."""
        self.provider = ""
        self.instance = ""
        self.ready_at = 0
        self.queued_at = 0
        """Since when it wants to start: as `ready_at`, but a provider that was full does not change it."""
        self.started_at = 0
        self.completed_at = 0
        self.until: int | None = None
        self.signals: tuple[str, ...] = ()
        self.wants_all = False
        """It waits for each of the signals."""
        self.sends: tuple[str, ...] = ()
        """The workflows that are to have its signal before it ends."""
        self.child = ""
        """The id of the workflow that its latest attempt has started."""
        self.approval: ev.Approval | None = None
        """What it asks while it waits for a person."""

    def stop_waiting(self) -> None:
        self.until = None
        self.signals = ()
        self.wants_all = False
        self.sends = ()
        self.approval = None

    def what_is_put_off(self, alternative: int, place: int) -> PutOff | None:
        return next((one for one in self.put_off if (one.alternative, one.place) == (alternative, place)), None)

    @property
    def next_put_off(self) -> PutOff | None:
        """That which has to be waited for least."""
        others = [one for one in self.put_off if (one.alternative, one.place) != (self.alternative, self.place)]
        return min(others, key=lambda one: one.until, default=None)

    def leave(self, error: ev.Failure) -> None:
        """Its call, for another one: it is put off if it was not failure but a provider without room for it."""
        others = tuple(one for one in self.put_off if (one.alternative, one.place) != (self.alternative, self.place))
        if self.state == "retrying" and error.code == errors.ProviderBusy.code:
            here = PutOff(self.alternative, self.place, self.until or 0, self.provider, self.refusal)
            others = (*others, here)
        self.put_off = others

    def begin_anew(self) -> None:
        """With a round of its own, or a retry by hand: what has failed may be called again."""
        self.failures = self.losses = self.place = self.refusals = 0
        self.turned_back = False

    @property
    def expands(self) -> bool:
        """Whether it stands for its items and calls nobody itself."""
        return self.parent is None and self.origin is None and self.definition.for_each is not None

    @property
    def item(self) -> "Task | None":
        """The item that it is, or undoes."""
        task = self if self.origin is None else self.origin
        return task if task.parent is not None else None

    @property
    def ended(self) -> bool:
        return self.state in ev.TASK_FINAL


class Fan:
    """The items of a task, and how far they are. So many of them as `max_parallel` says are under way at a time."""

    __slots__ = ("_next", "active", "anew", "failed", "items", "left", "values")

    def __init__(self, items: list[Task]) -> None:
        self.items = items
        self.left = len(items)
        """Have not ended."""
        self.active = 0
        """Are ready, running, waiting or back off."""
        self.failed: Task | None = None
        """The first that failed for good."""
        self.values: list[object] | None = None
        """What `${item}` stands for in each; kept by the engine as long as it is needed, and made again when it is not
        there."""
        self.anew = False
        """The list may be another one by now, so that what completed before does not count."""
        self._next = 0

    def begin(self) -> None:
        """Those that have not completed are about to run, again or for the first time."""
        self.left = sum(not item.ended for item in self.items)
        self.active, self._next, self.failed = 0, 0, None

    def due(self, for_each: ForEach) -> Iterator[Task]:
        """The items that may be released now, in order; each must be, before the next is asked for."""
        most = for_each.max_parallel or len(self.items)
        stops = for_each.on_item_error == "fail"
        while self.active < most and self._next < len(self.items) and not (stops and self.failed is not None):
            item = self.items[self._next]
            self._next += 1
            if item.state == "pending":
                self.active += 1
                yield item

    def end(self, item: Task, *, was_active: bool) -> None:
        self.left -= 1
        self.active -= was_active
        if item.state == "failed" and self.failed is None:
            self.failed = item
