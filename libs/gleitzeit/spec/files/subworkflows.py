"""Workflows that are tasks of others: what a document says of them, and how a name becomes the workflow that it names.

The reference of a task is a file (read by the client, beside the document), a template (resolved by the coordinator,
when the document is submitted), or the workflow itself. What was resolved stands in the document in its place.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gleitzeit.spec.environment import TASK_LISTS
from gleitzeit.spec.findings import Findings
from gleitzeit.spec.legacy import with_templates
from gleitzeit.spec.problems import Path
from gleitzeit.spec.references.references import has_places

LIMIT_NESTING: Final = 8
_METHODS: Final = frozenset({"workflow/run", "workflow/execute", "workflow/execute_async"})
_KEYS: Final = ("workflow", "workflow_ref")
_SUFFIXES: Final = (".yaml", ".yml", ".json")


def is_file(reference: str) -> bool:
    """Whether a reference names a file, not a template."""
    return reference.lower().endswith(_SUFFIXES) or reference.startswith(("./", "../", "/", "~"))


def places_of(document: object) -> Iterator[tuple[Path, Any]]:
    """Where the tasks of one document (not of those within it) say which workflow they run, and what they say."""
    below: Path = ()
    if isinstance(document, dict) and len(document) == 1 and "workflow" in document:
        document, below = document["workflow"], ("workflow",)
    for name in TASK_LISTS:
        tasks = document.get(name) if isinstance(document, dict) else None
        listed: Any = tasks.items() if isinstance(tasks, dict) else enumerate(tasks) if isinstance(tasks, list) else ()
        for key, task in listed:
            if isinstance(task, dict) and _runs_workflow(task):
                yield from _said(task, (*below, name, key))


def templates_in(document: object) -> Iterator[str]:
    """The names of templates that tasks of a document run, or of a document within it."""
    for _, written in places_of(with_templates(document)):
        if isinstance(written, str) and not is_file(written) and not has_places(written):
            yield written
        elif isinstance(written, dict):
            yield from templates_in(written)


def _runs_workflow(task: Mapping[str, Any]) -> bool:
    method, kind = task.get("method"), task.get("type")
    if isinstance(method, str):
        protocol = str(task.get("protocol") or kind or "")
        return method in _METHODS or (protocol.startswith("workflow") and f"workflow/{method}" in _METHODS)
    return kind == "workflow" or (kind is None and task.get("workflow") is not None)


def _said(task: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, Any]]:
    for place, within in ((path, task), *(((*path, name), task.get(name)) for name in ("params", "parameters"))):
        for key in _KEYS:
            if isinstance(within, dict) and within.get(key) is not None:
                yield (*place, key), within[key]


def put(document: Any, path: Path, value: object) -> Any:
    """The document with another value at the path; what is not on the way is shared."""
    if not path:
        return value
    key, rest = path[0], path[1:]
    copy = document.copy()
    copy[key] = put(document[key], rest, value)
    return copy


def complaint(reference: object, findings: Findings, path: Path, depth: int) -> bool:
    """Report what is wrong with a reference itself; whether there was something."""
    if isinstance(reference, str) and has_places(reference):
        message = "which workflow is run must be known when it is submitted: no reference can stand here"
        findings.error(path, message, needle="${")
    elif not isinstance(reference, str | dict):
        findings.error(path, "a 'workflow' is a file, the name of a template, or a workflow written here")
    elif depth > LIMIT_NESTING:
        findings.error(path, f"workflows within workflows are nested deeper than {LIMIT_NESTING}")
    else:
        return False
    return True
