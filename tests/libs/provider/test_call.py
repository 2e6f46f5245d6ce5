import asyncio
from typing import Any

import pytest

from gleitzeit.provider.call import PIECE_CHARACTERS, PIECE_SECONDS, Call, Meta, StreamBuffer


class Listener:
    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, method: str, params: dict[str, Any]) -> None:
        self.heard.append((method.removeprefix("notifications/"), params))


@pytest.fixture
def listener() -> Listener:
    return Listener()


def test_a_stream_is_numbered_and_read_on_from_any_number() -> None:
    buffer = StreamBuffer()
    assert [buffer.append(delta) for delta in "abc"] == [1, 2, 3]
    assert buffer.after(0) == [(1, "a", 0), (2, "b", 1), (3, "c", 2)]
    assert buffer.after(2) == [(3, "c", 2)]
    assert buffer.after(3) == []


def test_a_stream_keeps_its_last_part_by_bytes() -> None:
    buffer = StreamBuffer(limit_bytes=4)
    for delta in ("ab", "ü", "c"):
        buffer.append(delta)
    assert buffer.after(0) == [(2, "ü", 2), (3, "c", 3)]
    buffer.append("too much")
    assert buffer.after(0) == []
    assert buffer.append("d") == 5


async def test_the_token_is_that_of_the_request_else_the_call_id(listener: Listener) -> None:
    Call("m", Meta(call_id="w/t/1", progress_token="p"), listener).progress(1)
    Call("m", Meta(call_id="w/t/1"), listener).progress(1)
    assert [params["progressToken"] for _, params in listener.heard] == ["p", "w/t/1"]


async def test_without_a_token_only_logs_can_be_told_apart(listener: Listener) -> None:
    call = Call("m", Meta(), listener)
    call.progress(1, 2)
    call.stream("a")
    call.log({"any": "value"}, "warning")
    assert listener.heard == [("message", {"level": "warning", "logger": "m", "data": {"any": "value"}})]


async def test_other_threads_speak_through_the_loop_in_their_order(listener: Listener) -> None:
    call = Call("m", Meta(progress_token=7), listener)

    def work() -> None:
        for number in range(3):
            call.progress(number)

    await asyncio.to_thread(work)
    await asyncio.sleep(0)
    assert [params["progress"] for _, params in listener.heard] == [0, 1, 2]


async def test_everyone_is_told_of_the_cancellation_once(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    call = Call("m", Meta(), listener)
    told: list[str] = []

    def broken() -> None:
        raise ValueError("mine")

    call.on_cancel(broken)
    call.on_cancel(lambda: told.append("first"))
    assert not call.cancelled
    call.cancel()
    call.cancel()
    call.on_cancel(lambda: told.append("late"))
    assert call.cancelled
    assert told == ["first", "late"]
    assert "a cancel callback of m failed" in caplog.text


async def test_a_replay_begins_with_the_progress(listener: Listener) -> None:
    call = Call("m", Meta(progress_token="p"), listener)
    call.replay(0)
    call.progress(3, message="third")
    call.stream("a")
    listener.heard.clear()
    call.replay(0)
    assert listener.heard == [
        ("progress", {"progressToken": "p", "progress": 3, "message": "third"}),
        ("stream", {"progressToken": "p", "seq": 1, "delta": "a", "offset": 0}),
    ]


async def test_the_first_piece_leaves_at_once_and_the_next_ones_together_before_what_is_said_after_them(
    listener: Listener,
) -> None:
    call = Call("m", Meta(progress_token="p"), listener)
    call.stream("a")
    assert listener.heard == [("stream", {"progressToken": "p", "seq": 1, "delta": "a"})]
    call.stream("b")
    call.progress(1)
    call.stream("c")
    call.log("d")
    call.stream("e")
    call.flush()
    call.flush()
    said = [params.get("delta", name) for name, params in listener.heard[1:]]
    assert said == ["b", "progress", "c", "message", "e"]


async def test_a_piece_that_is_said_has_a_bound(listener: Listener) -> None:
    call = Call("m", Meta(progress_token="p"), listener)
    for _ in range(10):
        call.stream("x" * (PIECE_CHARACTERS // 2))
    call.flush()
    sizes = [len(params["delta"]) for _, params in listener.heard]
    assert sum(sizes) == 5 * PIECE_CHARACTERS
    assert max(sizes) <= 3 * PIECE_CHARACTERS // 2


async def test_a_large_piece_is_said_in_several_messages(listener: Listener) -> None:
    call = Call("m", Meta(progress_token="p"), listener)
    call.stream("a")
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 500))) * (PIECE_CHARACTERS // 200)
    call.stream(text)
    call.flush()
    pieces = [params["delta"] for _, params in listener.heard]
    assert "".join(pieces) == "a" + text
    assert max(map(len, pieces)) <= PIECE_CHARACTERS
    assert [params["seq"] for _, params in listener.heard] == list(range(1, len(pieces) + 1))


async def test_a_piece_is_text(listener: Listener) -> None:
    with pytest.raises(TypeError, match="not bytes"):
        Call("m", Meta(progress_token="p"), listener).stream(b"a")  # type: ignore[arg-type]


async def test_a_stream_that_is_faster_than_anybody_reads_is_said_in_larger_pieces(listener: Listener) -> None:
    call = Call("m", Meta(progress_token="p"), listener)
    loop = asyncio.get_running_loop()
    began = loop.time()
    words = 0
    while loop.time() - began < 4 * PIECE_SECONDS:
        call.stream("x")
        words += 1
        await asyncio.sleep(0)
    call.flush()
    took = loop.time() - began
    pieces = [params["delta"] for _, params in listener.heard]
    assert "".join(pieces) == "x" * words
    assert pieces[0] == "x"
    assert len(pieces) <= took / PIECE_SECONDS + 2, "the first, one in each span of time, and the last"


async def test_the_last_words_do_not_wait_for_others(listener: Listener) -> None:
    call = Call("m", Meta(progress_token="p"), listener)
    call.stream("a")
    await asyncio.sleep(0)
    call.stream("b")
    async with asyncio.timeout(30):
        while len(listener.heard) < 2:  # noqa: ASYNC110 - nothing else tells it
            await asyncio.sleep(0)
    assert [params["delta"] for _, params in listener.heard] == ["a", "b"]
