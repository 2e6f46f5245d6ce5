"""Answers to tasks that ask a person: by `task.complete`, or by a link whose secret is the right to answer.

The secret of a link is made of a key of the coordinator's and of what it is for: nothing is kept for it, and it is
worth nothing for another task, or once the task asks anew. It stands behind the `#`, which browsers send to nobody.
"""

import base64
import contextlib
import hashlib
import hmac
import re
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from gleitzeit import errors
from gleitzeit.engine import inputs as inp
from gleitzeit.engine import view
from gleitzeit.engine.decisions.waits import why_not_answered
from gleitzeit.engine.state.naming import task_of
from gleitzeit.engine.state.task import Task
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.jsonrpc.methods import Methods, Request
from gleitzeit.schemas import builtin, openrpc
from gleitzeit.transport.server import Door, HttpReply
from gz_coordinator.parts import Parts

T = TypeVar("T")
_NOT_VALID = "this link is not valid"
PAGE = (Path(__file__).parent / "approval_page.html").read_bytes()
PREFIX = "/approve/"


def secret_of(key: bytes, workflow_id: str, task_id: str, attempt: int) -> str:
    digest = hmac.digest(key, f"{workflow_id}\0{task_id}\0{attempt}".encode(), "sha256")
    return base64.urlsafe_b64encode(digest[:24]).decode()


def link_of(parts: Parts, workflow_id: str, task: Task) -> str:
    """Whoever has it may answer the task, as long as this attempt of it asks."""
    base = parts.url.replace("ws", "http", 1).rstrip("/")
    where = "/".join(urllib.parse.quote(part, safe="") for part in (workflow_id, task.id))
    return f"{base}{PREFIX}{where}#{secret_of(parts.approval_key, workflow_id, task.id, task.attempt)}"


def page() -> HttpReply:
    hashes = " ".join(f"'sha256-{_sha256(part)}'" for part in _within(b"script"))
    styles = " ".join(f"'sha256-{_sha256(part)}'" for part in _within(b"style"))
    policy = f"default-src 'none'; connect-src 'self'; script-src {hashes}; style-src {styles}; frame-ancestors 'none'"
    return HttpReply(200, "text/html; charset=utf-8", PAGE, policy)


def _within(tag: bytes) -> list[bytes]:
    return re.findall(b"<%b>(.*?)</%b>" % (tag, tag), PAGE, re.DOTALL)


def _sha256(part: bytes) -> str:
    return base64.b64encode(hashlib.sha256(part).digest()).decode()


def door(parts: Parts) -> Door:
    """Who has a link comes in here, and can do nothing else."""
    methods = Methods(discover=lambda: openrpc("gz-coordinator", parts.version, [], {}))
    for name, function in ApprovalMethods(parts).of_links().items():
        methods.add(name, function, params_schema=builtin().methods[name].take_params)
    return Door(page, methods)


class ApprovalMethods:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._service = parts.service

    def table(self) -> dict[str, Callable[..., Any]]:
        return {"task.complete": self.complete, **self.of_links()}

    def of_links(self) -> dict[str, Callable[..., Any]]:
        return {"approval.get": self.get, "approval.answer": self.answer}

    async def get(self, request: Request, /, workflow_id: str, task_id: str, token: str) -> dict[str, Any]:
        def look(workflow: Workflow) -> dict[str, Any]:
            task = self._meant(workflow, task_id, token)
            asks = task.approval
            known = {"name": workflow.definition.name, "open": asks is not None}
            if asks is None:
                return {**known, "message": "", "form": {}, "closed": why_not_answered(workflow, task)}
            return {**known, "message": asks.message, "form": asks.form}

        return await self._of_link(workflow_id, look)

    async def answer(
        self,
        request: Request,
        /,
        workflow_id: str,
        task_id: str,
        token: str,
        approved: bool,
        values: dict[str, Any] | None = None,
        comment: str = "",
        by: str = "",
    ) -> dict[str, Any]:
        attempt = await self._of_link(workflow_id, lambda w: self._meant(w, task_id, token).attempt)
        with contextlib.suppress(errors.WorkflowNotFound):
            await self._service.ended.bring_back(workflow_id)
        encoded = Raw(msgspec.json.encode(values or {}))
        await self._service.ask(
            lambda ask: inp.Complete(ask, workflow_id, task_id, approved, encoded, comment, by, attempt)
        )
        return {}

    async def _of_link(self, workflow_id: str, look: Callable[[Workflow], T]) -> T:
        """Who has no right learns nothing, not even whether there is such a workflow."""
        try:
            return await self._service.read(workflow_id, look)
        except errors.WorkflowNotFound:
            raise errors.Unauthorized(_NOT_VALID) from None

    def _meant(self, workflow: Workflow, task_id: str, token: str) -> Task:
        task = workflow.tasks.get(task_id)
        attempts = range(1, task.attempt + 1) if task is not None else ()
        secrets = [secret_of(self._parts.approval_key, workflow.id, task_id, attempt) for attempt in attempts]
        valid = [attempt for attempt, secret in enumerate(secrets, 1) if hmac.compare_digest(secret, token)]
        if task is None or not valid:
            raise errors.Unauthorized(_NOT_VALID)
        if valid != [task.attempt]:
            raise errors.InvalidState(f"task {task_id} asks anew: this link is of an earlier attempt")
        return task

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
        attempt: int | None = None,
    ) -> dict[str, Any]:
        service = self._service
        await service.ended.bring_back(workflow_id)
        task = await service.read(workflow_id, lambda w: task_of(w, task_id).id)
        encoded = Raw(msgspec.json.encode(values or {}))
        answer = await service.ask(
            lambda token: inp.Complete(token, workflow_id, task, approved, encoded, comment, by, attempt)
        )
        assert answer.workflow is not None
        return view.status_view(answer.workflow, service.engine.scheduler.held)
