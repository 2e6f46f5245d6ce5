"""What takes long for a large workflow, in steps of some milliseconds: others have their turn between two of them."""

import asyncio
from collections.abc import Iterator
from typing import TypeVar

import msgspec
from msgspec import Raw
from msgspec.structs import force_setattr

from gleitzeit.engine.workflow import STEP, Workflow
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Definition, TaskDefinition

T = TypeVar("T")
LARGE_BYTES = 256 << 10
_decode = msgspec.json.Decoder(ev.AnyEvent).decode
_decode_task = msgspec.json.Decoder(TaskDefinition).decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_items = msgspec.json.Decoder(list[Raw]).decode


async def last_of(steps: Iterator[T]) -> T:
    """What the last step gives; it must give something."""
    step = next(steps)
    for following in steps:
        step = following
        await asyncio.sleep(0)
    return step


def decoded(event: bytes) -> Iterator[ev.AnyEvent | None]:
    """The event, in the end."""
    members = _members(event) if len(event) > LARGE_BYTES else {}
    if "definition" not in members:
        yield _decode(event)
        return
    yield None
    definition = members["definition"]
    members["definition"] = Raw(b'{"name":"","tasks":[]}')
    submitted = _decode(msgspec.json.encode(members))
    assert isinstance(submitted, ev.WorkflowSubmitted)
    for whole in decoded_definition(definition):
        force_setattr(submitted, "definition", whole)
        yield None
    yield submitted


def decoded_definition(encoded: Raw) -> Iterator[Definition]:
    """The definition, in the end. It is nobody's until then."""
    members = _members(encoded)
    raw_tasks = members.get("tasks", Raw(b"[]"))
    members["tasks"] = Raw(b"[]")
    definition = msgspec.json.decode(msgspec.json.encode(members), type=Definition)
    yield definition
    items = _items(raw_tasks)
    yield definition
    tasks: list[TaskDefinition] = []
    for start in range(0, len(items), STEP):
        tasks += map(_decode_task, items[start : start + STEP])
        yield definition
    force_setattr(definition, "tasks", tuple(tasks))
    yield definition


async def built(submitted: ev.WorkflowSubmitted) -> Workflow:
    return await last_of(Workflow.in_steps(submitted))
