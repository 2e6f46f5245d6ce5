"""References to values that are at hand."""

from collections.abc import Callable, Mapping
from typing import Any

from gleitzeit.errors import ParameterError
from gleitzeit.spec.references.references import Reference


def resolver(values: Mapping[str, Any]) -> Callable[[Reference], Any]:
    """What finds a reference in `values`; it raises ParameterError for one that is missing there."""

    def resolve(reference: Reference) -> Any:
        value: Any = values
        for step in (reference.base, *reference.path):
            try:
                value = value[int(step)] if isinstance(value, list) else value[step]
            except (KeyError, IndexError, TypeError):
                raise ParameterError(f"{reference.source} is missing") from None
        return value

    return resolve
