"""What is known of a workflow's inputs before it runs: for what must be decided when a document is read."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from gleitzeit.errors import ParameterError
from gleitzeit.spec.findings import Fields, Findings
from gleitzeit.spec.inputs import read_inputs
from gleitzeit.spec.references.references import AS_WRITTEN, Reference, substitute

_INPUTS: Final = frozenset({"inputs", "input", "parameters"})


class Known(Struct, frozen=True):
    """`values` by name, without those of which nothing is known; `env` is what the document brings of it."""

    values: Mapping[str, Any]
    env: Mapping[str, Any] = {}

    def filled(self, said: object) -> tuple[Any, bool]:
        """With inputs and environment in the place of references to them; and whether other references are left."""
        is_open = False

        def resolve(reference: Reference) -> object:
            nonlocal is_open
            value = self._of(reference)
            is_open = is_open or value is AS_WRITTEN
            return value

        try:
            return substitute(said, resolve), is_open
        except ParameterError:  # what is wrong with it is said where all texts are checked
            return said, True

    def _of(self, reference: Reference) -> object:
        if reference.base == "env":
            return self.env.get(
                ".".join(reference.path), AS_WRITTEN if reference.default is None else reference.default
            )
        value: Any = self.values
        for step in reference.path if reference.base in _INPUTS else (reference.base, *reference.path):
            if not isinstance(value, Mapping) or step not in value:
                return AS_WRITTEN
            value = value[step]
        return value


def known_of(document: Mapping[str, Any], inputs: Mapping[str, object]) -> Known:
    """From the defaults of a document, and what it is given."""
    declared = read_inputs(Fields(document, (), Findings())).defaults
    said = document.get("env")
    env = said if isinstance(said, dict) else {}
    defaults = {name: Known({}, env).filled(value) for name, value in declared.items() if value is not None}
    return Known({**{name: value for name, (value, is_open) in defaults.items() if not is_open}, **inputs}, env)
