"""The law of schedules, read from the journal alone.

26. For each of its times a schedule starts a workflow at most once, whoever has it and whatever the clocks say: never
    early, in one commit with the workflow, not while it is paused, and not beside another one where it says so. No time
    is passed over without a word. One that was acknowledged is there until it is deleted.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from gleitzeit.engine.decisions.schedules import GRACE_MS
from gleitzeit.engine.engine import Engine
from gleitzeit.engine.state.schedule import Schedule, replay
from gleitzeit.model import events as ev
from gleitzeit.model import schedules as sc
from gleitzeit.model.shards import SCHEDULES

if TYPE_CHECKING:
    from tests.simulation.laws import Durable

_decode = msgspec.json.Decoder(sc.AnyScheduleFact).decode
_ALONE = ("skip", "queue")
"""With these a workflow does not start before the one before it has ended."""


class Breach(Exception):
    def __init__(self, law: int, what: str) -> None:
        super().__init__(what)
        self.law = law


class DurableSchedule:
    def __init__(self, first: sc.ScheduleSet) -> None:
        self.definition = first.definition
        self.facts: list[sc.AnyScheduleFact] = []
        self.at = self.decided = 0
        self.paused = self.deleted = False
        self.queued: list[int] = []
        self.started: dict[int, str] = {}
        """By the time that it stands for: the workflow."""

    @property
    def next(self) -> int:
        """The first of its times about which nothing was said."""
        step, start = round(self.definition.every_seconds * 1000), self.definition.start
        return start + step * max(1, (self.decided - start) // step + 1)


class ScheduleLaws:
    def __init__(self, durable: Mapping[str, "Durable"], counts: dict[str, int]) -> None:
        self.known: dict[str, DurableSchedule] = {}
        """By stream."""
        self._durable = durable
        self._counts = counts
        self._announced: dict[str, tuple[str, int]] = {}
        """Of this commit: workflow -> the schedule that says to have started it, and for which time; """
        self._begun: dict[str, tuple[str, int]] = {}
        """and the same by the words of the workflow."""
        self._alone: list[tuple[str, str]] = []

    def fact(self, stream: str, encoded: bytes, now: int) -> None:
        fact = _decode(encoded)
        known = self.known.get(stream)
        if known is None:
            if not isinstance(fact, sc.ScheduleSet):
                raise Breach(26, f"{stream} begins with {type(fact).__name__}")
            known = self.known[stream] = DurableSchedule(fact)
        if not known.at <= fact.at <= now:
            raise Breach(10, f"{type(fact).__name__} of {stream} says {fact.at}, after {known.at} and at {now}")
        known.at = fact.at
        known.facts.append(fact)
        self._apply(stream, known, fact)

    def _apply(self, stream: str, known: DurableSchedule, fact: sc.AnyScheduleFact) -> None:
        match fact:
            case sc.ScheduleSet():
                known.definition, known.deleted, known.decided = fact.definition, False, max(known.decided, fact.at)
            case sc.ScheduleFired():
                self._fired(stream, known, fact)
            case sc.ScheduleQueued():
                self._is_next(stream, known, fact.due, fact.at)
                known.queued.append(fact.due)
            case sc.ScheduleMissed(dequeued=True):
                known.queued.pop(0)
            case sc.ScheduleMissed():
                latest = fact.at - GRACE_MS if fact.reason == "downtime" else fact.at
                if not known.decided < fact.until <= latest:
                    raise Breach(26, f"{stream} passes over {fact.until} ({fact.reason}) at {fact.at}")
                known.decided = fact.until
            case sc.SchedulePaused():
                known.paused = True
            case sc.ScheduleResumed():
                known.paused, known.decided = False, max(known.decided, fact.at)
            case sc.ScheduleDeleted():
                known.deleted = True
                known.queued.clear()

    def _is_next(self, stream: str, known: DurableSchedule, due: int, at: int) -> None:
        if due > at:
            raise Breach(26, f"{stream} fires at {at} for {due}, which is early")
        if due != known.next:
            raise Breach(26, f"{stream} goes on with {due}, but {known.next} is the next of its times")
        known.decided = due

    def _fired(self, stream: str, known: DurableSchedule, fact: sc.ScheduleFired) -> None:
        self._counts["scheduled"] += 1
        if known.deleted or (known.paused and fact.cause != "triggered"):
            raise Breach(26, f"{stream} fires while it is {'deleted' if known.deleted else 'paused'}")
        if fact.cause == "queued":
            if known.queued[:1] != [fact.due]:
                raise Breach(26, f"{stream} takes {fact.due} from the queue {known.queued}")
            known.queued.pop(0)
        elif fact.cause in ("due", "late"):
            self._is_next(stream, known, fact.due, fact.at)
        if fact.due in known.started:
            raise Breach(26, f"{stream} fires twice for {fact.due}: {known.started[fact.due]} and {fact.workflow_id}")
        if fact.due:
            known.started[fact.due] = fact.workflow_id
        self._announced[fact.workflow_id] = stream, fact.due
        if fact.cause != "triggered" and known.definition.overlap in _ALONE:
            self._alone.append((stream, fact.workflow_id))

    def submitted(self, event: ev.WorkflowSubmitted) -> None:
        if event.origin is not None and event.origin.schedule:
            self._begun[event.workflow_id] = SCHEDULES + event.origin.schedule, event.origin.due

    def committed(self) -> None:
        if self._announced != self._begun:
            raise Breach(26, f"schedules say that they have started {self._announced}; begun has {self._begun}")
        for stream, started in self._alone:
            earlier = [one for one in self.known[stream].started.values() if one != started]
            open_ones = [one for one in earlier if one in self._durable and not self._durable[one].final]
            if open_ones:
                raise Breach(26, f"{stream} starts {started} beside {open_ones}")
        self._announced, self._begun, self._alone = {}, {}, []

    def check_memory(self, engine: Engine) -> None:
        """What the owner knows of schedules is what their streams say; a crash, or another owner, loses none."""
        for stream, known in self.known.items():
            schedule = engine.schedules.get(stream.removeprefix(SCHEDULES))
            if not engine.owns(stream):
                continue
            if known.deleted:
                if schedule is not None:
                    raise Breach(2, f"{stream} was deleted, and goes on")
            elif schedule is None:
                raise Breach(12, f"{stream} is not in memory")
            elif schedule.checkpoint() != _replayed(known).checkpoint():
                raise Breach(3, f"{stream} in memory is not the replay of its stream")


def _replayed(known: DurableSchedule) -> Schedule:
    return replay(known.facts)
