import pytest

from gleitzeit.discovery.base import without_password


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("nats://me:secret@host:4222", "nats://host:4222"),
        ("nats://token@host", "nats://host"),
        ("nats://host:4222", "nats://host:4222"),
    ],
)
def test_nobody_sees_the_password(url: str, seen: str) -> None:
    assert without_password(url) == seen
