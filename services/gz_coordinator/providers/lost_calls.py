"""Calls that got lost on a connection that goes on.

TCP loses nothing of what it carries, but what stands between two of its connections may: a proxy that swallows some
seconds and then goes on. Neither side hears of it, and the pings of the socket pass before and after. So a provider is
asked now and then about calls that have been under way for a while: what it does not have for this connection will
never be answered on it.
"""

import asyncio
from collections.abc import Callable, Iterable

from gleitzeit import errors
from gleitzeit.transport import PROTOCOL_ERROR, Connection

CHECK_SECONDS = 10.0
MOST_AT_ONCE = 1_000


async def close_when_calls_are_lost(
    connection: Connection, under_way: Callable[[Connection], Iterable[str]], check_seconds: float = CHECK_SECONDS
) -> None:
    """Until the connection is closed, or for one that cannot be asked. `under_way` are the calls that wait for their
    answer on it. Who connects anew attaches to all of them, and nothing is paid twice."""
    before, missing_before = set[str](), set[str]()
    while not connection.closed:
        await asyncio.sleep(check_seconds)
        now = set(under_way(connection))
        old, before = sorted(now & before)[:MOST_AT_ONCE], now
        try:
            found = await connection.call("call.check", {"callIds": old}, timeout_seconds=check_seconds) if old else {}
        except TimeoutError:
            continue  # whether it lives the pings find out
        except errors.GleitzeitError:
            return
        lost = found.get("lost") if isinstance(found, dict) else None
        # What came before the answer has been read by now. Twice, as what it says may cross with what it was asked.
        missing = {one for one in lost if isinstance(one, str)} if isinstance(lost, list) else set[str]()
        missing &= set(under_way(connection))
        if missing & missing_before:
            await connection.close(PROTOCOL_ERROR, "calls, or their answers, were lost on the way")
        missing_before = missing
