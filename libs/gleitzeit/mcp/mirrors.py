"""What a request of the stateless era says in its headers once more, as a server reads it."""

import base64
import binascii
from collections.abc import Mapping
from typing import Final

from gleitzeit.mcp import eras
from gleitzeit.mcp.exchange import Said

VERSION: Final = "Mcp-Protocol-Version"
METHOD: Final = "Mcp-Method"
NAME: Final = "Mcp-Name"
NAME_OF: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    **dict.fromkeys(("tasks/get", "tasks/update", "tasks/cancel"), "taskId"),
}
"""Which param is what the request is about, by method."""


def version_of(said: Said) -> object:
    """That which a request of the stateless era says it is in; None for one of the old era."""
    meta = said.members().get("_meta")
    return meta.get(eras.VERSION_KEY) if isinstance(meta, dict) else None


def differing(headers: Mapping[str, str], said: Said) -> str:
    """The first header that does not say what the body does; "" if they all do."""
    expected = {VERSION: version_of(said), METHOD: said.method}
    if said.method in NAME_OF:
        expected[NAME] = said.members().get(NAME_OF[said.method])
    return next((name for name, value in expected.items() if _plain(headers.get(name)) != value), "")


def _plain(value: str | None) -> str | None:
    """What a header could not hold stands in it in base64."""
    if value is None or not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    try:
        return base64.b64decode(value[len("=?base64?") : -len("?=")], validate=True).decode()
    except (binascii.Error, ValueError):
        return None
