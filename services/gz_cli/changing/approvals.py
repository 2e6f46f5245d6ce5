"""`gz approve`: to answer a task that asks a person."""

import getpass
from collections.abc import AsyncIterator
from typing import Any

from msgspec import Struct

from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.views import TaskView
from gleitzeit.errors import InvalidState
from gz_cli import exits
from gz_cli.formats import Format
from gz_cli.terminal.output import encode
from gz_cli.terminal.talk import put
from gz_cli.typed import Inputs


class Answer(Struct, frozen=True):
    """`by` None: whoever is logged in here."""

    values: Inputs
    approved: bool
    comment: str = ""
    by: str | None = None


class Question(Struct, frozen=True):
    """A task that asks, and the workflow that it belongs to: the one that was named, or one that this one runs."""

    workflow_id: str
    task: TaskView


async def approve(client: Coordinator, text: str, task_id: str | None, answer: Answer, output: Format) -> int:
    workflow_id = await client.resolve_id(text)
    if task_id is not None:
        asked = Question(workflow_id, await client.task(workflow_id, task_id))
    else:
        asked = await _only_question(client, workflow_id)
    workflow_id, task = asked.workflow_id, asked.task
    form: dict[str, Any] = (task.asks or {}).get("form") or {}
    state = await client.approve(
        workflow_id,
        task.task_id,
        approved=answer.approved,
        values=answer.values.by(form),
        comment=answer.comment,
        by=answer.by if answer.by is not None else _account(),
        attempt=task.attempts if task.asks is not None else None,
    )
    if output is Format.TEXT:
        put(f"{task.task_id} of {workflow_id} is {'approved' if answer.approved else 'rejected'}")
    else:
        put(workflow_id if output is Format.ID else encode(state, output))
    return exits.OK


async def _only_question(client: Coordinator, workflow_id: str) -> Question:
    """Raises InvalidState if nobody is asked, or several things are."""
    questions = [question async for question in _questions(client, workflow_id)]
    if len(questions) == 1:
        return questions[0]
    if questions:
        elsewhere = any(one.workflow_id != workflow_id for one in questions)
        shown = ", ".join(
            f"{one.workflow_id} {one.task.task_id}" if elsewhere else one.task.task_id for one in questions[:10]
        )
        raise InvalidState(f"{len(questions)} tasks of {workflow_id} ask: {shown}; say which one you answer")
    raise InvalidState(f"no task of {workflow_id} asks a person at the moment; `gz explain {workflow_id}` shows why")


async def _questions(client: Coordinator, workflow_id: str, items_of: str = "") -> AsyncIterator[Question]:
    """Those of its tasks, of their items, and of the workflows that they run."""
    after: int | None = 0
    while after is not None:
        page = await client.get(workflow_id, after=after, items_of=items_of)
        for task in page.tasks:
            if task.asks is not None:
                yield Question(workflow_id, task)
            elif task.child and task.status == "waiting":
                async for question in _questions(client, task.child):
                    yield question
            elif task.items and (task.items.get("waiting") or task.method in ("approval/ask", "workflow/run")):
                async for question in _questions(client, workflow_id, task.task_id):
                    yield question
        after = page.next


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a passwd entry
        return ""
