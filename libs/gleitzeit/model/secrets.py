"""`${secrets.NAME}`: what only the provider knows that makes the call.

In everything that is stored, sent and shown stands the name. A call says beside its params, in `_meta.secrets`, which
of their texts have secrets in them: that a text looks like one, because somebody's answer stands there, means nothing.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


class Secret(Struct, frozen=True):
    name: str


class Hidden(Struct, frozen=True):
    """A text with secrets in it; it may be nothing else than one."""

    parts: tuple[str | Secret, ...]

    def __str__(self) -> str:
        return "".join(part if isinstance(part, str) else f"${{secrets.{part.name}}}" for part in self.parts)


class Place(Struct, frozen=True):
    """Where such a text stands in the params of a call: keys and indexes that lead there, and its parts in order."""

    path: tuple[str | int, ...]
    parts: tuple[str | Secret, ...]


def taken_out(params: Any) -> tuple[Any, list[Place]]:
    """The params with every Hidden replaced by how it is written, and where they were."""
    places: list[Place] = []

    def walk(value: Any, path: tuple[str | int, ...]) -> Any:
        if isinstance(value, Hidden):
            places.append(Place(path, value.parts))
            return str(value)
        if isinstance(value, Mapping):
            return {key: walk(inner, (*path, str(key))) for key, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner, (*path, index)) for index, inner in enumerate(value)]
        return value

    return walk(params, ()), places


def put_in(params: dict[str, Any], places: Sequence[Place], known: Mapping[str, str]) -> None:
    """The way back, in place, with what the names stand for. Raises LookupError for a place that there is not."""
    for place in places:
        *way, last = place.path
        at: Any = params
        for step in way:
            at = at[step]
        if not isinstance(at[last], str):
            raise LookupError(last)
        at[last] = "".join(part if isinstance(part, str) else known[part.name] for part in place.parts)


def names_in(places: Sequence[Place]) -> list[str]:
    return list(dict.fromkeys(part.name for place in places for part in place.parts if isinstance(part, Secret)))
