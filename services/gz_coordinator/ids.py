"""Names for workflows: sortable by time, short enough to read out, safe in URLs and file names."""

import hashlib
import secrets

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32 in lower case: no i, l, o, u."""


def _base32(number: int, digits: int) -> str:
    return "".join([_ALPHABET[number >> bits & 31] for bits in range(5 * digits - 5, -1, -5)])


def new_workflow_id(now: int) -> str:
    """`wf-` and 16 characters: 9 for the time in milliseconds (until the year 3084), 7 by chance."""
    return f"wf-{_base32(now << 35 | secrets.randbits(35), 16)}"


def workflow_id_for(namespace: str, idempotency_key: str) -> str:
    """The same key always makes the same id, so that a duplicate collides on its first record."""
    digest = hashlib.sha256(f"{namespace}\0{idempotency_key}".encode()).digest()
    return f"wf-k{_base32(int.from_bytes(digest[:10], 'big'), 16)}"
