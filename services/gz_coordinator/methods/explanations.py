"""Why tasks wait, or how they ended."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from gleitzeit.engine import view
from gleitzeit.engine.explain import Reason, explain
from gleitzeit.engine.state.naming import task_of
from gleitzeit.engine.state.task import Task
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.jsonrpc.methods import Request
from gleitzeit.spec.urls import shown
from gz_coordinator.methods.approvals import link_of
from gz_coordinator.parts import Parts

MOST_TASKS = 1_000


class ExplainMethods:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._service = parts.service
        self._engine = parts.service.engine

    def table(self) -> dict[str, Callable[..., Any]]:
        return {"workflow.explain": self.explain}

    async def explain(self, request: Request, /, workflow_id: str, task_id: str | None = None) -> dict[str, Any]:
        def look(workflow: Workflow) -> dict[str, Any]:
            if task_id is not None:
                tasks = [task_of(workflow, task_id)]
            else:
                tasks = [t for t in workflow.tasks.values() if t.state != "completed"][:MOST_TASKS]
            now = self._service.clock()
            reasons = [self._reason(workflow, t, now) for t in tasks]
            why = {"error": view.error_view(workflow.error)} if workflow.error is not None else {}
            status = view.status_view(workflow, self._engine.scheduler.held)
            return {**status, **why, "tasks": reasons}

        answer = await self._service.read(workflow_id, look)
        if (shared := self._parts.shared) is not None and (limits := _limits_in(answer["tasks"])):
            told = await shared.permits.holders(limits)
            holders = {limit: self._engine.tell_holders(known) for limit, known in told.items()}
            answer["tasks"] = [_with_holders(reason, holders) for reason in answer["tasks"]]
        return answer

    def _reason(self, workflow: Workflow, task: Task, now: int) -> Reason:
        return self._with_links(explain(self._engine, workflow, task, now), workflow)

    def _with_links(self, reason: Reason, workflow: Workflow) -> Reason:
        """Where a person is asked, the link by which to answer; where nobody is there, whether we could know."""
        if reason.inner is not None:
            within = self._engine.workflows.get(reason.inner.workflow_id, workflow)
            reason = replace(reason, inner=self._with_links(reason.inner, within))
        if reason.reason == "no_provider" and self._parts.is_deaf:
            nats = f"NATS at {shown(self._parts.nats_url or '')} cannot be reached, by which providers are found"
            return replace(reason, message=f"{reason.message}: {nats}")
        task = task_of(workflow, reason.task_id)
        if task.approval is None:
            return reason
        return replace(reason, message=f"{reason.message} {link_of(self._parts, workflow.id, task)}")


def _limits_in(reasons: Iterable[Reason | None]) -> list[str]:
    """Those whose holders another coordinator knows."""
    found = [limit for one in reasons if one is not None for limit in (one.limit, *_limits_in([one.inner])) if limit]
    return list(dict.fromkeys(found))


def _with_holders(reason: Reason, holders: Mapping[str, str]) -> Reason:
    inner = None if reason.inner is None else _with_holders(reason.inner, holders)
    return replace(reason, message=reason.message + holders.get(reason.limit, ""), limit="", inner=inner)
