"""`concurrency`: how many workflows or tasks of one key may be under way at once."""

from typing import Final

from gleitzeit.model.definition import Concurrency, OnConflict
from gleitzeit.spec.findings import Fields
from gleitzeit.spec.foreign import OF_CONCURRENCY
from gleitzeit.spec.loading.scalars import whole_number

KEYS: Final = frozenset({"key", "limit", "on_conflict"})
_ON_CONFLICT: Final[dict[str, OnConflict]] = {"queue": "queue", "cancel_running": "cancel_running", "fail": "fail"}
_MOST: Final = 1_000_000


def read_concurrency(fields: Fields, otherwise: str) -> Concurrency | None:
    """`{key, limit, on_conflict}`, or the limit or the key alone. `otherwise` is the key where none is given."""
    raw = fields.raw.get("concurrency")
    if raw is None:
        return None
    if isinstance(raw, str) and raw:
        return Concurrency(raw)
    if whole_number(raw) is not None:
        limit = fields.whole("concurrency", 1, _MOST)
        return Concurrency(otherwise, limit) if limit is not None else None
    if not isinstance(raw, dict) or not raw:
        fields.wrong("concurrency", "'concurrency' is a limit, a key, or a map with 'key', 'limit' and 'on_conflict'")
        return None
    within = Fields(raw, fields.at("concurrency"), fields.findings)
    within.check_keys(KEYS, "'concurrency'", OF_CONCURRENCY)
    return Concurrency(
        key=within.text("key") or otherwise,
        limit=within.whole("limit", 1, _MOST) or 1,
        on_conflict=within.choice("on_conflict", _ON_CONFLICT) or "queue",
    )
