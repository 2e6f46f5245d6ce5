"""Permits of keys, as they stand in the journal and travel between coordinators.

A **limit** is the key of a `concurrency` with what it counts before it: `task/<key>`, `workflow/<key>`. Its permits are
kept by the coordinator that has the shard of its stream. A **holder** is a workflow, or one attempt of a task.
"""

import functools
import hashlib
import urllib.parse

from msgspec import Struct

from gleitzeit.model.definition import OnConflict, Priority

LIMITS = "$limit/"


class Ask(Struct, frozen=True):
    """A wish for a permit. `id` is new for every wish: who has said that it is over never makes use of it again."""

    limit: str
    holder: str
    id: str
    most: int
    on_conflict: OnConflict = "queue"
    epoch: int = 0
    """Of the shard of the holder's workflow, with whoever asks."""
    priority: int = Priority.NORMAL
    """Who waits has a turn by it, and then in order of arrival."""


class Grant(Struct, frozen=True):
    """A permit that is held. `ask` is the latest wish of the holder."""

    holder: str
    ask: str
    epoch: int


class Held(Struct, frozen=True):
    """Who holds the permits of a limit, longest first: the whole of what is known of it."""

    limit: str
    grants: tuple[Grant, ...] = ()


class HeldPermit(Struct, frozen=True):
    """One permit, in what is said about it. `ask` "": whatever the holder wished, it is over and does not come back."""

    limit: str
    holder: str
    ask: str = ""
    epoch: int = 0
    leaving: str = ""
    """Why its holder has to make room."""


class Holder(Struct, frozen=True, omit_defaults=True):
    """Who holds a permit, for people. `state` is held or paused, if it goes on only when somebody lets it."""

    workflow_id: str
    task: str = ""
    state: str = ""


@functools.lru_cache(10_000)
def stream_of(limit: str) -> str:
    """A key may be any text, of any length."""
    return LIMITS + hashlib.sha256(limit.encode()).hexdigest()[:32]


def holder_of(workflow_id: str, task: str = "", attempt: int = 0) -> str:
    """Each part percent-encoded."""
    workflow_id = urllib.parse.quote(workflow_id, safe="")
    return f"{workflow_id}/{urllib.parse.quote(task, safe='')}/{attempt}" if task else workflow_id


def parts_of(holder: str) -> tuple[str, str]:
    """The workflow, and the task or ""."""
    workflow_id, _, rest = holder.partition("/")
    return urllib.parse.unquote(workflow_id), urllib.parse.unquote(rest.partition("/")[0])
