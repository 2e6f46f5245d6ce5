"""`gz run`, `gz submit`, and a task method called by itself: from a document to a workflow that is under way."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal
from uuid import uuid4

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from gleitzeit.client import Client, Prepared, needs, prepare
from gleitzeit.client.batch import is_batch
from gleitzeit.client.connecting import dismiss
from gleitzeit.client.documents import defaults_of
from gleitzeit.client.models import require, with_model
from gleitzeit.client.views import Submitted
from gleitzeit.errors import DocumentError
from gleitzeit.spec.load import load_object
from gleitzeit.spec.problems import Path as Place
from gleitzeit.spec.problems import render
from gz_cli import batch, exits
from gz_cli.connect import connected
from gz_cli.documents import beneath, say_problems, typed_by_document
from gz_cli.documents import prepared as prepared_from
from gz_cli.formats import Format
from gz_cli.launch import Reach
from gz_cli.output import encode
from gz_cli.talk import put, say
from gz_cli.typed import Inputs, Source
from gz_cli.waits import Wait, wait

LARGE_BYTES = 256 * 1024
Then = Literal["leave", "wait", "as the document says"]


class Start(Struct, frozen=True):
    """What to do with a document. `then` says whether to wait for the result, and `wait` how. `below` is where in it
    stands what somebody has written, if that is not all of it."""

    wait: Wait
    then: Then = "wait"
    typed: Inputs = Inputs()
    inputs: Mapping[str, object] = {}
    """What the typed ones are by their types."""
    idempotency_key: str | None = None
    hold: bool = False
    priority: str | None = None
    below: Place = ()


def start(reach: Reach, source: Source, how: Start) -> int:
    """Check the document here, submit it there, and wait if so wished; the exit code.

    The stack in `reach` may still be coming up; if the document is wrong it is sent home.
    """
    defaults = defaults_of(reach.target)
    how = replace(how, inputs=typed_by_document(source, how.typed))
    prepared = prepared_from(source, defaults, inputs=how.inputs, warn=False, priority=how.priority)
    if prepared is None:
        dismiss(reach)
        return exits.USAGE
    return run(reach, prepared, how)


def run(reach: Reach, prepared: Prepared, how: Start) -> int:
    """Start a stack with what the document needs, if none is begun. Raises NoModel."""
    assert prepared.checked is not None
    found = with_model(reach, prepared.checked, os.environ, how.inputs)
    say(found.note)
    return asyncio.run(_start(found, prepared, how))


def call_task_method(
    reach: Reach, method: str, params: object, how: Wait, *, leave_it: bool = False, **more: object
) -> int:
    """A workflow of one task; `more` are further keys of it. `leave_it`: the id is printed, and nobody waits."""
    task = {"id": "call", "method": method, "params": params, **more}
    document = load_object({"name": f"call {method}", "tasks": [task]}, name=f"gz call {method}")
    prepared = prepare(document, folder=Path(), environ={})
    below = ("tasks", 0)  # of the document around the task nobody knows
    if prepared.checked is None:
        say(render(beneath(below, prepared.errors), document))
        dismiss(reach)
        return exits.USAGE
    return run(reach, prepared, Start(wait=how, then="leave" if leave_it else "wait", below=below))


async def _start(reach: Reach, prepared: Prepared, how: Start) -> int:
    async with connected(reach) as client:
        if prepared.checked is not None:
            await require(client, prepared.checked, reach)
            await needs.require(client, prepared.checked, reach)
        submitted = await _submit(client, prepared, how)
        if submitted is None:
            return exits.USAGE
        if how.then == "leave" or (how.then != "wait" and not _wants_to_wait(prepared)):
            put_submitted(submitted, how.wait.output)
            return exits.OK
        if is_batch(prepared):
            return await _batch(client, prepared, submitted.workflow_id, how.wait)
        return await wait(client, submitted.workflow_id, how.wait, prepared.checked)


async def _batch(client: Client, prepared: Prepared, workflow_id: str, how: Wait) -> int:
    """What came of each file, as `gz batch` tells it. A file for the result that says no other form is JSON."""
    wish = batch.Wish(out=how.file, form=how.output, timeout_seconds=how.timeout_seconds, quiet=how.quiet)
    return await batch.told(client, prepared, workflow_id, wish, f"`gz resume {workflow_id}` goes on.")


def _wants_to_wait(prepared: Prepared) -> bool:
    return prepared.checked is not None and prepared.checked.wait_for_completion


async def _submit(client: Client, prepared: Prepared, how: Start) -> Submitted | None:
    """None if the coordinator finds the document wrong: then its problems are on stderr."""
    key = how.idempotency_key or _own_key(prepared)
    try:
        await client.bring(prepared.files)
        submitted = await client.submit_definition(
            prepared.definition, inputs=how.inputs, idempotency_key=key, hold=how.hold
        )
    except DocumentError as error:
        say_problems(error, prepared.document, how.below)
        return None
    if not submitted.created and how.idempotency_key is not None:
        say(f"the same was submitted before, as {submitted.workflow_id}")
    say_warnings(prepared, submitted.warnings, how.below)
    return submitted


def _own_key(prepared: Prepared) -> str | None:
    """So that it counts once also where the coordinator dies before it has answered. A large document has none: where
    several coordinators share the work it would take its way through the one that has the key."""
    return None if len(msgspec.json.encode(prepared.definition)) > LARGE_BYTES else uuid4().hex


def say_warnings(prepared: Prepared, warnings: Sequence[str], below: Place) -> None:
    """Those of the coordinator, which knows more than we do; where we found the same, with the place."""
    ours = [*prepared.of_files, *(problem for problem in prepared.warnings if problem.message in warnings)]
    if ours:
        say(render(beneath(below, ours), prepared.document))
    placed = {problem.message for problem in ours}
    for warning in warnings:
        if warning not in placed:
            say(f"warning: {warning}")


def put_submitted(submitted: Submitted, output: Format) -> None:
    if output in (Format.JSON, Format.YAML):
        put(encode(submitted, output))
        return
    put(submitted.workflow_id)
    if output is Format.TEXT:
        say(f"{submitted.name} is submitted; `gz watch {submitted.workflow_id}` shows how it goes on")
