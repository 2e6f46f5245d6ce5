"""What is kept of streams: the end of each text, at its place, within bounds."""

import weakref
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.engine.underway import Call
from gz_coordinator.watching import texts
from gz_coordinator.watching.texts import Text, Texts


class Workflow:
    def __init__(self, name: str) -> None:
        self.id = name
        self.seq = 2


class Task:
    def __init__(self, name: str) -> None:
        self.id = name


class Running:
    """As much of a call as its text needs."""

    def __init__(self, name: str = "w/t/1", workflow: str = "w") -> None:
        self.id = name
        self.workflow = Workflow(workflow)
        self.task, self.attempt = Task(name.split("/")[1]), 1
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
    of = {text.call_id: text for text in kept.of_workflow("w")}
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


def test_texts_of_ended_calls_are_kept_for_a_while() -> None:
    now = 0.0
    kept, one, other = Texts(lambda: now), call(), call("w/o/1")
    kept.add(one, "ab", 1, None)
    kept.add(other, "cd", 1, None)
    cast(Any, one).current = False
    (ended,) = kept.end("w", 3)
    assert kept.end("w", 4) == kept.end("unknown", 1) == []
    assert (kept.ended_of("w"), ended.ended_at, whole(ended), len(kept), kept.size_bytes) == ([ended], 3, "ab", 1, 4)
    now = texts.ENDED_SECONDS
    assert kept.ended_of("w") == []
    assert (ended.empty, ended.start, len(kept), kept.size_bytes) == (True, 2, 1, 2)


def test_what_is_kept_of_ended_calls_is_bounded_and_the_first_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "ENDED_BYTES", 10)
    monkeypatch.setattr(texts, "ENDED_COUNT", 3)
    kept = Texts(lambda: 0.0)

    def ends(number: int, delta: str) -> list[str]:
        running = call(f"w/t{number}/1")
        kept.add(running, delta, 1, None)
        cast(Any, running).current = False
        kept.end("w", number)
        assert kept.size_bytes == sum(text.size_bytes for text in kept.ended_of("w"))
        return [text.task_id for text in kept.ended_of("w")]

    assert ends(1, "abcde") == ["t1"]
    assert ends(2, "fghij") == ["t1", "t2"]
    assert ends(3, "k") == ["t2", "t3"]
    assert ends(4, "l") == ["t2", "t3", "t4"]
    assert ends(5, "m") == ["t3", "t4", "t5"]
    assert ends(6, "too large by itself") == []


def test_a_workflow_is_not_kept_for_what_its_calls_had_said() -> None:
    kept, running = Texts(lambda: 0.0), call()
    workflow = weakref.ref(running.workflow)
    kept.add(running, "ab", 1, None)
    cast(Any, running).current = False
    kept.end("w", 3)
    del running
    assert workflow() is None


def test_of_what_is_another_coordinators_nothing_is_kept() -> None:
    kept, gone, stays = Texts(lambda: 0.0), call(), call("w/o/1")
    kept.add(gone, "ab", 1, None)
    kept.add(stays, "cd", 1, None)
    cast(Any, gone).current = False
    kept.leave()
    assert ([text.call_id for text in kept.of_workflow("w")], kept.ended_of("w"), kept.size_bytes) == (["w/o/1"], [], 2)
    assert kept.seq_of(gone.id) == 0, "it may come back, and is heard from its beginning then"
