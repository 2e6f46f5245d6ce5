"""The facts of one workflow's stream, in the past tense, as they stand in the journal and travel to watchers.

Encoded as JSON objects with the class name in `type`. Times (`at`, `until`) are UTC milliseconds. `task` is a task id,
`attempt` counts from 1 and never restarts. A field may be added with a default; none is renamed, none changes meaning.
"""

from typing import Literal

from msgspec import Raw, Struct

from gleitzeit.model.definition import Definition

NULL = Raw(b"null")


class Failure(Struct, frozen=True, omit_defaults=True):
    """Why an attempt, a task or a workflow failed: a JSON-RPC error object and the name of its code."""

    code: int
    message: str
    name: str = ""
    data: Raw = NULL
    retryable: bool = False
    task: str = ""
    """In a workflow's failure: the first task that failed."""


class Event(Struct, frozen=True, omit_defaults=True, tag_field="type", tag=True):
    """`at` is when it was decided: UTC milliseconds, which never go back within a stream."""

    at: int


class Origin(Struct, frozen=True, omit_defaults=True):
    """Where a workflow comes from that nobody submitted as a document."""

    template: str = ""
    """`name@version`"""
    schedule: str = ""
    due: int = 0
    """The time of the schedule that it stands for, in UTC milliseconds; 0 if it was triggered by hand."""
    parent: str = ""
    """The workflow whose task it is: `task`, in that `attempt`."""
    task: str = ""
    attempt: int = 0
    rerun_of: str = ""
    """The workflow whose results are taken where nothing has changed, except of `from_task`."""
    from_task: str = ""
    callback: str = ""
    """The signal that the parent gets when this one has ended."""


class WorkflowSubmitted(Event, frozen=True, omit_defaults=True, tag=True):
    """The first event of every workflow. `definition` is whole: the stream needs nothing else to be replayed."""

    workflow_id: str
    definition: Definition
    inputs: Raw = Raw(b"{}")
    idempotency_key: str = ""
    body_sha256: str = ""
    """Of the submit's definition and inputs, if it has a key: the same key with another body is refused."""
    origin: Origin | None = None
    traceparent: str = ""
    """What it is a part of (`model.traces`), if it was submitted with that."""


class WorkflowPaused(Event, frozen=True, omit_defaults=True, tag=True):
    """Nothing new starts; what runs goes on."""


class WorkflowResumed(Event, frozen=True, omit_defaults=True, tag=True):
    """The end of a pause."""


class WorkflowCompleted(Event, frozen=True, omit_defaults=True, tag=True):
    """`outputs` is an object by the names that the definition gives, null if it gives none."""

    outputs: Raw = NULL


class WorkflowFailed(Event, frozen=True, omit_defaults=True, tag=True):
    """The last event, unless it is retried by hand."""

    error: Failure


class WorkflowCancelled(Event, frozen=True, omit_defaults=True, tag=True):
    """The last event, unless it is retried by hand."""

    reason: str = ""


class WorkflowCancelling(Event, frozen=True, omit_defaults=True, tag=True):
    """It is to end: what runs always, and what undoes completed tasks, still runs. With `error` it fails in the end."""

    reason: str = ""
    error: Failure | None = None


class WorkflowRetried(Event, frozen=True, omit_defaults=True, tag=True):
    """By hand: the tasks that failed, were skipped or cancelled are pending again."""

    tasks: tuple[str, ...]


class SignalReceived(Event, frozen=True, omit_defaults=True, tag=True):
    """Buffered in the stream of its target until a task that waits for `name` takes it."""

    name: str
    payload: Raw = NULL
    sender: str = ""
    idempotency_key: str = ""
    """Of who sent it: the same one once more is the same signal, and no second event. That of a task is its attempt."""
    body_sha256: str = ""
    """Of name and payload, where there is a key."""


class TaskStarted(Event, frozen=True, omit_defaults=True, tag=True):
    """Durable before the request is sent. `instance` is the provider process that the call is addressed to."""

    task: str
    attempt: int
    provider: str
    instance: str
    params_sha256: str = ""
    lease_seconds: float = 0.0
    alternative: int = 0
    """Which one of the task's `fallback` it is, from 1; 0 is the task's own call."""
    calls: int = 1
    """How many of its budget are its own: as many requests it may make of a model."""


class Approval(Struct, frozen=True, omit_defaults=True):
    """What a person is asked. `form` is the JSON Schema of the answer's values, {} if none are wanted."""

    message: str = ""
    form: Raw = Raw(b"{}")
    on_timeout: Literal["fail", "reject", "approve"] = "fail"
    on_reject: Literal["fail", "continue"] = "fail"
    of_call: bool = False
    """Whether a call that was lost, and may have had its effect, is made again (`on_lost: ask`)."""


class TaskWaiting(Event, frozen=True, omit_defaults=True, tag=True):
    """A task that runs inside the coordinator waits: until a time, for signals, for a child, for a person's answer; and
    with a time besides, for that at the longest."""

    task: str
    attempt: int
    until: int | None = None
    signals: tuple[str, ...] = ()
    all: bool = False
    """For each of the signals; else one of them is enough."""
    child: str = ""
    """The id of the workflow that it waits for. It is submitted in the same commit, and its end is the task's."""
    approval: Approval | None = None
    sends: tuple[str, ...] = ()
    """Ids of the workflows that it sends a signal to, of which another coordinator has some: until all have it."""


class TaskCompleted(Event, frozen=True, omit_defaults=True, tag=True):
    """Durable before the call is acknowledged, and before anything that depends on it starts."""

    task: str
    attempt: int
    result: Raw = NULL


class TaskCached(Event, frozen=True, omit_defaults=True, tag=True):
    """Completed without a call: the journal had the result of an equal one. `key` names its stream, `$cache/<key>`."""

    task: str
    attempt: int
    key: str
    result: Raw = NULL
    stored_at: int = 0
    """When the call that it is the result of completed."""
    origin: str = ""
    """The workflow whose task of the same id it is the result of, where it was not taken from the cache."""


class TaskFellBack(Event, frozen=True, omit_defaults=True, tag=True):
    """What the task called has failed for good, or would let it wait for long; it is ready again, with the
    `alternative` of that number (from 1). With a `place` it is the same one as before (0: the task's own call), at the
    provider of a later one of its models, that of this index."""

    task: str
    attempt: int
    error: Failure
    alternative: int
    label: str = ""
    place: int = 0


class TaskTurnedBack(Event, frozen=True, omit_defaults=True, tag=True):
    """The last of what the task could call has failed for good, or would let it wait for longer than an earlier one
    would (`alternative` and `place` as in TaskFellBack): that one is called again, not before `until`."""

    task: str
    attempt: int
    error: Failure
    alternative: int
    until: int
    label: str = ""
    place: int = 0


class TaskRetrying(Event, frozen=True, omit_defaults=True, tag=True):
    """The attempt failed and the policy allows another one, not before `until`."""

    task: str
    attempt: int
    error: Failure
    until: int


class TasksAdded(Event, frozen=True, omit_defaults=True, tag=True):
    """A `for_each` has its items, which are the tasks `task[0]` to `task[count - 1]`; the task itself waits for them.
    What the items are follows from the definition and the results before it. Its result is that of its items: it is
    in no event."""

    task: str
    attempt: int
    count: int


class TaskRepeated(Event, frozen=True, omit_defaults=True, tag=True):
    """A round of an `until` has this result, which is not yet the last: the next one follows, not before `until`."""

    task: str
    attempt: int
    result: Raw = NULL
    until: int = 0


class UndoAdded(Event, frozen=True, omit_defaults=True, tag=True):
    """The task `task[undo]` is ready: it undoes what the completed `task` did."""

    task: str


class TaskReleased(Event, frozen=True, omit_defaults=True, tag=True):
    """The task is ready again: its back-off is over, or a person (`by`) has said that a lost call may be made again."""

    task: str
    by: str = ""
    comment: str = ""


class TaskFailed(Event, frozen=True, omit_defaults=True, tag=True):
    """For good: no attempt is left, or none would help."""

    task: str
    attempt: int
    error: Failure


class TaskSkipped(Event, frozen=True, omit_defaults=True, tag=True):
    """`cause` is "" if something before it failed; else it was not wanted, and what depends on it may go on: `when`,
    `switch`, `on_failure` (nothing failed), `dependencies` (none of them ran)."""

    task: str
    reason: str = ""
    cause: str = ""


class TaskCancelled(Event, frozen=True, omit_defaults=True, tag=True):
    """With its workflow, or because another failed (`fail_fast`); what still runs of it is told to stop."""

    task: str
    reason: str = ""


class CallRefused(Event, frozen=True, omit_defaults=True, tag=True):
    """The provider did not start the call (busy, wrong instance): no attempt of the policy is charged. What it has cost
    nevertheless is a matter of budgets."""

    task: str
    attempt: int
    reason: str
    until: int = 0
    tokens: int = 0
    calls: int = 0


class CallLost(Event, frozen=True, omit_defaults=True, tag=True):
    """The provider that had the call is gone. With `may_have_run` the work may be done twice by the next attempt; with
    `approval` a person says whether there is one, by TaskReleased or TaskFailed."""

    task: str
    attempt: int
    reason: str
    may_have_run: bool = True
    approval: Approval | None = None


WorkflowStatus = Literal["pending", "running", "paused", "completed", "failed", "cancelled"]
TaskStatus = Literal[
    "pending", "ready", "running", "retrying", "waiting", "completed", "failed", "skipped", "cancelled"
]
WORKFLOW_FINAL: frozenset[WorkflowStatus] = frozenset({"completed", "failed", "cancelled"})
TASK_FINAL: frozenset[TaskStatus] = frozenset({"completed", "failed", "skipped", "cancelled"})

AnyEvent = (
    WorkflowSubmitted
    | WorkflowPaused
    | WorkflowResumed
    | WorkflowCompleted
    | WorkflowFailed
    | WorkflowCancelled
    | WorkflowCancelling
    | WorkflowRetried
    | SignalReceived
    | TaskStarted
    | TaskWaiting
    | TaskCompleted
    | TaskCached
    | TasksAdded
    | TaskRepeated
    | UndoAdded
    | TaskFellBack
    | TaskTurnedBack
    | TaskRetrying
    | TaskReleased
    | TaskFailed
    | TaskSkipped
    | TaskCancelled
    | CallRefused
    | CallLost
)
