"""What is kept and shown of a stream."""

from gleitzeit.process.output import Output


def test_a_short_stream_is_kept_whole() -> None:
    output = Output(bound=100)
    output.feed(b"one\n")
    output.feed("zwölf".encode())
    assert output.text() == "one\nzwölf"
    assert output.whole


def test_of_a_long_stream_the_beginning_and_the_end_are_kept() -> None:
    output = Output(bound=8)
    for number in range(10):
        output.feed(str(number).encode() * 10)
    assert output.text() == "0000\n… 92 bytes left out …\n9999"
    assert (output.total_bytes, output.dropped_bytes, output.whole) == (100, 92, False)


def test_what_fits_exactly_is_whole() -> None:
    output = Output(bound=8)
    output.feed(b"12345678")
    assert output.text() == "12345678"
    assert output.whole


def test_memory_stays_bounded() -> None:
    output = Output(bound=1000)
    for _ in range(1000):
        output.feed(b"x" * 1000)
    assert len(output._head) + len(output._tail) <= 500 + 2000 + 1000


def test_lines_are_shown_when_they_are_complete() -> None:
    output = Output()
    assert output.feed(b"a\nb") == "a\n"
    assert output.feed(b"c") == ""
    assert output.feed(b"\nd") == "bc\n"
    assert output.rest() == "d"
    assert output.rest() == ""


def test_a_character_cut_in_two_is_shown_whole() -> None:
    output = Output()
    assert output.feed(b"\xc3") == ""
    assert output.feed(b"\xbc\n") == "ü\n"


def test_what_is_shown_is_bounded_and_says_so() -> None:
    output = Output(bound=4)
    assert output.feed(b"ab\n") == "ab\n"
    assert output.feed(b"cdef\n").startswith("cdef\n\n… more follows")
    assert output.feed(b"more\n") == ""
    assert output.rest() == ""
