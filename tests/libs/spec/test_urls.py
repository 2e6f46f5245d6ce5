import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeit.spec.urls import is_ambiguous, shown


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:pw@host:5432/db?sslmode=require", "postgresql://***@host:5432/db?sslmode=require"),
        ("postgresql://host/db?user=me&password=pw&x=1", "postgresql://host/db?user=me&password=***"),
        ("redis://:pw@host/0?prefix=a:", "redis://***@host/0?prefix=a:"),
        ("redis://host/0", "redis://host/0"),
        ("sqlite:///a/b@c:d/journal.db", "sqlite:///a/b@c:d/journal.db"),
        ("memory:", "memory:"),
        ("nats://token@host", "nats://***@host"),
        ("nats://host:4222", "nats://host:4222"),
        ("http://[::1]:11434", "http://[::1]:11434"),
        ("127.0.0.1:11434", "127.0.0.1:11434"),
        ("https://server.example/@owner/name/mcp", "https://server.example/@owner/name/mcp"),
        ("https://a:b@host/mcp?api_key=secret", "https://***@host/mcp?api_key=***"),
        ("postgresql://me:pw@[broken/db", "postgresql://***@[broken/db"),
        ("postgresql://me:pw", "postgresql://***"),
        ("me:pw@host", "***@host"),
        ("postgresql:/me:pw@host/db", "***@host/db"),
    ],
)
def test_a_url_is_shown_without_what_may_be_a_password(url: str, said: str) -> None:
    assert shown(url) == said


@given(
    scheme=st.sampled_from(["postgresql", "postgres", "redis", "rediss", "nats", "tls", "http", "https", "ws", "wss"]),
    user=st.sampled_from(["", "me", "me@home"]),
    around=st.tuples(*[st.text("a1/@:?#%[]& ", max_size=3)] * 2),
    tail=st.sampled_from(["", "/", "/db", ":5432/db?sslmode=require", "/0?prefix=x:"]),
)
def test_no_password_is_shown_however_it_is_written(scheme: str, user: str, around: tuple[str, str], tail: str) -> None:
    said = shown(f"{scheme}://{user}:{around[0]}hunter2{around[1]}@host{tail}")
    assert "hunter" not in said
    assert said.startswith(f"{scheme}://")


def test_what_was_not_escaped_is_noticed() -> None:
    for url in ("redis://:a/b@host/0", "postgresql://me:1/2@host/db", "postgresql://me:a@b@host/db", "redis://a?@h"):
        assert is_ambiguous(url)
    for url in ("redis://:a%2Fb@host/0", "postgresql://me@host/db", "redis://host", "nats://a,nats://b"):
        assert not is_ambiguous(url)
