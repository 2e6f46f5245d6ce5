"""Workflows that are started by the clock: each time once, in one commit with the fact that it was."""

import hashlib
from typing import Any

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.decisions.calls import Calls
from gleitzeit.engine.decisions.core import MAX_QUEUED, ScheduleAppend
from gleitzeit.engine.state.schedule import Schedule
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.model import events as ev
from gleitzeit.model import schedules as sc
from gleitzeit.schemas import near

GRACE_MS = 60_000
"""So late a time is not missed, only late."""
MAX_WAITING = 1_000
"""Times that one schedule keeps until the workflow before has ended."""
AGAIN_MS = 5_000
"""When there was no room for the workflow's tasks."""


def scheduled_id(name: str, due: int) -> str:
    """The same schedule and time always make the same workflow."""
    digest = hashlib.sha256(f"{name}\0{due}".encode()).hexdigest()
    return f"wf-s{digest[:24]}"


class Schedules(Calls):
    def adopt_schedule(self, now: int, schedule: Schedule) -> None:
        """Go on with one that was read. What it missed is decided about in the next turn, and whether a time that waits
        can be started: the workflow before it may have ended while this was read."""
        self._now = max(now, self._now)
        self.schedules[schedule.name] = schedule
        self._arm_schedule(schedule)
        self._at(self._now, self._go_on_with_queued, schedule)
        self.more = True

    def _note(self, schedule: Schedule, fact: sc.AnyScheduleFact) -> None:
        append = self._decision.schedules.get(schedule.name)
        if append is None:
            append = self._decision.schedules[schedule.name] = ScheduleAppend(schedule, schedule.seq + 1, [])
        schedule.apply(fact)
        append.facts.append(fact)

    def under_way(self, schedule: Schedule) -> list[str]:
        """The ids of its workflows that have not ended."""
        return list(self._scheduled.get(schedule.name, ()))

    # The clock

    def _arm_schedule(self, schedule: Schedule) -> None:
        due = schedule.next_due()
        if due is not None:
            self._at_wall(due, self._schedule_due, schedule, due)

    def _schedule_due(self, schedule: Schedule, due: int) -> None:
        if schedule.next_due() != due or self.schedules.get(schedule.name) is not schedule:
            return  # it was changed meanwhile
        if self._overloaded(schedule):
            self._at(self._now + AGAIN_MS, self._schedule_due, schedule, due)
            return
        self._make_up(schedule)
        while (due_now := schedule.next_due()) is not None and due_now <= self._wall:
            self._fire(schedule, due_now, "due")
        self._arm_schedule(schedule)

    def _overloaded(self, schedule: Schedule) -> bool:
        return self.scheduler.queued + len(schedule.definition.definition.tasks) > MAX_QUEUED

    def _make_up(self, schedule: Schedule) -> None:
        """For times that were missed while nothing ran, what its policy says."""
        until = self._wall - GRACE_MS
        policy = schedule.definition.catch_up
        number = schedule.definition.catch_up_limit if policy == "all" else 1
        missed = schedule.last_due(schedule.decided, until, number)
        if not missed:
            return
        if policy == "none":
            self._note(schedule, sc.ScheduleMissed(self._wall, missed[-1], "downtime"))
            return
        if next(schedule.due_after(schedule.decided)) < missed[0]:
            self._note(schedule, sc.ScheduleMissed(self._wall, missed[0] - 1, "downtime"))
        for due in missed:
            self._fire(schedule, due, "late")

    def _fire(self, schedule: Schedule, due: int, cause: sc.Cause) -> None:
        """Start a workflow for a time, or what else the schedule says while one is under way."""
        overlap = schedule.definition.overlap
        running = self.under_way(schedule)
        if running and overlap == "skip" and cause != "backfill":
            self._note(schedule, sc.ScheduleMissed(self._wall, due, "overlap"))
        elif (running or schedule.queued) and (overlap == "queue" or (cause == "backfill" and overlap != "allow")):
            if len(schedule.queued) < MAX_WAITING:
                self._note(schedule, sc.ScheduleQueued(self._wall, due, cause))
            else:
                self._note(schedule, sc.ScheduleMissed(self._wall, due, "queue_full"))
        else:
            if overlap == "cancel_running":
                for workflow in map(self.workflows.__getitem__, running):
                    if workflow.closing is None:  # else it ends already, and what runs at its end is not cut short
                        self._cancel_workflow(workflow, f"schedule {schedule.name} starts the next one")
            self._start_scheduled(schedule, due, cause)

    def _start_scheduled(self, schedule: Schedule, due: int, cause: sc.Cause, workflow_id: str = "") -> Workflow | None:
        workflow_id = workflow_id or scheduled_id(schedule.name, due)
        if workflow_id in self.workflows:  # of a schedule of this name that was deleted and made again
            self._note(schedule, sc.ScheduleMissed(self._wall, due, "known"))
            return None
        self._note(schedule, sc.ScheduleFired(self._wall, due, workflow_id, cause))
        what = schedule.definition
        origin = ev.Origin(template=what.template, schedule=schedule.name, due=due)
        workflow = self._create(
            ev.WorkflowSubmitted(self._now, workflow_id, what.definition, what.inputs, origin=origin)
        )
        self._scheduled.setdefault(schedule.name, {})[workflow_id] = None
        return workflow

    def _follow(self, workflow: Workflow, event: ev.AnyEvent) -> None:
        super()._follow(workflow, event)
        origin = workflow.submitted.origin
        if origin is None or not origin.schedule:
            return
        running = self._scheduled.get(origin.schedule, {})
        if not workflow.final:
            if isinstance(event, ev.WorkflowRetried):
                self._scheduled.setdefault(origin.schedule, {})[workflow.id] = None
            return
        running.pop(workflow.id, None)
        schedule = self.schedules.get(origin.schedule)
        if schedule is not None and not running:
            self._start_queued(schedule)

    def _start_queued(self, schedule: Schedule) -> None:
        while schedule.queued and not schedule.paused and not self.under_way(schedule):
            due, _ = schedule.queued[0]
            workflow_id = scheduled_id(schedule.name, due)
            if workflow_id in self.workflows:
                self._note(schedule, sc.ScheduleMissed(self._wall, due, "known", dequeued=True))
            else:
                self._start_scheduled(schedule, due, "queued")

    def _go_on_with_queued(self, schedule: Schedule) -> None:
        if self.schedules.get(schedule.name) is schedule:
            self._start_queued(schedule)

    # Requests

    def _put_schedule(self, item: inp.PutSchedule) -> None:
        schedule = self.schedules.get(item.definition.name)
        if schedule is None:
            before = item.before or sc.Checkpoint(0, 0, self._wall)
            schedule = self.schedules[item.definition.name] = Schedule(item.definition, before)
        self._note(schedule, sc.ScheduleSet(self._wall, item.definition))
        if item.paused is not None and item.paused != schedule.paused:
            self._note(schedule, sc.SchedulePaused(self._wall) if item.paused else sc.ScheduleResumed(self._wall))
        self._arm_schedule(schedule)
        self._answer_schedule(item.token, schedule)

    def _change_schedule(self, item: inp.ChangeSchedule) -> None:
        schedule = self._known_schedule(item.token, item.name)
        if schedule is None:
            return
        match item.what:
            case "pause" if not schedule.paused:
                self._note(schedule, sc.SchedulePaused(self._wall))
            case "resume" if schedule.paused:
                self._note(schedule, sc.ScheduleResumed(self._wall))
                self._arm_schedule(schedule)
                self._start_queued(schedule)
            case "delete":
                self._note(schedule, sc.ScheduleDeleted(self._wall))
                del self.schedules[item.name]
        self._answer_schedule(item.token, schedule)

    def _trigger(self, item: inp.Trigger) -> None:
        """By hand: at once, whatever else is under way, and also while it is paused."""
        schedule = self._known_schedule(item.token, item.name)
        if schedule is None:
            return
        if item.known_is_fine and (known := self.workflows.get(item.workflow_id)) is not None:
            self._decision.answers.append(fx.Answer(item.token, known, created=False, schedule=schedule))
            return
        if self._overloaded(schedule):
            message = f"{self.scheduler.queued} tasks are queued; the limit is {MAX_QUEUED}"
            self._refuse(item.token, errors.Overloaded(message, {"retryAfterSeconds": 5}))
            return
        workflow = self._start_scheduled(schedule, 0, "triggered", item.workflow_id)
        self._answer_schedule(item.token, schedule, workflow)

    def _backfill(self, item: inp.Backfill) -> None:
        """Times of the past, as if they were due now: one after the other, unless they may overlap."""
        schedule = self._known_schedule(item.token, item.name)
        if schedule is None:
            return
        if len(schedule.queued) + len(item.dues) > MAX_WAITING:
            message = f"schedule {item.name} keeps at most {MAX_WAITING:,} times; {len(schedule.queued):,} wait already"
            self._refuse(item.token, errors.ResourceExhausted(message))
            return
        waiting = {due for due, _ in schedule.queued}
        for due in item.dues:
            if due not in waiting and scheduled_id(schedule.name, due) not in self.workflows:
                self._fire(schedule, due, "backfill")
        self._answer_schedule(item.token, schedule)

    def _known_schedule(self, token: Any, name: str) -> Schedule | None:
        schedule = self.schedules.get(name)
        if schedule is None:
            self._refuse(token, schedule_not_found(name, list(self.schedules)))
        return schedule

    def _answer_schedule(self, token: Any, schedule: Schedule, workflow: Workflow | None = None) -> None:
        self._decision.answers.append(fx.Answer(token, workflow, schedule=schedule))


def schedule_not_found(name: str, known: list[str]) -> errors.ScheduleNotFound:
    meant = near(name, known)
    there = ", ".join(sorted(known)[:10])
    more = f" (did you mean '{meant}'?)" if meant else f"; there are {there}" if known else "; there is none yet"
    return errors.ScheduleNotFound(f"there is no schedule {name!r}{more}", {"schedule": name, "suggestion": meant})
