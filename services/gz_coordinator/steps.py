"""What takes long for a large workflow, in steps of some milliseconds: others have their turn between two of them."""

import asyncio
import contextlib
import gc
import time
from collections.abc import Iterator
from typing import TypeVar

import msgspec
from msgspec import Raw
from msgspec.structs import force_setattr, replace

from gleitzeit.engine.state.workflow import STEP, Workflow
from gleitzeit.model import events as ev
from gleitzeit.model.definition import Definition, TaskDefinition

T = TypeVar("T")
LARGE_BYTES = 256 << 10
HUGE_BYTES = 1 << 20
GARBAGE_SECONDS = 3600.0
LONG_LOOK_SECONDS = 0.02
NEW_OBJECTS = 50_000
"""After so many more there is a look for garbage in the new ones."""
HOPS = 6
PIECE_BYTES = 64 << 10
"""Of the tasks of a definition, in one step."""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ev.AnyEvent).decode
_decode_tasks = msgspec.json.Decoder(list[TaskDefinition]).decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_BETWEEN = b"},{"


async def others_first() -> None:
    """Between two steps, as often as a request of others needs the loop until it is answered: else each time would be
    as long as a step."""
    for _ in range(HOPS):
        await asyncio.sleep(0)


async def last_of(steps: Iterator[T]) -> T:
    """What the last step gives; it must give something."""
    step = next(steps)
    for following in steps:
        step = following
        await others_first()
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
    tasks: list[TaskDefinition] = []
    for some in _pieces(bytes(raw_tasks)):
        tasks += some
        yield definition
    force_setattr(definition, "tasks", tuple(tasks))
    yield definition


async def encoded_definition(definition: Definition) -> Raw:
    pieces: list[bytes] = []
    for start in range(0, len(definition.tasks), STEP):
        pieces.append(_encode(definition.tasks[start : start + STEP])[1:-1])
        await others_first()
    members = _members(_encode(replace(definition, tasks=())))
    members["tasks"] = Raw(b"[%b]" % b",".join(pieces))
    return Raw(_encode(members))


def _pieces(encoded: bytes) -> Iterator[list[TaskDefinition]]:
    """An array of tasks, some at a time. What a piece ends with may be within a task, which then is no JSON: the piece
    has to be a larger one."""
    start, size_bytes = 1, PIECE_BYTES
    while (end := encoded.find(_BETWEEN, start + size_bytes)) > 0:
        try:
            tasks = _decode_tasks(b"[%b}]" % encoded[start:end])
        except msgspec.DecodeError:
            size_bytes *= 2
        else:
            yield tasks
            start, size_bytes = end + 2, PIECE_BYTES
    yield _decode_tasks(b"[" + encoded[start:])


@contextlib.contextmanager
def lasting(size_bytes: int) -> Iterator[None]:
    """What is made meanwhile is no garbage, if it is very large: to look for some in it takes as long as many turns, at
    each of several times. From then on nobody looks there, until `look_for_garbage`."""
    if size_bytes < HUGE_BYTES:
        yield
        return
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        _Garbage.unseen = True
        if enabled:
            gc.enable()


class _Garbage:
    unseen = False
    """Whether there may be some where nobody looks."""
    began = 0.0
    """When a look in what is not quite new began."""


def look_once_only() -> None:
    """What a long look for garbage has found to be none is left alone by the next ones: while 100,000 workflows come in
    some would take a quarter of a second, in which nobody is answered. From then on as `lasting`. The first look after
    which that is so has to come soon."""
    gc.set_threshold(NEW_OBJECTS, 1)
    if _looked not in gc.callbacks:
        gc.callbacks.append(_looked)


def _looked(phase: str, info: dict[str, int]) -> None:
    if info["generation"] == 0:
        return
    if phase == "start":
        _Garbage.began = time.perf_counter()
    elif time.perf_counter() - _Garbage.began > LONG_LOOK_SECONDS:
        gc.freeze()
        _Garbage.unseen = True


async def look_for_garbage_for_ever() -> None:
    """In all that there is, every hour, if there may be some that nobody sees: what is not freed at once, as its parts
    know each other, is little, but would become more and more."""
    while True:
        await asyncio.sleep(GARBAGE_SECONDS)
        if _Garbage.unseen:
            _Garbage.unseen = False
            gc.unfreeze()
            gc.collect()
            gc.freeze()


async def let_go(workflow: Workflow) -> None:
    """What nobody else holds goes bit by bit: to free 100,000 tasks at once takes as long as many turns."""
    tasks = list(workflow.tasks.values())
    definitions = list(workflow.definition.tasks)
    del workflow
    while tasks:
        await others_first()
        del tasks[-STEP:], definitions[-STEP:]


async def built(submitted: ev.WorkflowSubmitted) -> Workflow:
    return await last_of(Workflow.in_steps(submitted))
