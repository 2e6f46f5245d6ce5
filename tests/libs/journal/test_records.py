import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gleitzeit.errors import JournalCorrupt
from gleitzeit.journal.base import Append, Record, Summary
from gleitzeit.journal.records import RECORD_BYTES, SQUEEZED_BYTES, pack, packed, squeezed, unpack, unpack_whole

SUMMARY = Summary("a", "workflow", "", "running", True, 0, 0)


def append(*events: bytes, seq: int = 1) -> Append:
    return Append("a", seq, events, SUMMARY)


@given(st.lists(st.binary().filter(lambda event: b"\n" not in event)), st.integers(1, 1000))
def test_unpack_undoes_pack(events: list[bytes], seq: int) -> None:
    [one] = packed([append(*events, seq=seq)])
    unpacked = [record for row in one.records for record in unpack("a", *row)]
    assert unpacked == [Record(number, event) for number, event in enumerate(events, seq)]
    assert one.last == seq + len(events) - 1


def test_events_of_one_append_are_one_record() -> None:
    assert len(pack(append(*[b"{}"] * 10_000)).records) == 1


def test_what_is_large_is_cut_between_events() -> None:
    events = [b"a" * (RECORD_BYTES - 1), b"b", b"c" * (RECORD_BYTES * 2), b"", b"d"]
    [one] = packed([append(*events)])
    assert [(last, count) for last, count, _, _ in one.records] == [(2, 2), (3, 1), (5, 2)]
    assert [record.event for row in one.records for record in unpack("a", *row)] == events


@given(st.data())
def test_any_changed_byte_is_noticed(data: st.DataObject) -> None:
    [(last, count, crc, body)] = pack(append(b"first", b"second")).records
    place, other = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(1, 255))
    damaged = body[:place] + bytes([body[place] ^ other]) + body[place + 1 :]
    with pytest.raises(JournalCorrupt, match="events 1 to 2"):
        unpack("a", last, count, crc, damaged)


def test_a_record_in_the_wrong_place_is_noticed() -> None:
    [(last, count, crc, body)] = pack(append(b"first", b"second")).records
    for wrong in [("b", last, count), ("a", last + 1, count), ("a", last, count - 1)]:
        with pytest.raises(JournalCorrupt):
            unpack(*wrong, crc, body)


@pytest.mark.parametrize(
    "wrong",
    [
        append(b"a\nb"),
        append(b"\n"),
        Append("b", 1, (b"{}",), SUMMARY),
        Append("a", 1, (b"{}",), structs.replace(SUMMARY, key="\ud800")),
        Append("a", 1, (b"{}",), structs.replace(SUMMARY, due_at=2**63)),
        Append("a", 1, (b"{}",), structs.replace(SUMMARY, created_at=-(2**64))),
    ],
)
def test_what_sqlite_or_a_reader_could_not_take_is_refused(wrong: Append) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - one is Python's own, with its own words
        pack(wrong)


TEXT = b'{"id": "t", "method": "echo/echo", "params": {}}' * (SQUEEZED_BYTES // 40)
NOISE = os.urandom(SQUEEZED_BYTES).replace(b"\n", b"")


@pytest.mark.parametrize(
    "events", [(TEXT,), (b"{}", TEXT, b"", TEXT), (NOISE, NOISE), (b"", TEXT, NOISE), (b"{}",), (b"\0",)]
)
def test_a_compressed_record_holds_the_same(events: tuple[bytes, ...]) -> None:
    [record] = pack(append(*events, seq=7)).records
    stored = squeezed("a", record)
    assert unpack("a", *stored) == [Record(number, event) for number, event in enumerate(events, 7)]
    if events[0] == TEXT:
        assert len(stored[3]) < len(record[3]) / 5
    if events[0] in (NOISE, b"{}") and len(events) < 4:
        assert stored == record, "not worth it"


def test_a_compressed_record_is_none_of_many_small_ones_and_damage_is_noticed() -> None:
    [record] = pack(append(TEXT)).records
    last, count, crc, body = squeezed("a", record)
    assert unpack_whole("a", *record) == [TEXT]
    assert unpack_whole("a", last, count, crc, body) == []
    with pytest.raises(JournalCorrupt):
        unpack("a", last, count, crc, body[:100] + b"x" + body[101:])
