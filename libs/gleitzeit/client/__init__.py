"""What a Python program, and the `gz` command, hold: a coordinator; and documents, read where their author is.

async with Client() as client:                      # the one that is configured or runs, else one of its own
    print(await client.chat("Why is the sky blue?"))
    result = await client.run_workflow("hello.yaml", inputs={"name": "world"})
    print(result.value("greeting"))

`SyncClient` is its twin for programs without asyncio. `GleitzeitClient`, `chat`, `vision`, `run_workflow`,
`batch_process` and `execute_python` are as earlier versions had them.

Each name is imported when it is first asked for: who only checks documents needs no sockets, and who only asks a
coordinator knows no documents.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gleitzeit.client.batch import BatchResult, FileResult
    from gleitzeit.client.client import Client, Mode
    from gleitzeit.client.coordinator import AmbiguousId
    from gleitzeit.client.documents import Defaults, Prepared, Workflow, prepare, prepare_file
    from gleitzeit.client.earlier import GleitzeitClient, batch_process, chat, execute_python, run_workflow, vision
    from gleitzeit.client.sync import SyncClient
    from gleitzeit.client.views import WorkflowResult
    from gleitzeit.client.watch import ConnectionItem, LogItem, ProgressItem, StreamItem, WatchEvent, WatchItem

__all__ = [
    "AmbiguousId",
    "BatchResult",
    "Client",
    "ConnectionItem",
    "Defaults",
    "FileResult",
    "GleitzeitClient",
    "LogItem",
    "Mode",
    "Prepared",
    "ProgressItem",
    "StreamItem",
    "SyncClient",
    "WatchEvent",
    "WatchItem",
    "Workflow",
    "WorkflowResult",
    "batch_process",
    "chat",
    "execute_python",
    "prepare",
    "prepare_file",
    "run_workflow",
    "vision",
]

_NAMES = {
    "batch": ("BatchResult", "FileResult"),
    "client": ("Client", "Mode"),
    "coordinator": ("AmbiguousId",),
    "documents": ("Defaults", "Prepared", "Workflow", "prepare", "prepare_file"),
    "earlier": ("GleitzeitClient", "batch_process", "chat", "execute_python", "run_workflow", "vision"),
    "sync": ("SyncClient",),
    "views": ("WorkflowResult",),
    "watch": ("ConnectionItem", "LogItem", "ProgressItem", "StreamItem", "WatchEvent", "WatchItem"),
}
_FILE_OF = {name: file for file, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_FILE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
