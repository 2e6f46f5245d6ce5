from pathlib import Path

import pytest

from gleitzeit.errors import ConfigurationError
from gleitzeit.journal import MemoryJournal, open_journal
from gleitzeit.journal.base import Find


@pytest.mark.parametrize("url", ["sqlite://{}", "{}"])
async def test_a_url_names_a_file(tmp_path: Path, url: str) -> None:
    file = tmp_path / "deep" / "journal.db"
    journal = open_journal(url.format(file))
    assert not file.parent.exists()  # nothing happens before the claim
    assert await journal.claim("test") == {0: 1}
    assert file.exists()
    await journal.close()


async def test_a_relative_path_is_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    journal = open_journal("sqlite://here/journal.sqlite")
    monkeypatch.chdir("/")  # counts from where it was opened
    await journal.claim("test")
    assert (tmp_path / "here" / "journal.sqlite").exists()
    await journal.close()


@pytest.mark.parametrize("url", ["memory:", "memory://"])
async def test_memory_is_new_each_time(url: str) -> None:
    first, second = open_journal(url), open_journal(url)
    assert isinstance(first, MemoryJournal)
    assert await first.claim("a") == await second.claim("b") == {0: 1}
    assert await second.find(Find("workflow")) == []


@pytest.mark.parametrize(
    "url", ["", "mysql://user:geheim@host", "journal", "sqlite:", "sqlite://", "memory:x", "x://a.db"]
)
def test_an_unknown_url_is_refused_with_what_is_known(url: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///") as refusal:
        open_journal(url)
    assert "geheim" not in str(refusal.value)
