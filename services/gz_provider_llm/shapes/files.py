"""Texts and images that a task names by path, or brings along as base64."""

import base64
import binascii
import errno
import os
import re
import stat
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from gz_provider_llm.errors import BadRequest

IMAGE_TYPES: Final = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".webp": "image/webp",
}
TEXT_LIMIT_BYTES = 8 * 1024 * 1024
IMAGE_LIMIT_BYTES = 20 * 1024 * 1024

LONGEST_PATH = 4096
"""No system has longer ones; base64, which has many slashes, is none."""

_DATA_URL = re.compile(
    r"data:(?P<type>(?:image|application)/[\w.+-]+)?(?:;[\w=.+-]+)*;base64,(?P<data>.*)", re.DOTALL | re.IGNORECASE
)
_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"%PDF-", "application/pdf"),
)


_KNOWN: Final = frozenset({*IMAGE_TYPES.values(), "application/pdf"})
_OF_URLS: Final = str.maketrans("-_", "+/")
"""Base64 as it stands in URLs has other characters."""


class Image(Struct, frozen=True):
    """Or a PDF, which travels to a model as images do. `data_base64` has no line breaks and no prefix; it is empty
    where the server shall fetch it from `url`. `detail` is how closely OpenAI shall look at it."""

    media_type: str
    data_base64: str
    url: str = ""
    detail: str = ""

    @property
    def data_url(self) -> str:
        """Or where it is in the web."""
        return self.url or f"data:{self.media_type};base64,{self.data_base64}"

    @property
    def is_pdf(self) -> bool:
        return self.media_type == "application/pdf"

    def base64_for(self, server: str) -> str:
        """For one that fetches nothing itself, and reads images only. Raises BadRequest for anything else."""
        if self.is_pdf:
            raise BadRequest(f"{server} reads no PDF: give its pages as images, or its text")
        if self.url:
            raise BadRequest(f"{server} fetches no images: give a path, a data URL or base64 in place of {self.url}")
        return self.data_base64


class Files(Struct, frozen=True):
    """Reads what tasks name. Relative paths begin at `directory`, or, where nothing is there, at `elsewhere`.

    Raises BadRequest for what cannot be used.
    """

    directory: Path
    elsewhere: Path | None = None

    def beginning_at(self, folder: str | None) -> "Files":
        """Where a task says itself where its paths begin."""
        return self if folder is None else Files(self.directory / Path(folder).expanduser(), self.directory)

    def text(self, path: str) -> str:
        content = self._read(path, TEXT_LIMIT_BYTES)
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            if b"\0" in content:
                raise BadRequest(f"{path} is no text file") from None
            return content.decode("latin-1")

    def image(self, path: str) -> Image:
        content = self._read(path, IMAGE_LIMIT_BYTES)
        media_type = _sniff(content)
        if not media_type:
            raise BadRequest(f"{path} is no image that models can read: png, jpeg, gif, bmp, webp or pdf")
        return Image(media_type, base64.b64encode(content).decode())

    def matching(self, folder: str, pattern: str) -> list[str]:
        """The files of a folder, sorted; `**` goes down into folders. Paths are as long as that of the folder."""
        root = self._at(folder)
        if not root.is_dir():
            raise BadRequest(f"{folder} is no directory (relative paths begin at {self.directory})")
        try:
            found = sorted(path for path in root.glob(pattern) if path.is_file())
        except (ValueError, NotImplementedError, OSError) as error:
            raise BadRequest(f"file_pattern {pattern!r}: {error}") from None
        return [str(Path(folder) / path.relative_to(root)) for path in found]

    def exists(self, path: str) -> bool:
        try:
            return self._at(path).is_file()
        except (OSError, ValueError, RuntimeError):  # base64 makes a strange path
            return False

    def _at(self, path: str) -> Path:
        given = Path(path).expanduser()
        at = self.directory / given
        if self.elsewhere is not None and not at.exists() and (self.elsewhere / given).exists():
            return self.elsewhere / given
        return at

    def _read(self, path: str, limit_bytes: int) -> bytes:
        try:
            with open(self._at(path), "rb", opener=_opened) as file:
                content = file.read(limit_bytes + 1)
        except (OSError, ValueError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise BadRequest(f"cannot read {path}: {reason} (relative paths begin at {self.directory})") from None
        if len(content) > limit_bytes:
            raise BadRequest(f"{path} is larger than {limit_bytes >> 20} MiB")
        return content


def _opened(path: str, flags: int) -> int:
    """Without waiting, as a FIFO would have it. Raises OSError for what is no regular file."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is no regular file")


def is_image_path(path: str) -> bool:
    """Whether it is called like what travels as images do."""
    return Path(path).suffix.lower() in (*IMAGE_TYPES, ".pdf")


def image_of(given: str, files: Files) -> Image:
    """An image given as a path, a data URL, base64 or a URL, which is for the server to fetch."""
    if given[:5].lower() == "data:":
        matched = _DATA_URL.fullmatch(given)
        if matched is None:
            raise BadRequest("an image's data URL must read data:image/…;base64,…")
        return _decoded(matched["data"], (matched["type"] or "").lower())
    if is_elsewhere(given):
        return Image("application/pdf" if urlsplit(given).path.lower().endswith(".pdf") else "", "", given)
    if len(given) < LONGEST_PATH and (is_image_path(given) or files.exists(given)):
        return files.image(given)
    return _decoded(given, "")


def is_elsewhere(given: str) -> bool:
    """Whether it is a URL, of the web or with all of its data in it, and no path."""
    return given[:8].lower().startswith(("data:", "http://", "https://"))


def of_text_size(text: str, path: str) -> str:
    """It. Raises BadRequest for more than a file of text may have."""
    if len(text) > TEXT_LIMIT_BYTES:
        raise BadRequest(f"{path} is larger than {TEXT_LIMIT_BYTES >> 20} MiB")
    return text


def image_in(data: str, path: str, otherwise: str = "no image") -> Image:
    """From the content of a file, as base64. `otherwise` says what it is if it is none."""
    try:
        return _decoded(data, "")
    except BadRequest as error:
        if "MiB" in error.message:
            raise BadRequest(f"{path} is larger than {IMAGE_LIMIT_BYTES >> 20} MiB") from None
        raise BadRequest(f"{path} is {otherwise} that models can read: png, jpeg, gif, bmp, webp or pdf") from None


def _decoded(data: str, media_type: str) -> Image:
    compact, content = data, _content_of(data)
    if content is None:
        compact = "".join(data.split()).translate(_OF_URLS)
        compact += "=" * (-len(compact) % 4)
        content = _content_of(compact)
    if content is None:
        shown = data if len(data) <= 80 else f"{data[:80]}…"
        raise BadRequest(f"an image is neither a file nor base64: {shown!r}")
    if len(content) > IMAGE_LIMIT_BYTES:
        raise BadRequest(f"an image is larger than {IMAGE_LIMIT_BYTES >> 20} MiB")
    found = _sniff(content)
    if not found and media_type in _KNOWN:
        raise BadRequest(f"an image says that it is {media_type}, and is not")
    if not (found or media_type):
        raise BadRequest("an image is base64, but neither png, jpeg, gif, bmp, webp nor pdf")
    return Image(found or media_type, compact)


def _content_of(data: str) -> bytes | None:
    """None for what is no base64, or has white between."""
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None


def _sniff(content: bytes) -> str:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((media_type for signature, media_type in _SIGNATURES if content.startswith(signature)), "")
