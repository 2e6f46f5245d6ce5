"""Which shard a stream belongs to: the unit in which several coordinators divide the work between them.

A workflow and all that is decided in one commit with it live in one shard: its children, whose ids are
`<parent>~<task>~<attempt>`, and the row of its document's own id, `$id/<workflow>`.
"""

import functools
import re
import zlib

SHARDS = 64
"""Of a journal that several coordinators may share. A local one has a single shard, 0."""
_OF_A_WORKFLOW = "$id/"
_ANYBODYS = ("$cache/", "$drain/", "$provider/", "$template/", "$cluster")


SCHEDULES = "$schedule/"
"""All schedules and the workflows that they start are in one shard: a start is one commit with the fact of it."""
_SCHEDULED = re.compile("wf-s[0-9a-f]{24}(~|$)")


def root_of(stream: str) -> str:
    """The stream whose name decides the shard."""
    stream = stream.removeprefix(_OF_A_WORKFLOW)
    if stream.startswith(SCHEDULES) or _SCHEDULED.match(stream):
        return SCHEDULES
    return stream.partition("~")[0]


@functools.lru_cache(4_096)
def shard_of(stream: str, shards: int) -> int | None:
    """From 0 to `shards - 1`. None for what any coordinator may write: there two that meet find a conflict."""
    if stream.startswith(_ANYBODYS):
        return None
    return zlib.crc32(root_of(stream).encode()) % shards if shards > 1 else 0
