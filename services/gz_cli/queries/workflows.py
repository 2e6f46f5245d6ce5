"""The commands that ask about workflows: each prints one answer on stdout and returns an exit code."""

import re
from collections.abc import AsyncIterator, Iterator, Sequence

from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.views import (
    Explained,
    Explanation,
    Spent,
    TaskView,
    WorkflowRow,
    WorkflowView,
)
from gleitzeit.errors import JournalCorrupt
from gleitzeit.model.events import TASK_FINAL
from gz_cli import exits
from gz_cli.drawing.layout import Node, last
from gz_cli.following import failures
from gz_cli.following.event_words import event_words
from gz_cli.following.follow import tasks_of
from gz_cli.following.waits import say_end
from gz_cli.formats import Format
from gz_cli.queries.system import WHAT_TO_DO
from gz_cli.terminal.durations import ago, clock, counted, duration, now_ms, size
from gz_cli.terminal.ink import first_line
from gz_cli.terminal.output import encode, one_line, payload, results_text
from gz_cli.terminal.table import fitted, pairs
from gz_cli.terminal.talk import put, say

COUNTED = ("completed", "running", "waiting", "retrying", "ready", "pending", "failed", "skipped", "cancelled")
"""The order in which task counts are told."""
_LINK = re.compile(r" ?\bhttps?://\S+/approve/\S+")
"""By which a person answers. It stands on a line of its own, since none can be copied out of a column of a table."""


async def status(client: Coordinator, text: str, output: Format) -> int:
    """In a few lines; `get` has every task."""
    workflow_id = await client.resolve_id(text)
    try:
        view = await client.get(workflow_id, limit=1)
    except JournalCorrupt as error:
        return await _put_quarantined(client, workflow_id, error, output)
    if output is Format.TEXT:
        put(pairs(_head(view)))
    else:
        put(view.workflow_id if output is Format.ID else encode(_without_tasks(view), output))
    return exits.OK


async def one(client: Coordinator, text: str, output: Format, items_of: str = "") -> int:
    """With every task, or all items of one, page by page."""
    workflow_id = await client.resolve_id(text)
    try:
        view = await client.get(workflow_id, items_of=items_of)
    except JournalCorrupt as error:
        return await _put_quarantined(client, workflow_id, error, output)
    tasks = [*view.tasks, *[task async for task in _further_tasks(client, view, items_of)]]
    if output is Format.TEXT:
        put("\n\n".join(part for part in (pairs(_head(view)), _task_table(tasks), failures.of_tasks(tasks)) if part))
    elif output is Format.ID:
        put(view.workflow_id)
    else:
        put(encode({**_without_tasks(view), "tasks": tasks}, output))
    return exits.OK


async def _put_quarantined(client: Coordinator, workflow_id: str, error: JournalCorrupt, output: Format) -> int:
    """What is known of a workflow whose events cannot be read."""
    rows = (await client.list(id=workflow_id)).workflows
    row = next((row for row in rows if row.workflow_id == workflow_id), None)
    if row is None:
        raise error
    if output is Format.TEXT:
        put(pairs([*_quarantined_head(row), ("problem", error.message)]))
    else:
        put(workflow_id if output is Format.ID else encode(row, output))
    say(f"gz: {workflow_id} is quarantined: nothing of it runs\n{WHAT_TO_DO}")
    return exits.FAILED


def _quarantined_head(row: WorkflowRow) -> list[tuple[str, object]]:
    return [
        ("workflow", row.workflow_id),
        ("name", row.name),
        ("status", f"{row.status} (quarantined)"),
        ("tasks", _counts(row.counts)),
        ("created", ago(row.created_at, now_ms()) if row.created_at else None),
    ]


async def result(client: Coordinator, text: str, task_id: str | None, output: Format) -> int:
    """The outputs of a workflow or the whole result of one task."""
    workflow_id = await client.resolve_id(text)
    if task_id is not None:
        return _put_task(await client.task(workflow_id, task_id), output)
    found = await client.result(workflow_id)
    if output is Format.ID:
        put(workflow_id)
    elif output is not Format.TEXT:
        put(encode(found, output))
    elif found.status == "completed":
        put(results_text(found.results, found.outputs, await _last_tasks(client, workflow_id)))
    else:
        await say_end(client, found)
    return exits.OK if found.status == "completed" else exits.of_status(found.status)


async def listed(client: Coordinator, statuses: Sequence[str], name: str | None, limit: int, output: Format) -> int:
    rows = (await client.list(status=statuses, name=name, limit=limit)).workflows
    if output is Format.ID:
        put("\n".join(row.workflow_id for row in rows))
    elif output is not Format.TEXT:
        put(encode(rows, output))
    elif rows:
        head = ("id", "name", "status", "done", "tasks", "created")
        put(fitted(head, [_row(row) for row in rows], brief=("name", "created")))
        if any(row.quarantined for row in rows):
            say(f"events of those that are quarantined cannot be read, and nothing of them runs\n{WHAT_TO_DO}")
    else:
        say("no workflows")
    return exits.OK


async def history(client: Coordinator, text: str, output: Format, types: Sequence[str] = ()) -> int:
    """Every event of a workflow (of these types), as it stands in the journal."""
    workflow_id = await client.resolve_id(text)
    page = await client.history(workflow_id, events=types)
    events = [*page.events]
    while page.next is not None:
        page = await client.history(workflow_id, after=page.next, events=types)
        events += page.events
    if output is Format.TEXT:
        put(fitted(("seq", "at", "event", "task", "details"), [_event_row(entry) for entry in events]))
    else:
        put(workflow_id if output is Format.ID else encode(events, output))
    return exits.OK


async def explain(client: Coordinator, text: str, task_id: str | None, output: Format) -> int:
    """Why each task stands where it stands."""
    explained = await client.explain(await client.resolve_id(text), task_id)
    if output is Format.TEXT:
        told = [row for task in explained.tasks for row in _why_rows(task, explained.workflow_id)]
        rows = fitted(("task", "status", "why"), [(*row[:2], _LINK.sub("", row[2])) for row in told])
        links = "\n".join(f"{row[0].strip()}: {link.strip()}" for row in told for link in _LINK.findall(row[2]))
        failed = [task.task_id for task in explained.tasks if task.status == "failed"][: failures.SHOWN_TASKS]
        why = failures.of_tasks([await client.task(explained.workflow_id, task) for task in failed])
        put("\n\n".join(part for part in (_end_of(explained), rows if explained.tasks else "", links, why) if part))
    else:
        put(explained.workflow_id if output is Format.ID else encode(explained, output))
    return exits.OK


def _why_rows(task: Explanation, within: str, depth: int = 0) -> Iterator[tuple[str, str, str]]:
    """And below it, that of the task for which it waits. `within` is the workflow of the one above."""
    elsewhere = f"in {task.workflow_id}: " if task.workflow_id not in ("", within) else ""
    yield "  " * depth + elsewhere + task.task_id, task.status, task.message
    if task.inner is not None:
        yield from _why_rows(task.inner, task.workflow_id or within, depth + 1)


def _end_of(explained: Explained) -> str:
    """What a workflow came to that has ended; "" while it has not."""
    if explained.error is not None:
        place = f" in {explained.error.task}" if explained.error.task else ""
        return f"{explained.workflow_id} failed{place}: {explained.error.message}"
    if explained.status in ("completed", "cancelled"):
        return f"{explained.workflow_id} is {explained.status}: nothing of it waits"
    return ""


async def _further_tasks(client: Coordinator, view: WorkflowView, items_of: str = "") -> AsyncIterator[TaskView]:
    while view.next is not None:
        view = await client.get(view.workflow_id, after=view.next, items_of=items_of)
        for task in view.tasks:
            yield task


async def _last_tasks(client: Coordinator, workflow_id: str) -> list[str]:
    definition = await tasks_of(client, workflow_id)
    return last([Node(task.id, task.method, task.dependencies) for task in definition.tasks])


def _put_task(task: TaskView, output: Format) -> int:
    if output is Format.ID:
        put(task.task_id)
    elif output is not Format.TEXT:
        put(encode(task, output))
    elif task.status == "completed":
        put(encode(payload(task.result), Format.TEXT))
    else:
        why = f": {task.error.message}" if task.error is not None else ""
        say(f"gz: {task.task_id} is {task.status}{why}\n{failures.details(task.error)}")
    return exits.OK if task.status == "completed" else exits.of_status(task.status)


def _without_tasks(view: WorkflowView) -> dict[str, object]:
    found = {name: getattr(view, name) for name in view.__struct_fields__ if name not in ("tasks", "next")}
    return {name: value for name, value in found.items() if value is not None}


def _head(view: WorkflowView) -> list[tuple[str, object]]:
    error = view.error
    return [
        ("workflow", view.workflow_id),
        ("name", view.name),
        ("status", view.status + _why(view)),
        ("tasks", _counts(view.counts)),
        ("created", ago(view.created_at, now_ms()) if view.created_at else None),
        ("took", duration(view.duration_seconds) if view.duration_seconds is not None else None),
        ("spent", _spent_words(view.spent) if view.spent is not None else None),
        ("error", (f"{error.task}: " if error.task else "") + first_line(error.message) if error else None),
    ]


def _spent_words(spent: Spent) -> str:
    tokens = f", {counted(spent.tokens, 'token')}" if spent.tokens else ""
    return f"{counted(spent.calls, 'call')}{tokens}, {duration(spent.seconds)} (it has a budget)"


def _why(view: WorkflowView) -> str:
    if view.cancelling:
        return f" (is to end: {view.cancelling})"
    return " (held: `gz resume` lets it go on)" if view.held else ""


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{counts[status]:,} {status}" for status in COUNTED if counts.get(status))


def _task_table(tasks: Sequence[TaskView]) -> str:
    rows = [
        (
            task.task_id,
            task.method,
            task.status + _items_words(task),
            None if task.items else task.attempts or None,
            duration(task.duration_seconds) if task.duration_seconds is not None else None,
            _task_words(task),
        )
        for task in tasks
    ]
    return fitted(("task", "method", "status", "attempts", "took", "result"), rows, brief=("method", "result"))


def _items_words(task: TaskView) -> str:
    """` 37/120`: how many of its items have ended."""
    if not task.items:
        return ""
    ended = sum(task.items.get(status, 0) for status in TASK_FINAL)
    failed = f", {task.items['failed']:,} failed" if task.items.get("failed") else ""
    return f" {ended:,}/{task.items['total']:,}{failed}"


def _task_words(task: TaskView) -> str:
    """What came of it, in one line."""
    if task.error is not None and task.status != "completed":
        return first_line(task.error.message)
    if task.result_size_bytes is not None:
        return f"({size(task.result_size_bytes)})"
    return one_line(payload(task.result) if task.result is not None else task.reason or "")


def _row(row: WorkflowRow) -> tuple[object, ...]:
    status = f"{row.status} (quarantined)" if row.quarantined else f"{row.status} (held)" if row.held else row.status
    created = ago(row.created_at, now_ms()) if row.created_at else None
    return (row.workflow_id, row.name, status, row.counts.get("completed", 0), row.tasks_total, created)


def _event_row(entry: dict[str, object]) -> tuple[object, ...]:
    event = entry.get("event")
    fields = event if isinstance(event, dict) else {}
    at = fields.get("at")
    when = clock(at) if isinstance(at, int) else None
    return (entry.get("seq"), when, fields.get("type"), fields.get("task"), event_words(fields))
