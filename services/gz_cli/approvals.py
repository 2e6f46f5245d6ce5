"""`gz approve`: to answer a task that asks a person."""

import getpass
from collections.abc import AsyncIterator
from typing import Any

from msgspec import Struct

from gleitzeit.client import Client
from gleitzeit.client.views import TaskView
from gleitzeit.errors import InvalidState
from gz_cli import exits
from gz_cli.formats import Format
from gz_cli.output import encode
from gz_cli.talk import put
from gz_cli.typed import Inputs


class Answer(Struct, frozen=True):
    """`by` None: whoever is logged in here."""

    values: Inputs
    approved: bool
    comment: str = ""
    by: str | None = None


async def approve(client: Client, text: str, task_id: str | None, answer: Answer, output: Format) -> int:
    workflow_id = await client.resolve_id(text)
    task = await client.task(workflow_id, task_id) if task_id is not None else await _asking(client, workflow_id)
    form: dict[str, Any] = (task.asks or {}).get("form") or {}
    state = await client.approve(
        workflow_id,
        task.task_id,
        approved=answer.approved,
        values=answer.values.by(form),
        comment=answer.comment,
        by=answer.by if answer.by is not None else _account(),
    )
    if output is Format.TEXT:
        put(f"{task.task_id} of {workflow_id} is {'approved' if answer.approved else 'rejected'}")
    else:
        put(workflow_id if output is Format.ID else encode(state, output))
    return exits.OK


async def _asking(client: Client, workflow_id: str) -> TaskView:
    """The only task that asks. Raises InvalidState if there is none, or several."""
    asking = [task async for task in _tasks(client, workflow_id) if task.asks is not None]
    if len(asking) == 1:
        return asking[0]
    if asking:
        shown = ", ".join(task.task_id for task in asking[:10])
        raise InvalidState(f"{len(asking)} tasks of {workflow_id} ask: {shown}; say which one you answer")
    raise InvalidState(f"no task of {workflow_id} asks a person at the moment; `gz explain {workflow_id}` shows why")


async def _tasks(client: Client, workflow_id: str, items_of: str = "") -> AsyncIterator[TaskView]:
    """All of them; the items of those that ask somebody for each of several things, too."""
    after: int | None = 0
    while after is not None:
        page = await client.get(workflow_id, after=after, items_of=items_of)
        for task in page.tasks:
            yield task
            if task.items and task.method == "approval/ask":
                async for item in _tasks(client, workflow_id, task.task_id):
                    yield item
        after = page.next


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a passwd entry
        return ""
