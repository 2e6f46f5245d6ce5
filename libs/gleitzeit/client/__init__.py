"""What a Python user, and the `gz` command, hold: a coordinator as an object, and documents read where the author is.

async with await Client.connect("ws://127.0.0.1:8765/") as client:
    submitted = await client.submit(prepare_file(Path("hello.yaml"), environ=os.environ).definition)
    async for item in client.watch(submitted.workflow_id):
        ...
"""

from gleitzeit.client.client import AmbiguousId, Client
from gleitzeit.client.documents import Defaults, Prepared, prepare, prepare_file
from gleitzeit.client.watch import ConnectionItem, LogItem, ProgressItem, StreamItem, WatchEvent, WatchItem

__all__ = [
    "AmbiguousId",
    "Client",
    "ConnectionItem",
    "Defaults",
    "LogItem",
    "Prepared",
    "ProgressItem",
    "StreamItem",
    "WatchEvent",
    "WatchItem",
    "prepare",
    "prepare_file",
]
