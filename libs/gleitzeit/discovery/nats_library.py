"""What we use of nats-py, imported without what it would bring along.

It looks for aiohttp, which it needs for NATS over WebSockets alone: a quarter of a second that every process of a stack
would pay.
"""

import importlib
import sys
from typing import Any

_AIOHTTP = "aiohttp"

if _AIOHTTP not in sys.modules:
    sys.modules[_AIOHTTP] = None  # type: ignore[assignment]  # says that there is none
    try:
        import nats.aio.transport  # the one who looks
    finally:
        del sys.modules[_AIOHTTP]

import nats.aio.transport
from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.micro import add_service
from nats.micro.request import Request
from nats.micro.service import Service, ServiceConfig

__all__ = ["Client", "Msg", "Request", "Service", "ServiceConfig", "add_service", "errors", "with_websockets"]


def with_websockets() -> None:
    """To be called before a server is asked at ws:// or wss://."""
    transport: Any = nats.aio.transport
    if transport.aiohttp is None:
        transport.aiohttp = importlib.import_module(_AIOHTTP)
