"""Answers to tasks that ask a person."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from gleitzeit.engine import effects as fx
from gleitzeit.engine import view
from gleitzeit.jsonrpc.methods import Request
from gz_coordinator.parts import Parts
from gz_coordinator.tasks import task_of


class ApprovalMethods:
    def __init__(self, parts: Parts) -> None:
        self._service = parts.service

    def table(self) -> dict[str, Callable[..., Any]]:
        return {"task.complete": self.complete}

    async def complete(
        self,
        request: Request,
        /,
        workflow_id: str,
        task_id: str,
        approved: bool = True,
        values: dict[str, Any] | None = None,
        comment: str = "",
        by: str = "",
    ) -> dict[str, Any]:
        service = self._service
        await service.bring_back(workflow_id)
        task = await service.read(workflow_id, lambda w: task_of(w, task_id).id)
        encoded = Raw(msgspec.json.encode(values or {}))
        answer = await service.ask(lambda token: fx.Complete(token, workflow_id, task, approved, encoded, comment, by))
        assert answer.workflow is not None
        return view.status_view(answer.workflow, held=workflow_id in service.engine.scheduler.held)
