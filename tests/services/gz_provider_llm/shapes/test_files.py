import base64
import re
from pathlib import Path

import pytest
from samples import PNG, encoded

from gz_provider_llm.errors import BadRequest
from gz_provider_llm.shapes.files import Files, Image, image_of

SAMPLES = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0rest",
    "image/gif": b"GIF89arest",
    "image/bmp": b"BM\x00rest",
    "image/webp": b"RIFF\x10\x00\x00\x00WEBPrest",
    "application/pdf": b"%PDF-1.7rest",
}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_texts(files: Files) -> None:
    (files.directory / "a.txt").write_bytes(b"\xef\xbb\xbfgr\xc3\xbc\xc3\x9fe")
    (files.directory / "old.txt").write_bytes(b"gr\xfc\xdfe")
    assert files.text("a.txt") == "grüße"
    assert files.text(str(files.directory / "old.txt")) == "grüße"


@pytest.mark.parametrize("path", ["missing.txt", ".", "no\0name", "~nobody-here/x"])
def test_what_cannot_be_read(files: Files, path: str) -> None:
    with pytest.raises(BadRequest, match="cannot read"):
        files.text(path)


def test_what_is_no_text(files: Files) -> None:
    (files.directory / "a.bin").write_bytes(b"\x00\x01\xff")
    with pytest.raises(BadRequest, match=r"a\.bin is no text file"):
        files.text("a.bin")


def test_files_have_a_bound(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gz_provider_llm.shapes.files.TEXT_LIMIT_BYTES", 1 << 20)
    (files.directory / "large.txt").write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(BadRequest, match="larger than 1 MiB"):
        files.text("large.txt")


@pytest.mark.parametrize("media_type", SAMPLES)
def test_an_image_in_every_way(files: Files, media_type: str) -> None:
    """The content decides what it is, not its name."""
    content = SAMPLES[media_type]
    (files.directory / "photo.png").write_bytes(content)
    (files.directory / "no-extension").write_bytes(content)
    text = encoded(content)
    expected = Image(media_type, text)
    for given in (
        "photo.png",
        "no-extension",
        text,
        text.rstrip("="),
        f"data:{media_type};base64,{text}",
        f"DATA:{media_type};charset=x;Base64,{text}",
        f"data:image/heic;base64,{text}",
        text[:4] + "\n" + text[4:],
    ):
        assert image_of(given, files) == expected
    assert expected.data_url == f"data:{media_type};base64,{text}"


def test_base64_as_it_stands_in_urls(files: Files) -> None:
    content = SAMPLES["image/png"] + b"\xfb\xef\xbe\xff"
    text = base64.urlsafe_b64encode(content).decode().rstrip("=")
    assert {"-", "_"} & set(text)
    assert image_of(text, files).data_base64 == encoded(content)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing.png", "cannot read missing.png: No such file"),
        ("what is this?", "neither a file nor base64"),
        (encoded(b"just some words"), "neither png"),
        ("data:text/plain,hello", "data URL must read"),
        ("", "neither png"),
        (f"data:image/png;base64,{encoded(b'just some words')}", "says that it is image/png, and is not"),
    ],
)
def test_what_is_no_image(files: Files, given: str, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        image_of(given, files)


def test_a_text_with_the_name_of_an_image(files: Files) -> None:
    (files.directory / "a.png").write_text("hello")
    with pytest.raises(BadRequest, match=r"a\.png is no image"):
        files.image("a.png")


def test_matching(files: Files) -> None:
    (files.directory / "docs/deep").mkdir(parents=True)
    for name in ("docs/b.txt", "docs/a.txt", "docs/c.md", "docs/deep/d.txt"):
        (files.directory / name).write_text("x")
    assert files.matching("docs", "*.txt") == ["docs/a.txt", "docs/b.txt"]
    assert files.matching("docs", "**/*.txt") == ["docs/a.txt", "docs/b.txt", "docs/deep/d.txt"]
    assert files.matching("docs", "*.pdf") == []
    for folder, pattern in (("nowhere", "*"), ("docs", "/etc/*"), ("docs", "")):
        with pytest.raises(BadRequest):
            files.matching(folder, pattern)


def test_paths_begin_where_a_task_says_and_then_where_the_provider_does(tmp_path: Path) -> None:
    for folder, names in (("document", ("a", "b")), ("provider", ("b", "c"))):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_text(f"{name} of {folder}")
    files = Files(tmp_path / "provider").beginning_at(str(tmp_path / "document"))
    assert [files.text(name) for name in "abc"] == ["a of document", "b of document", "c of provider"]
    with pytest.raises(BadRequest, match=re.escape(f"relative paths begin at {tmp_path / 'document'}")):
        files.text("d")
    assert files.matching(".", "*") == ["a", "b"]
    assert Files(tmp_path).beginning_at(None) == Files(tmp_path)
