"""What a provider is: by its own `rpc.discover`, and by its registration."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec import Struct

from gleitzeit.schemas import MethodSchema, is_task_method, method_schema, methods_in_pieces

DEFAULT_CAPACITY = 1


class Registration(Struct, frozen=True):
    """What `provider.register` brings for a provider that need not describe itself."""

    url: str
    name: str = ""
    methods: tuple[str, ...] = ()
    schemas: dict[str, dict[str, Any]] = {}
    capacity: int | None = None


class Description(Struct, frozen=True):
    """What a provider is, by its own `rpc.discover` and by its registration."""

    name: str
    instance: str
    methods: tuple[MethodSchema, ...]
    capacity: int
    durable_calls: bool
    splits_batches: bool
    takes_blobs: bool = False
    models: frozenset[str] = frozenset()
    problem: str = ""
    """What is not well, by its own words."""


async def methods_in(document: Any) -> list[MethodSchema]:
    """What an OpenRPC document describes; others go on meanwhile. Raises ValueError."""
    if not isinstance(document, dict):
        raise ValueError(f"rpc.discover answered {type(document).__name__}, not an OpenRPC document")
    described: list[MethodSchema] = []
    for piece in methods_in_pieces(document) if document else ():  # a registered provider need not describe itself
        described += piece
        await asyncio.sleep(0)
    return described


def describe(
    document: dict[str, Any],
    described: Iterable[MethodSchema],
    name: str,
    registration: Registration | None,
    next_instance: Callable[[str], str],
) -> Description:
    """Make sense of an OpenRPC document and its methods. Raises ValueError, saying what is wrong, for one that makes
    none."""
    about = document.get("x-gleitzeit") or {}
    if not isinstance(about, dict):
        raise ValueError("x-gleitzeit is not an object")
    methods = {m.name: m for m in described if is_task_method(m.name)}
    capacity = about.get("capacity", DEFAULT_CAPACITY)
    if registration is not None:
        for method in registration.methods:
            methods.setdefault(method, method_schema(method, {}))
        for method, schema in registration.schemas.items():
            methods[method] = method_schema(method, schema)
        capacity = registration.capacity or capacity
        name = registration.name or name
    if not methods:
        raise ValueError("it serves no method that a task could call")
    if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
        raise ValueError(f"its capacity is {capacity!r}, not a number from 1")
    models, problems = about.get("models"), about.get("problems")
    durable = _keeps_calls(about) and isinstance(about.get("instance"), str)
    return Description(
        name=str(about.get("name") or name),
        instance=about["instance"] if durable else next_instance(name),
        methods=tuple(methods.values()),
        capacity=capacity,
        durable_calls=durable,
        splits_batches=about.get("batch") == "split",
        takes_blobs=durable and about.get("blobs") == "v1",
        models=frozenset(model for model in models if isinstance(model, str))
        if isinstance(models, list)
        else frozenset(),
        problem="; ".join(filter(_is_text, problems)) if isinstance(problems, list) else "",
    )


def _keeps_calls(about: dict[str, Any]) -> bool:
    """Whether it announces calls/v1: by a key of its own, or among its protocols."""
    protocols = about.get("protocols")
    return about.get("calls") == "v1" or (isinstance(protocols, list) and "calls/v1" in protocols)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def registration_of(event: bytes) -> Registration:
    return msgspec.json.decode(event, type=Registration)
