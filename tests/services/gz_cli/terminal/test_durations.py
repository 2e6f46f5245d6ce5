import pytest

from gz_cli.terminal.durations import ago, counted, duration, size, to_ms


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 ms"),
        (0, "0 ms"),
        (0.0421, "42 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (4.24, "4.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min"),
        (65, "1 min 5 s"),
        (3599.6, "1 h"),
        (4320, "1 h 12 min"),
        (86_400 * 3 + 3_600 * 4 + 59, "3 d 4 h"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_ago_reads_the_moment_of_the_wire() -> None:
    now = to_ms("2026-11-20T13:46:00.000Z")
    assert now is not None
    assert ago("2026-11-20T13:45:57.900Z", now) == "2 s ago"
    assert ago("2026-11-20T13:45:59.000Z", now) == "1 s ago"
    assert ago("2026-11-20T13:45:00.400Z", now) == "1 min ago"
    assert ago("2026-11-20T13:45:59.500Z", now) == "just now"
    assert ago("2026-11-20T13:46:10Z", now) == "just now"  # its clock is ahead of ours
    assert ago("2026-11-20T11:46:00+00:00", now) == "2 h ago"
    assert ago("yesterday", now) == "yesterday"


def test_a_moment_without_an_offset_is_utc() -> None:
    assert to_ms("1970-01-01T00:00:01") == 1000


@pytest.mark.parametrize(
    ("bytes_", "words"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (4096, "4.0 KiB"), (1024 * 1024, "1.0 MiB"), (5 * 1024**3, "5.0 GiB")],
)
def test_sizes_in_words(bytes_: int, words: str) -> None:
    assert size(bytes_) == words


def test_one_is_not_many() -> None:
    assert [counted(0), counted(1), counted(2), counted(1200, "item")] == [
        "0 tasks",
        "1 task",
        "2 tasks",
        "1,200 items",
    ]
