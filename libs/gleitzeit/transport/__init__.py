"""Where bytes meet asyncio: JSON-RPC connections over WebSockets, or over memory. Who listens finds that in `server`,
which costs those who only ask 25 ms of their start."""

from gleitzeit.jsonrpc.messages import Failure, Lost, Reply, Result
from gleitzeit.jsonrpc.request import Request
from gleitzeit.transport.base import MESSAGE_TOO_BIG, PROTOCOL_ERROR
from gleitzeit.transport.connection import Connection
from gleitzeit.transport.memory import connect_memory
from gleitzeit.transport.tls import pin, trust
from gleitzeit.transport.websocket import connect

__all__ = [
    "MESSAGE_TOO_BIG",
    "PROTOCOL_ERROR",
    "Connection",
    "Failure",
    "Lost",
    "Reply",
    "Request",
    "Result",
    "connect",
    "connect_memory",
    "pin",
    "trust",
]
