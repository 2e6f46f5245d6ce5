"""`${env.X}`: read on the author's machine, before submit; what a coordinator allows is read there."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from gleitzeit.errors import ParameterError
from gleitzeit.spec.findings import Findings
from gleitzeit.spec.problems import Path
from gleitzeit.spec.references.expressions import references_in
from gleitzeit.spec.references.references import Reference, has_places, substitute, texts_in

CONDITION_KEYS: Final = ("when", "condition", "conditions", "until", "switch", "cases")
"""Keys of a task whose texts are expressions."""
TASK_LISTS: Final = ("tasks", "always", "on_failure")
"""Keys of a workflow that hold tasks."""

_BARE = re.compile(r"\benv\.([A-Za-z_]\w*)")


def resolve_env(document: dict[str, Any], environ: Mapping[str, str], *, declared_wins: bool = False) -> dict[str, Any]:
    """The document with the environment variables that it uses, and no others, in its `env` map.

    For the client, on the author's machine, and before submit. The values stay values: nothing in them is read for
    references, and in `code` they are bound like any other reference. What the document itself says in `env` is the
    fallback. A variable that is not set stays out; `check` complains where no default is given.

    With `declared_wins` it is the other way round: for the coordinator, which adds to what the client has sent.
    """
    wrapped = document.get("workflow")
    if len(document) == 1 and isinstance(wrapped, dict):
        return {"workflow": resolve_env(wrapped, environ, declared_wins=declared_wins)}
    declared = document.get("env", {})
    if not isinstance(declared, dict):
        return document  # `check` says what is wrong with it
    names = {**dict.fromkeys(declared), **dict.fromkeys(_variables(document))}
    used = {name: environ[name] for name in names if name in environ and not (declared_wins and name in declared)}
    return {**document, "env": {**declared, **used}} if used else document


def _variables(document: object) -> Iterator[str]:
    for text in texts_in(document):
        if not has_places(text):
            continue
        try:
            references = list(references_in(text))
        except ParameterError:
            continue  # `check` says where
        yield from (".".join(one.path) for one in references if one.base == "env")
    yield from _of_conditions(document)


def _of_conditions(document: object) -> Iterator[str]:
    """Those that stand bare, as in `when: env.STAGE == "live"`."""
    for tasks in (document.get(key) for key in TASK_LISTS) if isinstance(document, dict) else ():
        for task in tasks.values() if isinstance(tasks, dict) else tasks if isinstance(tasks, list) else ():
            if isinstance(task, dict):
                for text in texts_in([task.get(key) for key in CONDITION_KEYS]):
                    yield from _BARE.findall(text) if "env." in text else ()


def with_env(
    value: Mapping[str, Any], env: Mapping[str, object], place: Callable[[str], Path], findings: Findings
) -> dict[str, Any]:
    """`inputs` and `config` may read the environment, and nothing else. `place` says where a key stands."""

    def read(reference: Reference) -> object:
        name = ".".join(reference.path)
        if reference.base != "env":
            raise ParameterError(f"{reference.source}: only environment variables can be read here")
        if name not in env and reference.default is None:
            raise ParameterError(
                f"{reference.source}: environment variable '{name}' is not set where this is submitted"
            )
        return env.get(name, reference.default)

    filled = {}
    for key, inner in value.items():
        try:
            filled[key] = substitute(inner, read)
        except ParameterError as error:
            findings.error(place(key), error.message)
    return filled
