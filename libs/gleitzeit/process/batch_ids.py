"""What a batch is called that nobody has given an id."""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def new_batch_id() -> str:
    """`batch-YYYYMMDD-HHMMSS-xxxx`, the time in UTC."""
    return f"batch-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def with_batch_id(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document, if it is a batch with an `id`."""
    inner = document.get("workflow")
    if len(document) == 1 and isinstance(inner, dict):
        return {"workflow": with_batch_id(inner)}
    if document.get("type") == "batch" and document.get("id") is None:
        return {**document, "id": new_batch_id()}
    return dict(document)
