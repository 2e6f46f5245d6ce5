"""`gz init`: each kind is a good document, and names a schema that likes it."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema_rs
import msgspec
import pytest

from gleitzeit.client import prepare_file
from gz_cli.documents import beginnings
from gz_cli.documents.starters import STARTERS
from gz_cli.exits import UsageError
from gz_cli.formats import Starter


def test_every_kind_can_be_chosen() -> None:
    assert [kind.value for kind in Starter] == list(STARTERS)


@pytest.mark.parametrize("kind", STARTERS)
def test_what_is_written_is_a_good_document(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert beginnings.init("my-first", kind, tmp_path / "state", force=False) == 0
    file = tmp_path / "my-first.yaml"
    ready = prepare_file(file, environ={})
    assert ready.problems == ()
    assert ready.checked is not None
    assert ready.checked.name == "my-first"
    named = re.match(r"# yaml-language-server: \$schema=(file://\S+)\n", file.read_text())
    assert named is not None
    schema = msgspec.json.decode(Path(urlsplit(named[1]).path).read_bytes())
    assert jsonschema_rs.Draft7Validator(schema, offline=True).is_valid(ready.document.value)
    with pytest.raises(UsageError, match="is there already"):
        beginnings.init("my-first", kind, tmp_path / "state", force=False)
    assert beginnings.init("my-first.yaml", kind, tmp_path / "state", force=True) == 0


@pytest.mark.parametrize("name", ["a: b", 'x"y', "ü ö", "null", "123", "#x1", "it's", "{x}", "${x}", "- a", "a #b"])
def test_whatever_its_name_the_document_is_good(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert beginnings.init(name, "python", tmp_path / "state", force=False) == 0
    ready = prepare_file(tmp_path / f"{name}.yaml", environ={})
    assert ready.problems == ()
    assert ready.checked is not None
    assert ready.checked.name == name


@pytest.mark.parametrize("name", ["", "  ", "-", "..", ".yaml", "a\nb", "bad\udcff", " a", "sub/", "“q”"])
def test_what_is_no_name_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is no name"):
        beginnings.init(name, "python", tmp_path / "state", force=False)
    assert list(tmp_path.iterdir()) == []


def test_without_a_place_for_the_schema_the_document_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "state").write_text("a file where the folder should be")
    assert beginnings.init("here", "python", tmp_path / "state", force=False) == 0
    assert "warning: the editor is not told how to complete it" in capsys.readouterr().err
    assert (tmp_path / "here.yaml").read_text().startswith("name: here\n")
    assert prepare_file(tmp_path / "here.yaml", environ={}).problems == ()
