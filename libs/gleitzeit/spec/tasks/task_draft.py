"""A task of a document whose own keys are read; nothing yet about other tasks."""

from typing import Any, Literal

from gleitzeit.model.definition import Budget, Concurrency, OnLost, Priority, RetryPolicy
from gleitzeit.schemas import MethodSchema
from gleitzeit.spec.problems import Path
from gleitzeit.spec.tasks.flow import FlowDraft
from gleitzeit.spec.tasks.spending import CacheDraft


class TaskDraft:
    """`params` is the author's, its aliases resolved; `param_paths` says where each
    param stands; `needs` are the declared dependencies as written (ids or names) with the place of each."""

    __slots__ = (
        "budget",
        "cache",
        "concurrency",
        "description",
        "fallback",
        "flow",
        "id",
        "id_key",
        "label",
        "metadata",
        "method",
        "name",
        "needs",
        "on_error",
        "on_lost",
        "param_paths",
        "params",
        "params_path",
        "path",
        "priority",
        "provider",
        "queue_timeout_seconds",
        "retry",
        "schema",
        "tags",
        "timeout_seconds",
        "undo",
        "workflow",
    )

    id: str
    id_key: str
    name: str
    description: str
    method: str
    schema: MethodSchema | None
    params: dict[str, Any]
    params_path: Path
    param_paths: dict[str, Path]
    needs: list[tuple[Path, str]]
    path: Path
    priority: Priority | None
    retry: RetryPolicy | None
    timeout_seconds: float | None
    queue_timeout_seconds: float | None
    on_error: Literal["fail", "skip"]
    on_lost: OnLost
    tags: tuple[str, ...]
    metadata: dict[str, Any]
    provider: str
    budget: Budget | None
    cache: CacheDraft | None
    concurrency: Concurrency | None
    workflow: tuple[Path, Any] | None
    """What a task of workflow/run runs, as written, and where it stands."""
    fallback: list["TaskDraft"]
    """Each is the task with another call, which `label` is a word for; only what makes the call is set in them."""
    label: str
    flow: FlowDraft
    undo: "TaskDraft | None"

    def param_path(self, steps: Path) -> Path:
        """Where a param, or a part of one, stands in the document."""
        if steps and steps[0] in self.param_paths:
            return (*self.param_paths[str(steps[0])], *steps[1:])
        return (*self.params_path, *steps)
