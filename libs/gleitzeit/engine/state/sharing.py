"""What is alike in many definitions is kept in memory once.

100,000 queued tasks are 100,000 definitions, whose empty maps, names of methods and parts of the journal's bytes would
take more than all the rest of them.
"""

import sys
from functools import lru_cache

import msgspec
from msgspec import Raw
from msgspec.structs import force_setattr

from gleitzeit.model.definition import Definition, RetryPolicy, TaskDefinition
from gleitzeit.model.events import WorkflowSubmitted

_FEW_TASKS = 16
_MOST_KNOWN, _KNOWN_BYTES = 64, 16 << 10
_known: dict[bytes, Definition] = {}
"""The last small definitions, by their JSON: those who submit many workflows often submit the same document."""
_encode = msgspec.json.Encoder().encode
_NOTHING: dict[str, object] = {}
"""Never written to: definitions are frozen."""
_EMPTY = Raw(b"{}")
# What is a default is left out of JSON only if it is the very object.
_DEFINITION = Definition("", ())
_TASK = TaskDefinition("", "")
_SUBMITTED = WorkflowSubmitted(0, "", _DEFINITION)


def share(submitted: WorkflowSubmitted) -> bool:
    """Replace parts of a workflow's first event by equal ones that others have too. To everybody it stays as it was.

    Returns whether its tasks are done; those of a large one are left for `share_task`.
    """
    definition = submitted.definition
    few = len(definition.tasks) < _FEW_TASKS
    if few:  # what is decoded keeps the whole text in memory that it was decoded from
        force_setattr(submitted, "inputs", _copy(submitted.inputs, _SUBMITTED.inputs))
        known = _known_as(definition)
        if known is not definition:
            force_setattr(submitted, "definition", known)
            return True
        for name in ("parameters", "inputs", "config"):
            force_setattr(definition, name, _copy(getattr(definition, name), getattr(_DEFINITION, name)))
        for task in definition.tasks:
            share_task(task)
            force_setattr(task, "params", _copy(task.params, _TASK.params))
            force_setattr(task, "id", sys.intern(task.id))
    for name in ("env", "outputs", "metadata", "breakers"):
        if not getattr(definition, name):
            force_setattr(definition, name, _NOTHING)
    for name in ("name", "version"):
        force_setattr(definition, name, sys.intern(getattr(definition, name)))
    return few


def share_task(task: TaskDefinition) -> None:
    if not task.bindings:
        force_setattr(task, "bindings", _NOTHING)
    if not task.metadata:
        force_setattr(task, "metadata", _NOTHING)
    force_setattr(task, "method", sys.intern(task.method))
    if task.retry is not _TASK.retry:
        force_setattr(task, "retry", _shared_policy(task.retry))


def _known_as(definition: Definition) -> Definition:
    """An equal one that others have, or this one, for others to come."""
    encoded = _encode(definition)
    known = _known.get(encoded)
    if known is not None:
        return known
    if len(encoded) <= _KNOWN_BYTES:
        if len(_known) >= _MOST_KNOWN:
            del _known[next(iter(_known))]
        _known[encoded] = definition
    return definition


@lru_cache
def _shared_policy(policy: RetryPolicy) -> RetryPolicy:
    return policy


def _copy(value: Raw, default: Raw) -> Raw:
    if value is default:
        return value
    return _EMPTY if value == _EMPTY else value.copy()
