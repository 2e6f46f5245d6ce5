"""The commands that only ask: each prints one answer on stdout and returns an exit code."""

import re
from collections.abc import AsyncIterator, Iterator, Sequence

from gleitzeit.client import Client
from gleitzeit.client.views import (
    CoordinatorRow,
    Explained,
    Explanation,
    ProviderView,
    Spent,
    SystemStatus,
    TaskView,
    WorkflowRow,
    WorkflowView,
)
from gleitzeit.errors import JournalCorrupt
from gleitzeit.model.events import TASK_FINAL, WORKFLOW_FINAL
from gleitzeit.spec.durations import how_soon
from gz_cli import exits, failures
from gz_cli.durations import ago, clock, counted, duration, size
from gz_cli.event_words import event_words
from gz_cli.follow import tasks_of
from gz_cli.formats import Format
from gz_cli.ink import first_line
from gz_cli.layout import Node, last
from gz_cli.output import encode, one_line, payload, results_text
from gz_cli.table import fitted, pairs
from gz_cli.talk import put, say
from gz_cli.views import now_ms
from gz_cli.waits import say_end

COUNTED = ("completed", "running", "waiting", "retrying", "ready", "pending", "failed", "skipped", "cancelled")
"""The order in which task counts are told."""
_LINK = re.compile(r" ?\bhttps?://\S+/approve/\S+")
"""By which a person answers. It stands on a line of its own, since none can be copied out of a column of a table."""
WHAT_TO_DO = "`gz journal check` says what is damaged; its document can be submitted again"


async def system_status(client: Client, output: Format) -> int:
    status = await client.status()
    if output is Format.ID:
        put(status.instance)
    else:
        put(_system_words(status) if output is Format.TEXT else encode(status, output))
    return exits.OK


async def workflow_status(client: Client, text: str, output: Format) -> int:
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


async def workflow(client: Client, text: str, output: Format, items_of: str = "") -> int:
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


async def _put_quarantined(client: Client, workflow_id: str, error: JournalCorrupt, output: Format) -> int:
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


async def result(client: Client, text: str, task_id: str | None, output: Format) -> int:
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


async def workflows(client: Client, statuses: Sequence[str], name: str | None, limit: int, output: Format) -> int:
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


async def history(client: Client, text: str, output: Format, types: Sequence[str] = ()) -> int:
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


async def explain(client: Client, text: str, task_id: str | None, output: Format) -> int:
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


async def providers(client: Client, output: Format, name: str = "") -> int:
    """All of them, or those of this name or instance. Raises ProviderNotFound."""
    listed = await client.provider_list()
    found = [one for one in listed.providers if name in ("", one.name, one.instance)]
    if name and not found:
        await client.provider(name)  # which says what there is, and what may be meant
    _show_providers(found, output)
    there = {one.name for one in listed.providers}
    for gone in (one for one in listed.drained if one not in there and not name):
        say(f"{gone} is drained, though none is there: one that starts gets no calls until `gz drain {gone} --undo`")
    if found and listed.coordinators > 1:
        say(f"running counts the calls of {client.url} alone, one of {listed.coordinators} coordinators")
    return exits.OK


async def drain(client: Client, text: str, output: Format, *, undo: bool) -> int:
    """`text` is a name or an instance. Raises ProviderNotFound."""
    of_instance = next((one.name for one in await client.providers() if one.instance == text != one.name), None)
    if of_instance is None:
        drained = await client.drain(text, undo=undo)
    else:
        drained = await client.drain(of_instance, text, undo=undo)
    if drained.instances or output is not Format.TEXT:
        _show_providers(drained.instances, output)
    else:
        say(f"{text} is no longer drained; none of that name is there")
    return exits.OK


def _show_providers(found: Sequence[ProviderView], output: Format) -> None:
    if output is Format.ID:
        put("\n".join(provider.instance for provider in found))
    elif output is not Format.TEXT:
        put(encode(found, output))
    elif found:
        head = ("name", "status", "protocols", "methods", "running", "capacity", "paid once", "from", "url")
        put(
            "\n".join(
                [
                    fitted(head, [_provider_row(provider) for provider in found]),
                    *_circuit_words(found),
                    *_place_words(found),
                ]
            )
        )
    else:
        say("no providers; `gz up` starts some")


async def call(client: Client, method: str, params: object, timeout_seconds: float | None, output: Format) -> int:
    """One of the coordinator's own methods; its whole answer."""
    answer = await client.call(method, params, timeout_seconds=timeout_seconds)
    put(encode(answer, Format.JSON if output in (Format.TEXT, Format.ID) else output))
    return exits.OK


async def _further_tasks(client: Client, view: WorkflowView, items_of: str = "") -> AsyncIterator[TaskView]:
    while view.next is not None:
        view = await client.get(view.workflow_id, after=view.next, items_of=items_of)
        for task in view.tasks:
            yield task


async def _last_tasks(client: Client, workflow_id: str) -> list[str]:
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


def _provider_row(one: ProviderView) -> tuple[object, ...]:
    kept = "yes" if one.calls else "no"
    protocols, methods = ", ".join(one.protocols), len(one.methods)
    return (one.name, one.status, protocols, methods, one.running, one.capacity, kept, one.source, one.url)


def _circuit_words(found: Sequence[ProviderView]) -> list[str]:
    """A line for each method that is left alone for a while."""
    lines = []
    for one in found:
        for circuit in one.circuits:
            when = how_soon(circuit.retry_after_seconds) if circuit.state == "open" else "now"
            failed = f"{circuit.failures} failures in a row, tried again {when}"
            lines.append(f"circuit {circuit.state.replace('_', ' ')}: {circuit.method} at {one.name} ({failed})")
    return lines


def _place_words(found: Sequence[ProviderView]) -> list[str]:
    """A line for each whose capacity other coordinators use, too."""
    return [
        f"places at {one.name}: {one.places.ours} of {one.capacity} are this coordinator's, given out by"
        f" {one.places.given_by}"
        for one in found
        if one.places is not None and one.places.given_by and one.places.ours < (one.capacity or 0)
    ]


def _event_row(entry: dict[str, object]) -> tuple[object, ...]:
    event = entry.get("event")
    fields = event if isinstance(event, dict) else {}
    at = fields.get("at")
    when = clock(at) if isinstance(at, int) else None
    return (entry.get("seq"), when, fields.get("type"), fields.get("task"), event_words(fields))


def _shards_words(row: CoordinatorRow, status: SystemStatus) -> str:
    here = ", this one" if row.instance == status.instance else ""
    return f"{row.shards} at {row.url or 'a coordinator that has just come'} ({row.instance}{here})"


def _system_words(status: SystemStatus) -> str:
    nats = status.nats
    active = {name: number for name, number in status.workflows.items() if number and name not in WORKFLOW_FINAL}
    workflows = ", ".join(f"{number:,} {name}" for name, number in active.items())
    head = pairs(
        [
            ("coordinator", status.url + (" (embedded)" if status.embedded else "")),
            ("version", status.version),
            ("process", str(status.pid)),
            ("up", duration(status.uptime_seconds) + (", draining" if status.draining else "")),
            ("journal", status.journal),
            (
                "nats",
                None if nats is None or not nats.url else nats.url + ("" if nats.connected else " (not connected)"),
            ),
            ("providers", status.providers),
            ("workflows", workflows or "none active; `gz list` shows all"),
            ("tasks", f"{status.queued:,} queued, {status.running:,} running"),
            *(("shards", _shards_words(row, status)) for row in status.coordinators),
        ]
    )
    advice = [WHAT_TO_DO] if any("is quarantined" in warning for warning in status.warnings) else []
    return "\n".join([head, *(f"warning: {warning}" for warning in status.warnings), *advice])
