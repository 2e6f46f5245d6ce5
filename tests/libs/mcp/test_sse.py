"""Server-sent events, however the bytes come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.errors import PayloadTooLarge
from gleitzeit.mcp.sse import Event, EventStream

STREAM = (
    b": a comment\r\n\r\nevent: message\r\nid: 1\r\ndata: {}\r\n\r\ndata: a\ndata: b\n\nid: 2\ndata:c\n\nretry: 5\n\n"
)
EVENTS = [Event(b"{}", "1"), Event(b"a\nb"), Event(b"c", "2")]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=10))
def test_events_do_not_depend_on_chunks(sizes: list[int]) -> None:
    stream, found, at, number = EventStream(1000), [], 0, 0
    while at < len(STREAM):
        size = sizes[number % len(sizes)]
        found += stream.feed(STREAM[at : at + size])
        at, number = at + size, number + 1
    assert found == EVENTS


def test_an_event_has_a_limit() -> None:
    stream = EventStream(100)
    with pytest.raises(PayloadTooLarge):
        list(stream.feed(b"data: xxxxxxxxxx\n" * 20))
