"""W3C trace context (`traceparent`): what tells programs that record traces which calls came of one cause.

We record none. A submit may bring one in `_meta.traceparent`, else the workflow begins one; every call carries it on,
and so do the workflows that are tasks. All of it follows from what the stream says, so that a call that is sent again
is the same call.
"""

import hashlib
import re
from typing import Final

_SAMPLED: Final = "01"
_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?")


def accepted(given: object) -> str:
    """What was given, if it can be read; "" otherwise, as the specification asks: then a new trace begins."""
    return given if isinstance(given, str) and len(given) <= 512 and _FORM.fullmatch(given) else ""


def carried_on(given: str, workflow_id: str, by: str) -> str:
    """The traceparent of what the workflow does: `by` is the id of the call, or of the workflow that is its task.
    `given` is what the workflow was submitted with, if anything."""
    found = _FORM.fullmatch(given)
    trace, flags = (found[1], found[2]) if found else (hashlib.sha256(workflow_id.encode()).hexdigest()[:32], _SAMPLED)
    return f"00-{trace}-{hashlib.sha256(by.encode()).hexdigest()[:16]}-{flags}"
