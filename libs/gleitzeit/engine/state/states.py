"""Every move a task or a workflow can make, in two tables. The lookup is the check: a pair not in here cannot happen.

Keys are (state, cause). A cause is the name of an event class, or one that needs no event of its own because it follows
from one: DEPENDENCIES_MET (the last dependency is done), RESET (`WorkflowRetried` names the task), ASKED (a person
is to say whether a lost call is made again) and AGAIN (one has said so).
"""

from gleitzeit.model.events import TaskStatus, WorkflowStatus

DEPENDENCIES_MET = "dependencies met"
RESET = "reset"
ASKED = "a person is asked about a lost call"
AGAIN = "a lost call may be made again"

TASK: dict[tuple[TaskStatus, str], TaskStatus] = {
    ("pending", DEPENDENCIES_MET): "ready",
    ("pending", "TaskSkipped"): "skipped",
    ("pending", "TaskCancelled"): "cancelled",
    ("ready", "TaskSkipped"): "skipped",
    ("ready", "TaskStarted"): "running",
    ("ready", "TasksAdded"): "waiting",
    ("ready", "TaskWaiting"): "waiting",
    ("ready", "TaskCached"): "completed",
    ("ready", "TaskFellBack"): "ready",
    ("ready", "TaskTurnedBack"): "retrying",
    ("ready", "TaskFailed"): "failed",
    ("ready", "TaskCancelled"): "cancelled",
    ("running", "TaskCompleted"): "completed",
    ("running", "TaskRetrying"): "retrying",
    ("running", "TaskRepeated"): "retrying",
    ("running", "TaskFellBack"): "ready",
    ("running", "TaskTurnedBack"): "retrying",
    ("running", "TaskFailed"): "failed",
    ("running", "TaskCancelled"): "cancelled",
    ("running", "CallRefused"): "retrying",
    ("running", "CallLost"): "ready",
    ("running", ASKED): "waiting",
    ("retrying", "TaskReleased"): "ready",
    ("retrying", "TaskFellBack"): "ready",
    ("retrying", "TaskTurnedBack"): "retrying",
    ("retrying", "TaskFailed"): "failed",
    ("retrying", "TaskCancelled"): "cancelled",
    ("waiting", AGAIN): "ready",
    ("waiting", "TaskCompleted"): "completed",
    ("waiting", "TaskRetrying"): "retrying",
    ("waiting", "TaskRepeated"): "retrying",
    ("waiting", "TaskFailed"): "failed",
    ("waiting", "TaskCancelled"): "cancelled",
    ("completed", RESET): "pending",
    ("failed", RESET): "pending",
    ("skipped", RESET): "pending",
    ("cancelled", RESET): "pending",
    ("completed", "UndoAdded"): "ready",
    ("failed", "UndoAdded"): "ready",
    ("cancelled", "UndoAdded"): "ready",
}

WORKFLOW: dict[tuple[WorkflowStatus, str], WorkflowStatus] = {
    ("pending", "TaskStarted"): "running",
    ("pending", "TaskWaiting"): "running",
    ("pending", "TaskCached"): "running",
    ("pending", "TasksAdded"): "running",
    ("pending", "WorkflowCancelling"): "running",
    ("pending", "WorkflowPaused"): "paused",
    ("pending", "WorkflowCompleted"): "completed",
    ("pending", "WorkflowFailed"): "failed",
    ("pending", "WorkflowCancelled"): "cancelled",
    ("running", "WorkflowPaused"): "paused",
    ("running", "WorkflowCancelling"): "running",
    ("running", "WorkflowCompleted"): "completed",
    ("running", "WorkflowFailed"): "failed",
    ("running", "WorkflowCancelled"): "cancelled",
    ("paused", "WorkflowResumed"): "running",
    ("paused", "WorkflowCancelling"): "running",
    ("paused", "WorkflowCompleted"): "completed",
    ("paused", "WorkflowFailed"): "failed",
    ("paused", "WorkflowCancelled"): "cancelled",
    ("failed", "WorkflowRetried"): "running",
    ("cancelled", "WorkflowRetried"): "running",
}
