"""To wait for a workflow that is under way, and to say what came of it."""

from collections.abc import Collection
from pathlib import Path

from msgspec import Struct

from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.views import ErrorView, WorkflowResult
from gleitzeit.errors import GleitzeitError
from gleitzeit.model.definition import Definition
from gz_cli import exits
from gz_cli.drawing.layout import last
from gz_cli.following.failures import story
from gz_cli.following.follow import follow, tasks_of
from gz_cli.following.progress import WorkflowProgress
from gz_cli.following.views import JsonLines, Only, choose
from gz_cli.formats import Format
from gz_cli.terminal.durations import duration
from gz_cli.terminal.output import encode, outputs_as, results_text
from gz_cli.terminal.talk import put, say

LARGE = 500
"""So many tasks may be too much for one event: better asked for before events begin to come."""


class Wait(Struct, frozen=True):
    """How to wait for a workflow. `hold_when_interrupted` is for those that the command itself has started."""

    output: Format = Format.TEXT
    timeout_seconds: float | None = None
    quiet: bool = False
    hold_when_interrupted: bool = False
    file: Path | None = None
    """Where the result goes, in place of stdout."""


async def wait(client: Coordinator, workflow_id: str, how: Wait, definition: Definition | None = None) -> int:
    """Until the workflow has ended and its result is on stdout; the exit code."""
    progress = WorkflowProgress(workflow_id)
    view = choose(progress, quiet=how.quiet)
    end = await follow(client, progress, view, timeout_seconds=how.timeout_seconds, definition=definition)
    if end == "interrupt":
        await _interrupted(client, workflow_id, hold=how.hold_when_interrupted)
        return exits.INTERRUPTED
    if end == "timeout":
        _say_timeout(workflow_id, how)
        return exits.TIMED_OUT
    await put_result(client, progress, how, definition)
    return exits.of_status(progress.status)


async def watch(client: Coordinator, text: str, how: Wait, types: Collection[str] = ()) -> int:
    """For somebody who looks on: the story on stderr, nothing on stdout; as JSON, the story is on stdout. With `types`,
    only events of these."""
    workflow_id = await client.resolve_id(text)
    now = await client.get(workflow_id, limit=1)
    if now.held:
        say(f"{workflow_id} is held: `gz resume {workflow_id}` lets it go on")
    definition = await tasks_of(client, workflow_id) if now.tasks_total > LARGE else None
    progress = WorkflowProgress(workflow_id)
    view = JsonLines() if how.output is Format.JSON else choose(progress, quiet=how.quiet, lines=bool(types))
    if types:
        view = Only(view, types)
    end = await follow(client, progress, view, timeout_seconds=how.timeout_seconds, definition=definition)
    if end == "interrupt":
        await _interrupted(client, workflow_id, hold=False)
        return exits.INTERRUPTED
    if end == "timeout":
        _say_timeout(workflow_id, how)
        return exits.TIMED_OUT
    return exits.of_status(progress.status)


async def put_result(
    client: Coordinator, progress: WorkflowProgress, how: Wait, definition: Definition | None = None
) -> None:
    """As a document of an earlier version wished by its `output.format`, where nobody says it otherwise."""
    output = how.output
    if output is Format.ID:
        put(progress.workflow_id)
        return
    result = await client.result(progress.workflow_id)
    if how.file is not None:
        form = output if output is Format.YAML else Format.JSON
        how.file.write_text(encode(result, form) + "\n", encoding="utf-8")
        say(f"the result is written to {how.file}")
        if result.status != "completed":
            await say_end(client, result)
        return
    if output is not Format.TEXT:
        put(encode(result, output))
    elif result.status == "completed":
        wished = str(definition.metadata.get("output_format", "")) if definition is not None else ""
        put(outputs_as(wished, result.outputs) or results_text(result.results, result.outputs, last(progress.nodes())))
    else:
        await say_end(client, result)


async def say_end(client: Coordinator, result: WorkflowResult) -> None:
    """Why a workflow did not complete, what did, and what can be done."""
    if result.status not in ("failed", "cancelled"):
        say(f"gz: {result.workflow_id} is {result.status}")
        return
    again = f"`gz get {result.workflow_id}` shows every task, `gz retry {result.workflow_id}` tries again"
    end = "was cancelled" if result.status == "cancelled" else f"failed{_because(result.error)}"
    told = (f"gz: {result.workflow_id} {end}", await story(client, result), again)
    say("\n".join(filter(None, told)))


def _because(error: ErrorView | None) -> str:
    if error is None:
        return ""
    return f" in {error.task}: {error.message}" if error.task else f": {error.message}"


def _say_timeout(workflow_id: str, how: Wait) -> None:
    waited = duration(how.timeout_seconds or 0)
    say(f"gz: {workflow_id} has not ended after {waited}; it goes on. `gz watch {workflow_id}` waits for it again")


async def _interrupted(client: Coordinator, workflow_id: str, *, hold: bool) -> None:
    ways = (("resume", "Go on with"), ("watch", "look on with"), ("cancel", "end it with"))
    on = ", ".join(f"{words} `gz {command} {workflow_id}`" for command, words in ways if hold or command != "resume")
    on = f"{on[:1].upper()}{on[1:]}."
    if not hold:
        say(f"Interrupted; {workflow_id} goes on without you.\n{on}")
        return
    try:
        await client.hold(workflow_id)
    except GleitzeitError as error:
        say(f"Interrupted; {workflow_id} could not be held ({error.message}) and may go on.\n{on}")
        return
    say(f"Interrupted; {workflow_id} is held: nothing more of it starts.\n{on}")
