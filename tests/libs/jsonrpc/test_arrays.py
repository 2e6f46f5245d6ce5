import json
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.jsonrpc import arrays
from gleitzeit.jsonrpc.arrays import Batch, coalesced

MESSAGES = st.lists(st.integers(0, 60).map(lambda size: b'{"x":"%b"}' % (b"x" * size)) | st.just(b'[{"x":1}]'))


@given(MESSAGES, st.integers(1, 5), st.integers(1, 200))
def test_coalesced_messages_keep_their_order_and_their_bounds(messages: list[bytes], at_most: int, size_bytes: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "COALESCE_BYTES", size_bytes)
        frames = coalesced(messages, at_most)
    made = [frame for frame in frames if frame not in messages]
    assert all(len(frame) <= size_bytes + len("[]") + at_most for frame in made)
    assert all(2 <= len(json.loads(frame)) <= at_most for frame in made)
    flat = (json.loads(frame) if frame in made else [json.loads(frame)] for frame in frames)
    assert list(chain.from_iterable(flat)) == [json.loads(message) for message in messages]


def test_what_fits_into_one_array_is_one():
    assert coalesced([b"1", b"2", b"[3]", b"4", b"5"], 64) == [b"[1,2]", b"[3]", b"[4,5]"]


def test_a_batch_is_whole_when_nothing_is_pending():
    batch = Batch()
    batch.pending = 2
    for answer in (b"1", b"2"):
        assert batch.whole() is None
        batch.pending -= 1
        batch.add(answer)
    assert batch.whole() == b"[1,2]"


def test_a_batch_of_notifications_has_no_answer():
    assert Batch().whole() is None


def test_an_answer_leaves_room_for_the_errors_of_the_others():
    batch = Batch()
    batch.pending = 3
    assert batch.room_bytes(4_000) == 4_000 - 2 * 512
    batch.pending -= 1
    batch.add(b"x" * 100)
    assert batch.room_bytes(4_000) == 4_000 - 101 - 512
