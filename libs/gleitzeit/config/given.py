"""A value that somebody has given for a setting, and where."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct


class Given(Struct, frozen=True):
    value: object
    source: str


class Setting(Struct, frozen=True):
    """`parse` takes what YAML or a variable holds and raises ValueError, in words for its author. `variables`: the
    first that is set counts. `place` makes the result absolute: `(value, home, folder)`."""

    parse: Callable[[object], Any]
    variables: tuple[str, ...]
    place: Callable[[Any, Path, Path], Any] | None = None


def first(environ: Mapping[str, str], names: Iterable[str]) -> str | None:
    """The first of these variables that is set; one that is empty is not."""
    return next((name for name in names if environ.get(name)), None)
