"""What is kept of streams: the end of each text, at its place, within bounds."""

from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.engine.underway import Call
from gz_coordinator import texts
from gz_coordinator.texts import Text, Texts


class Workflow:
    def __init__(self, name: str) -> None:
        self.id = name


class Running:
    """As much of a call as its text needs."""

    def __init__(self, name: str = "w/t/1", workflow: str = "w") -> None:
        self.id = name
        self.workflow = Workflow(workflow)
        self.current = True


def call(name: str = "w/t/1", workflow: str = "w") -> Call:
    return cast(Call, Running(name, workflow))


def whole(text: Text, offset: int = 0) -> str:
    """What is kept from an offset on; its pieces must follow each other."""
    pieces = list(text.from_offset(offset))
    for (at, piece), (following, _) in pairwise(pieces):
        assert at + len(piece) == following
    return "".join(piece for _, piece in pieces)


@given(st.lists(st.text(max_size=9000), max_size=20), st.integers(0, 20_000))
def test_any_offset_can_be_read_on_from(deltas: list[str], offset: int) -> None:
    text = Text(call())
    for delta in deltas:
        text.append(delta)
    assert whole(text, offset) == "".join(deltas)[offset:]
    assert text.end == sum(map(len, deltas))


def test_the_beginning_is_lost_first() -> None:
    text = Text(call())
    for _ in range(300):
        text.append("ä" * 4096)
    assert text.size_bytes <= texts.TEXT_BYTES
    assert text.end == 300 * 4096
    assert len(whole(text)) == text.end - text.start > 400_000


def test_one_huge_delta_is_kept_as_far_as_it_goes() -> None:
    text = Text(call())
    text.append("x" * (3 << 20))
    assert 1_000_000 < len(whole(text)) <= texts.TEXT_BYTES
    assert text.end == 3 << 20


def test_all_together_are_bounded_and_the_silent_one_pays() -> None:
    kept = Texts()
    for number in range(80):
        kept.add(call(f"w/t{number}/1"), "x" * texts.TEXT_BYTES, 1, None)
    assert kept.size_bytes <= texts.ALL_BYTES
    of = {text.call.id: text for text in kept.of_workflow("w")}
    assert of["w/t0/1"].empty
    assert len(whole(of["w/t79/1"])) == texts.TEXT_BYTES


def test_what_came_before_does_not_count_again() -> None:
    kept, one = Texts(), call()
    kept.add(one, "ab", 1, None)
    assert kept.add(one, "ab", 1, 0) is None
    added = kept.add(one, "c", 2, 2)
    assert added is not None
    assert (whole(added[0]), added[1], kept.seq_of(one.id)) == ("abc", 2, 2)


@pytest.mark.parametrize("counted", [[1, 2, 3], [0, 1, 2], [0, 0, 0], [None, None, None], [5, 9, 12]])
def test_nothing_is_lost_however_a_provider_counts(counted: list[int | None]) -> None:
    kept, one = Texts(), call()
    added = [kept.add(one, delta, seq, None) for delta, seq in zip("abc", counted, strict=True)]
    assert [began for _, began in filter(None, added)] == [0, 1, 2]
    assert whole(kept.of_workflow("w")[0]) == "abc"
    assert kept.add(one, "c", kept.seq_of(one.id), None) is None


def test_a_provider_that_lost_the_beginning_says_where_it_goes_on() -> None:
    kept, one = Texts(), call()
    added = kept.add(one, "later", 7, 1000)
    assert added is not None
    text, began = added
    assert (began, text.start, text.end) == (1000, 1000, 1005)


def test_texts_of_ended_calls_are_forgotten() -> None:
    kept, one, other = Texts(), call(), call("w/o/1")
    kept.add(one, "ab", 1, None)
    kept.add(other, "cd", 1, None)
    cast(Any, one).current = False
    (ended,) = kept.prune("w")
    assert (ended.empty, ended.start, len(kept), kept.size_bytes) == (True, 2, 1, 2)
    assert kept.prune("w") == []
    assert kept.prune("unknown") == []
