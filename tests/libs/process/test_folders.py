"""Files for batches: found, bounded, and not to be led elsewhere."""

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gleitzeit.model.blobs import name_of
from gleitzeit.process import folders
from gleitzeit.process.folders import FileOpener, OwnFiles, RootedFiles


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "docs" / "deep").mkdir(parents=True)
    (root / "docs" / "b.txt").write_text("bee")
    (root / "docs" / "a.txt").write_text("ay")
    (root / "docs" / "deep" / "c.txt").write_text("sea")
    (root / "docs" / "x.png").write_bytes(b"\x89PNG")
    (tmp_path / "secret.txt").write_text("secret")
    (root / "docs" / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "docs" / "linked").symlink_to(tmp_path)
    os.mkfifo(root / "docs" / "fifo.txt")
    return root


def paths(items: list[dict[str, Any]]) -> list[object]:
    return [item["path"] for item in items]


def test_own_files_are_sorted_and_named_as_they_were_asked_for(root: Path) -> None:
    files = OwnFiles(root)
    assert paths(files.matching("docs", "*.txt", content=False)) == ["docs/a.txt", "docs/b.txt"]
    assert files.left_out == [
        "docs/fifo.txt: no regular file; it is left out",
        "docs/link.txt: a link that leads out of the folder; it is left out",
    ]
    assert "docs/deep/c.txt" in paths(files.matching("docs", "**/*.txt", content=False))
    (item,) = files.matching("docs", "a.*", content=True)
    assert item["content"] == {"$blob": name_of(b"ay"), "size_bytes": 2, "as": "text"}
    assert files.read(name_of(b"ay")) == b"ay"
    assert files.matching("docs", "x.png", content=True)[0]["content"]["as"] == "base64"
    for directory, pattern in (("gone", "*"), ("docs", "/abs")):
        with pytest.raises(ValueError, match=r"no folder|pattern"):
            files.matching(directory, pattern, content=False)


def test_a_file_that_changes_meanwhile_is_noticed(root: Path) -> None:
    files = OwnFiles(root)
    files.matching("docs", "a.txt", content=True)
    (root / "docs" / "a.txt").write_text("other")
    with pytest.raises(ValueError, match="was changed"):
        files.read(name_of(b"ay"))


def test_a_path_is_never_read_for_references(root: Path) -> None:
    (root / "docs" / "${env.HOME}.txt").write_text("x")
    assert paths(OwnFiles(root).matching("docs", "$*", content=False)) == ["docs/$${env.HOME}.txt"]


def test_too_large_and_not_regular(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no regular file"):
        OwnFiles(root).named("docs/fifo.txt", content=True)
    monkeypatch.setattr(folders, "MAX_BLOB_BYTES", 1)
    for item in (
        OwnFiles(root).named("docs/a.txt", content=True),
        *OwnFiles(root).matching("docs", "a*", content=True),
    ):
        assert "at most 1" in item["unread"]
        assert "content" not in item


def test_what_cannot_be_read_says_so_for_itself(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    files = OwnFiles(root)
    monkeypatch.setattr(files, "_opened", refuse)
    said = "docs/a.txt cannot be read: Permission denied"
    assert files.matching("docs", "a.txt", content=True) == [{"path": "docs/a.txt", "name": "a.txt", "unread": said}]
    assert files.named("docs/a.txt", content=True)["unread"] == said


@pytest.mark.parametrize("files", [OwnFiles, lambda root: RootedFiles([root])], ids=["own", "rooted"])
def test_links_within_the_folder_are_files_like_others(root: Path, files: Callable[[Path], FileOpener]) -> None:
    docs = root / "docs"
    (docs / "to_deep.txt").symlink_to("deep/c.txt")
    (docs / "nowhere.txt").symlink_to("none.txt")
    (docs / "round").symlink_to("..", target_is_directory=True)
    (docs / "deep" / "up.txt").symlink_to("../a.txt")
    found = files(root)
    assert paths(found.matching("docs", "to*", content=True)) == ["docs/to_deep.txt"]
    assert found.read(name_of(b"sea")) == b"sea"
    assert paths(found.matching("docs", "**/*", content=False)) == [
        *("docs/a.txt", "docs/b.txt", "docs/deep/c.txt", "docs/deep/up.txt", "docs/to_deep.txt", "docs/x.png")
    ]
    assert found.left_out == [
        "docs/fifo.txt: no regular file; it is left out",
        "docs/link.txt: a link that leads out of the folder; it is left out",
        "docs/nowhere.txt: a link that leads nowhere; it is left out",
    ]
    assert paths(found.matching("docs/deep", "*", content=False)) == ["docs/deep/c.txt"]


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems have no such names")
@pytest.mark.parametrize("files", [OwnFiles, lambda root: RootedFiles([root])], ids=["own", "rooted"])
def test_a_name_that_is_no_text_is_left_out_and_told(root: Path, files: Callable[[Path], FileOpener]) -> None:
    (root / "docs" / "deep" / os.fsdecode(b"caf\xe9.txt")).write_text("coffee")
    found = files(root)
    assert paths(found.matching("docs/deep", "*", content=True)) == ["docs/deep/c.txt"]
    assert found.left_out == ["docs/deep/caf\ufffd.txt: its name is not UTF-8; it is left out"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", ["a b.txt", "a.md", "ü.txt"]),
        (".*", [".hidden.txt"]),
        ("*.{txt,md}", ["a b.txt", "a.md", "ü.txt"]),
        ("{a,d}*.md", ["a.md"]),
        ("**/*.txt", ["a b.txt", "d/b.txt", "ü.txt"]),
        ("**/**/*.txt", ["a b.txt", "d/b.txt", "ü.txt"]),
        (".git/**", [".git/x.txt"]),
        ("**", ["a b.txt", "a.md", "d/b.txt", "ü.txt"]),
        ("./[ü]*", ["ü.txt"]),
        ("?.md", ["a.md"]),
        ("d/*", ["d/b.txt"]),
    ],
)
def test_patterns_mean_what_they_mean_in_a_shell(tmp_path: Path, pattern: str, found: list[str]) -> None:
    for name in ("a b.txt", "ü.txt", "a.md", ".hidden.txt", "d/b.txt", ".git/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert paths(OwnFiles(tmp_path).matching(".", pattern, content=True)) == found
    assert paths(RootedFiles([tmp_path]).matching(".", pattern, content=True)) == found


def test_a_pattern_has_not_too_many_meanings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="more than 100 alternatives"):
        OwnFiles(tmp_path).matching(".", "{a,b}" * 7, content=False)


def test_a_name_may_begin_like_a_home(tmp_path: Path) -> None:
    (tmp_path / "~nobody.txt").write_text("x")
    assert paths(OwnFiles(tmp_path).matching(".", "*", content=True)) == ["~nobody.txt"]
    with pytest.raises(ValueError, match="no folder ~no-such-user"):
        OwnFiles(tmp_path).matching("~no-such-user/x", "*", content=False)


def test_below_a_root_neither_links_nor_fifos_are_found(root: Path) -> None:
    files = RootedFiles([root])
    found = files.matching(str(root / "docs"), "**/*.txt", content=True)
    assert [Path(str(path)).name for path in paths(found)] == ["a.txt", "b.txt", "c.txt"]
    assert files.read(name_of(b"sea")) == b"sea"
    assert paths(files.matching("docs", "*.txt", content=False)) == ["docs/a.txt", "docs/b.txt"]
    assert paths(files.matching("docs", "deep/*", content=False)) == ["docs/deep/c.txt"]


@pytest.mark.parametrize(
    "path",
    ["docs/../../secret.txt", "../secret.txt", "/etc/passwd", "docs/link.txt", "docs/linked/secret.txt",
     "docs/fifo.txt", "docs", ".", "docs/gone.txt", "linked/../../secret.txt"],
)  # fmt: skip
def test_nothing_leads_out_of_a_root(root: Path, path: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        RootedFiles([root]).named(path, content=True)


@pytest.mark.parametrize(
    ("directory", "pattern"),
    [("docs/linked", "*"), ("..", "*"), ("/", "*"), ("docs", "../../*"), ("docs", "/etc/*"), ("docs", "linked/*")],
)
def test_no_pattern_leads_out_of_a_root(root: Path, directory: str, pattern: str) -> None:
    files = RootedFiles([root])
    with contextlib.suppress(ValueError):  # refused, or nothing found
        assert files.matching(directory, pattern, content=False) == []


def test_several_roots_want_whole_paths(root: Path, tmp_path: Path) -> None:
    files = RootedFiles([root / "docs", tmp_path])
    assert files.named(str(tmp_path / "secret.txt"), content=False)["size_bytes"] == 6
    with pytest.raises(ValueError, match="in none of the folders"):
        files.named("docs/a.txt", content=False)
