"""Before a coordinator is asked: a document is read and checked, and a stack with what it needs is begun.

Without sockets, which are a third of a second to import: what is wrong, or missing on this machine, is told before, and
a stack that is begun comes up meanwhile.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from gleitzeit.client import Prepared, prepare
from gleitzeit.client.documents import defaults_of
from gleitzeit.client.models import with_model
from gleitzeit.process.reach import Reach, dismiss
from gleitzeit.spec.loading.load import load_object
from gleitzeit.spec.problems import Path as Place
from gleitzeit.spec.problems import render
from gz_cli.documents.reading import beneath, prepared, typed_by_document
from gz_cli.terminal.talk import say
from gz_cli.typed import Inputs, Source


class Ready(Struct, frozen=True):
    """`reach` leads to a coordinator that is there or comes up. `inputs` are what was typed, by their types. `below` is
    where in the document stands what somebody has written, if that is not all of it."""

    reach: Reach
    prepared: Prepared
    inputs: Mapping[str, object] = {}
    below: Place = ()


def ready(reach: Reach, source: Source, typed: Inputs, *, priority: str | None = None) -> Ready | None:
    """None if the document is wrong, which has been said; a stack that came up for it is sent home. Raises NoModel."""
    inputs = typed_by_document(source, typed)
    document = prepared(source, defaults_of(reach.target), inputs=inputs, warn=False, priority=priority)
    if document is None:
        dismiss(reach)
        return None
    return _begun(Ready(reach, document, inputs))


def ready_call(reach: Reach, method: str, params: object, **more: object) -> Ready | None:
    """A workflow of one task; `more` are further keys of it. As `ready`."""
    task = {"id": "call", "method": method, "params": params, **more}
    document = load_object({"name": f"call {method}", "tasks": [task]}, name=f"gz call {method}")
    checked = prepare(document, folder=Path(), environ={})
    below = ("tasks", 0)  # of the document around the task nobody knows
    if checked.checked is None:
        say(render(beneath(below, checked.errors), document))
        dismiss(reach)
        return None
    return _begun(Ready(reach, checked, below=below))


def _begun(one: Ready) -> Ready:
    """With a stack that has what the document needs, if none was begun."""
    assert one.prepared.checked is not None
    found = with_model(one.reach, one.prepared.checked, os.environ, one.inputs)
    say(found.note)
    return Ready(found, one.prepared, one.inputs, one.below)
