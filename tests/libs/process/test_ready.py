import os

import pytest

from gleitzeit.process.ready import READY_FD, announce_failure, announce_ready


def test_who_has_asked_is_told_once_why_a_service_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    monkeypatch.setenv(READY_FD, str(write_end))
    assert announce_failure("no room")
    assert os.read(read_end, 100) == b'{"error":"no room"}\n'
    assert not announce_failure("no room")
    assert os.read(read_end, 100) == b""
    os.close(read_end)


def test_without_anybody_who_asks_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(READY_FD, raising=False)
    announce_ready("ws://x/")
    assert not announce_failure("no room")
