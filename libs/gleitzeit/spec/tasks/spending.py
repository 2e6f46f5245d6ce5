"""Keys of tasks and workflows about what calls cost: `budget`, `cache`."""

from typing import Final

from gleitzeit.model.definition import Budget
from gleitzeit.spec.findings import Fields
from gleitzeit.spec.problems import Path

_MOST: Final = 10**15
_BUDGET_KEYS: Final = frozenset({"tokens", "calls", "seconds"})
_CACHE_KEYS: Final = frozenset({"ttl", "key"})


def read_budget(fields: Fields) -> Budget | None:
    """`budget: {tokens, calls, seconds}`; at least one of them."""
    raw = fields.mapping("budget")
    if not raw:
        if fields.raw.get("budget") == {}:
            fields.wrong("budget", "a budget says 'tokens', 'calls' or 'seconds'")
        return None
    within = Fields(raw, fields.at("budget"), fields.findings)
    within.check_keys(_BUDGET_KEYS, "a budget")
    tokens, calls = within.whole("tokens", 1, _MOST), within.whole("calls", 1, _MOST)
    return Budget(tokens, calls, within.duration("seconds"))


class CacheDraft:
    """`key` may have references; `key_path` says where it stands."""

    __slots__ = ("key", "key_path", "ttl_seconds")

    def __init__(self, ttl_seconds: float, key: str, key_path: Path) -> None:
        self.ttl_seconds = ttl_seconds
        self.key = key
        self.key_path = key_path


def read_cache(fields: Fields) -> CacheDraft | None:
    """`cache: 1h` or `cache: {ttl, key?}`; `cache: false` is none."""
    raw = fields.raw.get("cache")
    if raw is None or raw is False:
        return None
    if raw is True:
        fields.wrong("cache", "say how long a result may be used again, like 'cache: 1h'")
        return None
    if not isinstance(raw, dict):
        seconds = fields.duration("cache")
        return CacheDraft(seconds, "", ()) if seconds else None
    within = Fields(raw, fields.at("cache"), fields.findings)
    within.check_keys(_CACHE_KEYS, "cache")
    if not within.attempted("ttl"):
        fields.wrong("cache", "'cache' needs a 'ttl': how long a result may be used again, like 1h")
        return None
    seconds = within.duration("ttl")
    return CacheDraft(seconds, within.text("key"), within.at("key")) if seconds else None
