"""`gz rerun` and `gz diff`."""

from typing import Any

import msgspec

from gleitzeit.client.coordinator import Coordinator
from gleitzeit.client.views import Difference
from gz_cli import exits
from gz_cli.following.follow import tasks_of
from gz_cli.following.waits import Wait, wait
from gz_cli.formats import Format
from gz_cli.terminal.output import encode, payload, short
from gz_cli.terminal.table import fitted, pairs
from gz_cli.terminal.talk import put, say
from gz_cli.typed import Inputs


async def rerun(
    client: Coordinator, text: str, from_task: str | None, changes: Inputs, how: Wait, *, detach: bool
) -> int:
    """What begins with the id of a task is a param of that task, everything else an input."""
    workflow_id = await client.resolve_id(text)
    inputs: dict[str, str] = {}
    params: dict[str, dict[str, object]] = {}
    schema: dict[str, Any] = {}
    if changes.texts:
        definition = await tasks_of(client, workflow_id)
        schema = msgspec.json.decode(definition.inputs, type=dict[str, Any])
        tasks = {task.id for task in definition.tasks}
        for key, value in changes.texts.items():
            task, dot, param = key.rpartition(".")
            if dot and task in tasks:
                params.setdefault(task, {}).update(Inputs({param: value}).by({}))
            else:
                inputs[key] = value
    state = await client.rerun(
        workflow_id, from_task=from_task, inputs=Inputs(inputs).by(schema) or None, params=params or None
    )
    if detach:
        put(state.workflow_id if how.output in (Format.TEXT, Format.ID) else encode(state, how.output))
        return exits.OK
    say(f"{state.workflow_id} runs {workflow_id} again")
    return await wait(client, state.workflow_id, how)


async def diff(client: Coordinator, a: str, b: str, output: Format) -> int:
    found = await client.diff(await client.resolve_id(a), await client.resolve_id(b))
    differs = bool(found.tasks or found.inputs or found.outputs)
    if output is Format.ID:
        put("\n".join(task.task_id for task in found.tasks))
    else:
        put(_words(found) if output is Format.TEXT else encode(found, output))
    return exits.FAILED if differs else exits.OK


def _words(found: Difference) -> str:
    sides = pairs([(name, f"{side['workflow_id']}  {side['name']}  {side['status']}") for name, side in
                   (("a", found.a), ("b", found.b))])  # fmt: skip
    parts = [sides]
    if found.inputs:
        rows = [(name, short(one), short(other)) for name, (one, other) in found.inputs.items()]
        parts.append(fitted(("input", "a", "b"), rows))
    if found.tasks:
        tasks = [(task.task_id, ", ".join(task.differs), _side(task.a), _side(task.b)) for task in found.tasks]
        parts.append(fitted(("task", "differs in", "a", "b"), tasks))
    parts.append(f"{found.same:,} tasks are the same" if found.same != 1 else "1 task is the same")
    return "\n\n".join(parts)


def _side(side: dict[str, Any]) -> str:
    if not side:
        return "-"
    told = side.get("error") or (short(payload(side["result"]), 40) if "result" in side else "")
    return f"{side.get('status', '')}: {told}" if told else str(side.get("status", ""))
