import pytest

from gz_provider_llm.sessions import Sessions
from gz_provider_llm.shapes.requests import Message


def exchange(number: int) -> list[Message]:
    return [
        Message(role="system", content="be brief"),
        Message(role="user", content=f"q{number}"),
        Message(role="assistant", content=f"a{number}"),
    ]


def test_a_conversation_grows_without_system_messages() -> None:
    sessions = Sessions()
    assert sessions.history("s") == ()
    sessions.add("s", exchange(1))
    sessions.add("s", exchange(2))
    assert [message.content for message in sessions.history("s")] == ["q1", "a1", "q2", "a2"]
    assert sessions.history("other") == ()


def test_a_long_one_begins_with_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gz_provider_llm.sessions.MESSAGES", 5)
    sessions = Sessions()
    for number in range(4):
        sessions.add("s", exchange(number))
    assert [message.content for message in sessions.history("s")] == ["q2", "a2", "q3", "a3"]


def test_the_longest_unused_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gz_provider_llm.sessions.SESSIONS", 2)
    sessions = Sessions()
    for name in ("a", "b", "a", "c"):
        sessions.add(name, exchange(1))
    assert [bool(sessions.history(name)) for name in "abc"] == [True, False, True]
