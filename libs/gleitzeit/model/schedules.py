"""A schedule as it is stored, and the facts of its stream, `$schedule/<name>`. Times are UTC milliseconds."""

from typing import Literal

from msgspec import Raw, Struct

from gleitzeit.model.definition import Definition

Overlap = Literal["skip", "queue", "cancel_running", "allow"]
CatchUp = Literal["none", "one", "all"]
Cause = Literal["due", "late", "queued", "triggered", "backfill"]
Reason = Literal["overlap", "downtime", "queue_full", "known"]


class ScheduleDefinition(Struct, frozen=True, omit_defaults=True):
    """When which workflow is started. Either `cron`, by the clock of `timezone`, or `every_seconds` from `start` on."""

    name: str
    definition: Definition
    inputs: Raw = Raw(b"{}")
    cron: str = ""
    every_seconds: float = 0.0
    timezone: str = "UTC"
    start: int = 0
    """Not due before; of an interval, what it is counted from."""
    end: int | None = None
    """Not due after."""
    overlap: Overlap = "skip"
    """What happens while a workflow of this schedule is under way when the next one is due."""
    catch_up: CatchUp = "one"
    """What happens to times that were missed because nothing ran: nothing, the last one, or all."""
    catch_up_limit: int = 100
    """At most so many of them, the latest ones."""
    description: str = ""
    template: str = ""
    """`name@version`, if the definition is of a template."""
    follows: str = ""
    """The template whose newest version is always meant."""


class ScheduleFact(Struct, frozen=True, omit_defaults=True, tag_field="type", tag=True):
    """`at` is when it was decided, in UTC milliseconds."""

    at: int


class ScheduleSet(ScheduleFact, frozen=True, omit_defaults=True, tag=True):
    """Made or changed. Times before it are none of its business."""

    definition: ScheduleDefinition


class ScheduleFired(ScheduleFact, frozen=True, omit_defaults=True, tag=True):
    """In one commit with the WorkflowSubmitted. `due` is the time that it stands for, 0 if it was triggered by hand."""

    due: int
    workflow_id: str
    cause: Cause = "due"


class ScheduleQueued(ScheduleFact, frozen=True, omit_defaults=True, tag=True):
    """The workflow before has not ended: this one starts after it. `due` is the time that it stands for."""

    due: int
    cause: Cause = "due"


class ScheduleMissed(ScheduleFact, frozen=True, omit_defaults=True, tag=True):
    """Nothing is started for the times up to `until` that nothing was decided about before."""

    until: int
    reason: Reason
    dequeued: bool = False
    """It was the first of those that were queued."""


class SchedulePaused(ScheduleFact, frozen=True, omit_defaults=True, tag=True):
    """Nothing is started by it any more."""


class ScheduleResumed(ScheduleFact, frozen=True, omit_defaults=True, tag=True):
    """The times that passed meanwhile are none of its business."""


class ScheduleDeleted(ScheduleFact, frozen=True, omit_defaults=True, tag=True):
    """The last of its facts; what it has started goes on."""


AnyScheduleFact = (
    ScheduleSet | ScheduleFired | ScheduleQueued | ScheduleMissed | SchedulePaused | ScheduleResumed | ScheduleDeleted
)


class Checkpoint(Struct, frozen=True, omit_defaults=True):
    """Where a schedule stands after `seq` events, replaced in the commit of each: its stream may be long, and to go on
    needs only this and the ScheduleSet with the number `set_seq`."""

    seq: int
    set_seq: int
    created_at: int
    decided: int = 0
    paused: bool = False
    deleted: bool = False
    fired: int = 0
    queued: tuple[tuple[int, Cause], ...] = ()
    last_workflow: str = ""
    last_fired_at: int = 0
