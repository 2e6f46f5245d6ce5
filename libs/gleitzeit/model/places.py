"""Places at foreign providers, in what coordinators say to each other about them.

A provider is **foreign** if it does not announce `calls: v1`: it keeps no table of calls, and need not say that it is
busy. A **place** is the right to have one call at it at a time. Its places, as many as its capacity, are given out by
the coordinator that has the shard of its url.
"""

from msgspec import Struct

_PLACES = "$places/"


class Report(Struct, frozen=True):
    """What a coordinator says of itself and of one foreign provider."""

    url: str
    capacity: int
    """As the provider announced it; 0 if it is not known there."""
    holds: int
    """Places that it holds or still uses: at no time until the answer will it have more calls than that."""
    wants: int
    """Calls that it has, and that it would have besides if it could."""
    ticket: str = ""
    """Of the answer to its last report that arrived."""


class Answer(Struct, frozen=True):
    """`places` are what it has from now on; None if it has to say it again, with this ticket ("": later)."""

    ticket: str = ""
    places: int | None = None


def stream_of(url: str) -> str:
    """Never written: it only says which shard the places at this url belong to."""
    return _PLACES + url
