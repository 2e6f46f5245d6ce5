"""The commands that change the course of a workflow: one line about what it is now, and an exit code."""

from collections.abc import Awaitable, Callable

from msgspec.structs import asdict

from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.views import State
from gz_cli import exits
from gz_cli.following.waits import Wait, wait
from gz_cli.formats import Format
from gz_cli.terminal.durations import counted
from gz_cli.terminal.output import encode
from gz_cli.terminal.talk import put, say


async def change(
    client: Coordinator,
    text: str,
    output: Format,
    make: Callable[[Coordinator, str], Awaitable[State]],
    *,
    watch: bool = False,
) -> int:
    """`make` is given the whole id. With `watch` the answer is not what the workflow is now, but what comes of it."""
    workflow_id = await client.resolve_id(text)
    state = await make(client, workflow_id)
    if watch:
        return await wait(client, workflow_id, Wait(output))
    if output is Format.ID:
        put(workflow_id)
    else:
        put(_words(state) if output is Format.TEXT else encode(state, output))
    return exits.OK


async def delete(client: Coordinator, text: str, output: Format) -> int:
    workflow_id = await client.resolve_id(text)
    deleted = await client.delete(workflow_id)
    if output is Format.TEXT:
        tasks = f", and {counted(deleted - 1, 'workflow')} that its tasks ran" if deleted > 1 else ""
        put(f"{workflow_id} is deleted{tasks}")
    else:
        put(workflow_id if output is Format.ID else encode({"workflow_id": workflow_id, "deleted": deleted}, output))
    return exits.OK


async def signal(client: Coordinator, text: str, name: str, payload: object, key: str | None, output: Format) -> int:
    workflow_id = await client.resolve_id(text)
    signalled = await client.signal(workflow_id, name, payload, idempotency_key=key)
    if signalled.kept and name not in signalled.awaited:
        awaited = f"Awaited: {', '.join(signalled.awaited)}" if signalled.awaited else "No task awaits any signal"
        say(f"warning: no task is known to wait for the signal {name}; it is kept until one does. {awaited}")
    if output is Format.TEXT:
        put(f"{workflow_id} has the signal {name}")
    else:
        put(workflow_id if output is Format.ID else encode({"name": name, **asdict(signalled)}, output))
    return exits.OK


def _words(state: State) -> str:
    again = f", to run again: {counted(len(state.tasks))}" if state.tasks else ""
    if state.cancelling:
        last = "what runs always and what undoes runs before; cancel it again to end it at once"
        return f"{state.workflow_id} is being cancelled: {last}"
    return f"{state.workflow_id} is {'held' if state.held else state.status}{again}"
