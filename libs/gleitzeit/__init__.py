"""Durable workflows of LLM, Python and MCP tasks. `gleitzeit.client` is what a Python program begins with; its clients
are here, too, where earlier versions had them.
"""

import importlib

TYPE_CHECKING = False  # as `typing` says it, which costs 4 ms that `gz --version` need not wait for
if TYPE_CHECKING:
    from gleitzeit.client import (
        Client,
        GleitzeitClient,
        SyncClient,
        batch_process,
        chat,
        execute_python,
        run_workflow,
        vision,
    )

__all__ = [
    "Client",
    "GleitzeitClient",
    "SyncClient",
    "__version__",
    "batch_process",
    "chat",
    "execute_python",
    "run_workflow",
    "vision",
]

__version__ = "0.1.0"
"""Of the whole wheel; the build reads it here."""


def __getattr__(name: str) -> object:
    """Imported when it is first asked for: every service imports this file, and hardly any a client."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.client"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
