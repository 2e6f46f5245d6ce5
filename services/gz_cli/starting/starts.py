"""`gz run`, `gz submit`, and a task method called by itself: from a document that is ready (see `beforehand`) to a
workflow that is under way."""

import asyncio
from collections.abc import Sequence
from typing import Literal
from uuid import uuid4

import msgspec
from msgspec import Struct

from gleitzeit.client import Prepared
from gleitzeit.client.batch import is_batch
from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.served import require
from gleitzeit.client.views import Submitted
from gleitzeit.errors import DocumentError
from gleitzeit.spec.problems import Path as Place
from gleitzeit.spec.problems import render
from gz_cli import exits
from gz_cli.connect import connected
from gz_cli.documents.beforehand import Ready
from gz_cli.documents.reading import beneath, say_problems
from gz_cli.following.waits import Wait, wait
from gz_cli.formats import Format
from gz_cli.starting import batch
from gz_cli.terminal.output import encode
from gz_cli.terminal.talk import put, say

LARGE_BYTES = 256 * 1024
Then = Literal["leave", "wait", "as the document says"]


class Start(Struct, frozen=True):
    """What to do with a document. `then` says whether to wait for the result, and `wait` how."""

    wait: Wait
    then: Then = "wait"
    idempotency_key: str | None = None
    hold: bool = False


def start(ready: Ready, how: Start) -> int:
    """Submit, and wait if so wished; the exit code. Raises NoModel, NoProvider, NoTool."""
    return asyncio.run(_start(ready, how))


async def _start(ready: Ready, how: Start) -> int:
    prepared = ready.prepared
    async with connected(ready.reach) as client:
        assert prepared.checked is not None
        await require(client, prepared.checked, ready.reach)
        submitted = await _submit(client, ready, how)
        if submitted is None:
            return exits.USAGE
        if how.then == "leave" or (how.then != "wait" and not prepared.checked.wait_for_completion):
            put_submitted(submitted, how.wait.output)
            return exits.OK
        if is_batch(prepared):
            return await _batch(client, prepared, submitted.workflow_id, how.wait)
        return await wait(client, submitted.workflow_id, how.wait, prepared.checked)


async def _batch(client: Coordinator, prepared: Prepared, workflow_id: str, how: Wait) -> int:
    """What came of each file, as `gz batch` tells it. A file for the result that says no other form is JSON."""
    wish = batch.Wish(out=how.file, form=how.output, timeout_seconds=how.timeout_seconds, quiet=how.quiet)
    return await batch.told(client, prepared, workflow_id, wish, f"`gz resume {workflow_id}` goes on.")


async def _submit(client: Coordinator, ready: Ready, how: Start) -> Submitted | None:
    """None if the coordinator finds the document wrong: then its problems are on stderr."""
    prepared = ready.prepared
    key = how.idempotency_key or _own_key(prepared)
    try:
        await client.bring(prepared.files)
        submitted = await client.submit_definition(
            prepared.definition, inputs=ready.inputs, idempotency_key=key, hold=how.hold
        )
    except DocumentError as error:
        say_problems(error, prepared.document, ready.below)
        return None
    if not submitted.created and how.idempotency_key is not None:
        say(f"the same was submitted before, as {submitted.workflow_id}")
    say_warnings(prepared, submitted.warnings, ready.below)
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
