"""The JSON Schema files: one a method, `schemas/<protocol>/v<N>/<method>.json`, found in a checkout and in the wheel.

In the wheel they lie beside this module, in a checkout in the repository's `schemas/`.
"""

from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from gleitzeit.schemas.catalogue import (
    RUNS_IN_COORDINATOR,
    RUNS_IN_PROVIDER,
    Catalogue,
    MethodSchema,
    compile_schema,
    is_task_method,
    method_schema,
    protocol_of,
    verify,
    verify_all,
)
from gleitzeit.schemas.explain import SchemaProblem, explain
from gleitzeit.schemas.openrpc import PIECE, methods_in_pieces, methods_of, openrpc
from gleitzeit.schemas.words import near

__all__ = [
    "PIECE",
    "RUNS_IN_COORDINATOR",
    "RUNS_IN_PROVIDER",
    "Catalogue",
    "MethodSchema",
    "SchemaProblem",
    "builtin",
    "compile_schema",
    "definition_schema",
    "explain",
    "is_task_method",
    "load_methods",
    "method_schema",
    "methods_in_pieces",
    "methods_of",
    "near",
    "openrpc",
    "protocol_of",
    "verify",
    "verify_all",
]

_FILES = "*/v*/*.json"


def _folder() -> Path:
    here = Path(__file__).resolve().parent
    if any(here.glob("workflow/v1/*.json")):
        return here
    return here.parents[2] / "schemas"


def load_methods(folder: Path) -> list[MethodSchema]:
    """Every method that a file below `folder` describes. Raises ValueError, naming the file that cannot be read."""
    methods = []
    for path in sorted(folder.glob(_FILES)):
        try:
            document = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
            if "x-method" in document:  # the others, like workflow/v1/definition.json, describe documents
                methods.append(method_schema(str(document["x-method"]), document))
        except (msgspec.DecodeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error
    return methods


@cache
def builtin() -> Catalogue:
    """The methods that ship with Gleitzeit. Read once; each schema is compiled when it is first needed."""
    return Catalogue(load_methods(_folder()))


@cache
def definition_schema() -> dict[str, Any]:
    """The JSON Schema of a workflow document, as editors use it."""
    return msgspec.json.decode((_folder() / "workflow/v1/definition.json").read_bytes(), type=dict[str, Any])
