"""The two generations of the specification: what each calls things, and what we say of ourselves.

old era     2024-11-05 … 2025-11-25   `initialize`, then a session in which both sides ask
stateless   2026-07-28                every request carries who asks; only the client asks
"""

from collections.abc import Mapping
from typing import Any, Final

STATELESS: Final = "2026-07-28"
HANDSHAKE: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
NEWEST_HANDSHAKE: Final = HANDSHAKE[-1]

VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
CLIENT_KEY: Final = "io.modelcontextprotocol/clientInfo"
CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
LOG_LEVEL_KEY: Final = "io.modelcontextprotocol/logLevel"
SERVER_KEY: Final = "io.modelcontextprotocol/serverInfo"

UNSUPPORTED_VERSION: Final = -32022
HEADER_MISMATCH: Final = -32020

CLIENT_INFO: Final[Mapping[str, str]] = {"name": "gleitzeit", "title": "Gleitzeit", "version": "1"}
CLIENT_CAPABILITIES: Final[Mapping[str, Any]] = {"roots": {"listChanged": False}, "elicitation": {}}
"""Old era; `sampling` is not ours to offer: no model stands behind us."""
STATELESS_CAPABILITIES: Final[Mapping[str, Any]] = {
    "roots": {},
    "elicitation": {"form": {}},
    "extensions": {"io.modelcontextprotocol/tasks": {}},
}


def stateless_meta(extra: Mapping[str, Any]) -> dict[str, Any]:
    """`params._meta` of a request of the stateless era."""
    return {
        VERSION_KEY: STATELESS,
        CLIENT_KEY: CLIENT_INFO,
        CAPABILITIES_KEY: STATELESS_CAPABILITIES,
        LOG_LEVEL_KEY: "info",
        **extra,
    }
