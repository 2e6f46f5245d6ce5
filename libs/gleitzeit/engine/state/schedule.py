"""One schedule: moved by its facts alone, and able to say when it is due. No clock."""

from collections.abc import Iterable, Iterator

from gleitzeit.errors import InvalidState
from gleitzeit.model import schedules as sc
from gleitzeit.spec.moments import Cron

DAY_MS = 86_400_000


class Schedule:
    """Made of its first ScheduleSet, or of a checkpoint and the last one."""

    __slots__ = (
        "_cron", "created_at", "decided", "definition", "deleted", "fired", "last_fired_at", "last_workflow", "paused",
        "queued", "seq", "set_seq",
    )  # fmt: skip

    def __init__(self, definition: sc.ScheduleDefinition, at: sc.Checkpoint) -> None:
        self.seq = at.seq
        self.set_seq = at.set_seq
        self.created_at = at.created_at
        self.decided = at.decided
        """About every time up to this one something was decided: none of them is due again, whatever the clock says."""
        self.paused = at.paused
        self.deleted = at.deleted
        self.fired = at.fired
        self.queued: list[tuple[int, sc.Cause]] = list(at.queued)
        self.last_workflow = at.last_workflow
        self.last_fired_at = at.last_fired_at
        self._use(definition)

    def _use(self, definition: sc.ScheduleDefinition) -> None:
        self.definition = definition
        self._cron = Cron(definition.cron, definition.timezone) if definition.cron else None

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def final(self) -> bool:
        return self.deleted

    @property
    def status(self) -> str:
        return "deleted" if self.deleted else "paused" if self.paused else "active"

    def checkpoint(self) -> sc.Checkpoint:
        return sc.Checkpoint(
            self.seq, self.set_seq, self.created_at, self.decided, self.paused, self.deleted, self.fired,
            tuple(self.queued), self.last_workflow, self.last_fired_at,
        )  # fmt: skip

    # When

    def next_due(self) -> int | None:
        """The first time about which nothing was decided; None if there is none, or while it is paused."""
        if self.paused or self.deleted:
            return None
        return next(self.due_after(self.decided), None)

    def due_after(self, at: int) -> Iterator[int]:
        """All times it is due after `at`, in order."""
        definition = self.definition
        times = self._cron.after(max(at, definition.start - 1)) if self._cron is not None else self._intervals(at)
        for due in times:
            if definition.end is not None and due > definition.end:
                return
            yield due

    def _intervals(self, at: int) -> Iterator[int]:
        step = max(1, round(self.definition.every_seconds * 1000))
        start = self.definition.start
        number = max(1, (at - start) // step + 1)
        while True:
            yield start + number * step
            number += 1

    def last_due(self, after: int, until: int, number: int) -> list[int]:
        """The last `number` times of those after `after` up to `until`. Looks back as far as it must."""
        window = DAY_MS // 24
        while True:
            first = max(after, until - window)
            found = []
            for due in self.due_after(first):
                if due > until:
                    break
                found.append(due)
            if len(found) >= number or first == after:
                return found[-number:]
            window *= 8

    # Moving

    def apply(self, fact: sc.AnyScheduleFact) -> None:
        """Raises InvalidState, and changes nothing, if the fact does not follow on what was."""
        if self.deleted and not isinstance(fact, sc.ScheduleSet):
            raise InvalidState(f"{type(fact).__name__} after schedule {self.name} was deleted")
        match fact:
            case sc.ScheduleSet():
                self._use(fact.definition)
                self.set_seq = self.seq + 1
                self.deleted = False
                self.decided = max(self.decided, fact.at)
            case sc.ScheduleFired():
                self._fired(fact)
            case sc.ScheduleQueued():
                self.queued.append((fact.due, fact.cause))
                self._decide(fact.due, fact.cause)
            case sc.ScheduleMissed(dequeued=True):
                self._dequeue()
            case sc.ScheduleMissed():
                self.decided = max(self.decided, fact.until)
            case sc.SchedulePaused():
                self.paused = True
            case sc.ScheduleResumed():
                self.paused = False
                self.decided = max(self.decided, fact.at)
            case sc.ScheduleDeleted():
                self.deleted = True
                self.queued.clear()
        self.seq += 1

    def _fired(self, fact: sc.ScheduleFired) -> None:
        if fact.cause == "queued":
            self._dequeue()
        elif fact.due and fact.cause in ("due", "late") and fact.due <= self.decided:
            raise InvalidState(f"schedule {self.name} was due at {fact.due} before")
        self.fired += 1
        self.last_workflow = fact.workflow_id
        self.last_fired_at = fact.at
        self._decide(fact.due, fact.cause)

    def _dequeue(self) -> None:
        if not self.queued:
            raise InvalidState(f"no time of schedule {self.name} waits")
        self.queued.pop(0)

    def _decide(self, due: int, cause: sc.Cause) -> None:
        if cause in ("due", "late"):
            self.decided = max(self.decided, due)


def replay(facts: Iterable[sc.AnyScheduleFact]) -> Schedule:
    """From its stream, whose first is a ScheduleSet."""
    stream = iter(facts)
    first = next(stream, None)
    if not isinstance(first, sc.ScheduleSet):
        raise InvalidState(f"a schedule begins with ScheduleSet, not with {type(first).__name__}")
    schedule = Schedule(first.definition, sc.Checkpoint(0, 0, first.at))
    schedule.apply(first)
    for fact in stream:
        schedule.apply(fact)
    return schedule
