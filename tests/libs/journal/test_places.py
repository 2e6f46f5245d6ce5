import pytest

from gleitzeit.journal.places import shown


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:pw@host:5432/db?sslmode=require", "postgresql://me:…@host:5432/db?sslmode=require"),
        ("postgresql://host/db?user=me&password=pw", "postgresql://host/db?user=me&password=…"),
        ("redis://:pw@host/0?prefix=a:", "redis://:…@host/0?prefix=a:"),
        ("redis://host/0", "redis://host/0"),
        ("sqlite:///a/b@c:d/journal.db", "sqlite:///a/b@c:d/journal.db"),
        ("memory:", "memory:"),
        ("postgresql://me:p@w@host/db", "postgresql://me:…@host/db"),
        ("postgresql://me:pw@[broken/db", "postgresql:…"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, said: str) -> None:
    assert shown(url) == said
