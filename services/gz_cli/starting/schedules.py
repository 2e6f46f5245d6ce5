"""`gz schedule`: workflows that the clock starts."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from gleitzeit.client import Prepared
from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.schedules import ScheduleView
from gleitzeit.errors import DocumentError
from gleitzeit.process.reach import dismiss
from gleitzeit.spec.durations import in_words
from gz_cli import exits
from gz_cli.connect import connected
from gz_cli.documents.reading import prepared, say_problems, typed_by_document
from gz_cli.formats import Format
from gz_cli.launch import Reach
from gz_cli.starting.starts import say_warnings
from gz_cli.terminal.output import encode
from gz_cli.terminal.table import fitted, pairs
from gz_cli.terminal.talk import put, say
from gz_cli.typed import Inputs, Source


class Plan(Struct, frozen=True):
    """What is to be started, and (`settings`, as of schedule.put; None is not given) when."""

    name: str
    source: Source | None
    template: str | None
    typed: Inputs
    settings: Mapping[str, Any]


def put_schedule(reach: Reach, plan: Plan, output: Format) -> int:
    """Raises UsageError."""
    if (plan.source is None) == (plan.template is None):
        dismiss(reach)
        raise exits.UsageError("name either a FILE or a --template")
    inputs: Mapping[str, object] = {}
    ready = None
    if plan.source is not None:
        inputs = typed_by_document(plan.source, plan.typed)
        ready = prepared(plan.source, inputs=inputs, warn=False)
        if ready is None:
            dismiss(reach)
            return exits.USAGE
    return asyncio.run(_put(reach, plan, ready, inputs, output))


async def _put(reach: Reach, plan: Plan, ready: Prepared | None, inputs: Mapping[str, object], output: Format) -> int:
    async with connected(reach) as client:
        if plan.template is not None:
            template = await client.templates.get(plan.template)
            inputs = plan.typed.by(template.inputs or {})
        definition = ready.definition if ready is not None else None
        try:
            what = {"definition": definition, "template": plan.template, "inputs": inputs}
            view = await client.schedules.put(plan.name, **{**plan.settings, **what})
        except DocumentError as error:
            if ready is None:
                raise
            say_problems(error, ready.document)
            return exits.USAGE
    if ready is not None:
        say_warnings(ready, view.warnings, ())
    if output is Format.TEXT:
        put(f"{view.name} is {view.status}, {_when(view)}; next: {_due(view, 0) or 'never'}")
        if reach.detached is not None or (reach.address is not None and reach.address.embedded):
            say("warning: schedules are kept only while a coordinator runs: `gz up` keeps one up")
    else:
        put(view.name if output is Format.ID else encode(view, output))
    return exits.OK


def _when(view: ScheduleView) -> str:
    return f"{view.cron} ({view.timezone})" if view.cron else f"every {in_words(view.every_seconds)}"


def _due(view: ScheduleView, at: int) -> str | None:
    """A time at which it is due, by the clock that it goes by."""
    if at >= len(view.next):
        return None
    due = datetime.fromisoformat(view.next[at]).astimezone(ZoneInfo(view.timezone or "UTC"))
    return f"{due:%a %Y-%m-%d %H:%M:%S %Z}" if due.second else f"{due:%a %Y-%m-%d %H:%M %Z}"


async def listed(client: Coordinator, output: Format) -> int:
    found = await client.schedules.list()
    if output is Format.ID:
        put("\n".join(one.name for one in found))
    elif output is not Format.TEXT:
        put(encode(found, output))
    elif found:
        rows = [
            (
                one.name,
                one.status,
                _when(one),
                _due(one, 0),
                one.fired,
                one.template or one.workflow,
            )
            for one in found
        ]
        put(fitted(("name", "status", "when", "next", "fired", "workflow"), rows))
    else:
        say("no schedules; `gz schedule put NAME FILE --cron …` makes one")
    return exits.OK


async def one(client: Coordinator, name: str, output: Format) -> int:
    view = await client.schedules.get(name)
    if output is not Format.TEXT:
        put(view.name if output is Format.ID else encode(view, output))
        return exits.OK
    put(
        pairs(
            [
                ("schedule", view.name),
                ("status", view.status),
                ("when", _when(view)),
                ("workflow", view.template or view.workflow),
                ("overlap", view.overlap),
                ("catch up", view.catch_up),
                ("fired", view.fired),
                ("last", view.last_workflow_id),
                ("running", ", ".join(view.running)),
                ("queued", view.queued or None),
                *(("next" if at == 0 else "then", _due(view, at)) for at in range(len(view.next))),
                ("about", view.description),
            ]
        )
    )
    return exits.OK


async def change(client: Coordinator, name: str, what: str, output: Format) -> int:
    view = await getattr(client.schedules, what)(name)
    if output is Format.TEXT:
        put(f"{view.name} is {view.status}" + (f"; next: {_due(view, 0)}" if view.next else ""))
    else:
        put(view.name if output is Format.ID else encode(view, output))
    return exits.OK


async def trigger(client: Coordinator, name: str, key: str | None, output: Format) -> int:
    state = await client.schedules.trigger(name, idempotency_key=key)
    put(state.workflow_id if output in (Format.TEXT, Format.ID) else encode(state, output))
    return exits.OK


async def backfill(client: Coordinator, name: str, since: str, until: str | None, output: Format) -> int:
    view = await client.schedules.backfill(name, since, until)
    if output is not Format.TEXT:
        put("\n".join(view.times) if output is Format.ID else encode(view, output))
        return exits.OK
    known = f"; for {view.known:,} more one was started before" if view.known else ""
    put(f"{len(view.times):,} workflows of {name} are started or wait{known}")
    return exits.OK
