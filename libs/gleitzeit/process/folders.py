"""Files for batches: found below a folder, bounded, and read without being led elsewhere.

Two ways. `OwnFiles` is for the author's own machine. `RootedFiles` is for a coordinator that was told which folders it
may read: every component of a path is opened by itself and may be no link, and what is no regular file is not opened.
"""

import errno
import fnmatch
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from gleitzeit.model.blobs import KEY, MAX_BLOB_BYTES
from gleitzeit.spec.references import escape

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp"})
MOST_DEEP = 64
_READ_BYTES = 1 << 20
_LOOK_BYTES = 8 << 10


class FileOpener:
    """Where the content of an item comes from, when it is brought: by the name of its blob."""

    def __init__(self) -> None:
        self.contents: dict[str, str] = {}
        self.sizes_bytes: dict[str, int] = {}

    def _opened(self, path: str) -> int:
        raise NotImplementedError

    def read(self, name: str) -> bytes:
        """The content of a blob of ours. Raises ValueError if it has changed meanwhile, and OSError."""
        path = self.contents[name]
        with os.fdopen(self._opened(path), "rb") as file:
            content = file.read(MAX_BLOB_BYTES + 1)
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != name:
            raise ValueError(f"{path} was changed while it was read")
        return content

    def _item(self, path: str, *, content: bool) -> dict[str, Any]:
        """Raises ValueError, in words for the author, for what cannot be read or is too large."""
        try:
            with os.fdopen(self._opened(path), "rb") as file:
                size_bytes = os.fstat(file.fileno()).st_size
                item = {"path": escape(path), "name": escape(PurePosixPath(path).name), "size_bytes": size_bytes}
                if size_bytes > MAX_BLOB_BYTES:
                    raise ValueError(f"{path} has {size_bytes:,} bytes; at most {MAX_BLOB_BYTES:,} can be read")
                if content:
                    item["content"] = content_of_item = self._reference(path, file)
                    item["sha256"] = content_of_item[KEY].removeprefix("sha256:")
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {_words(error)}") from None
        return item

    def _reference(self, path: str, file: Any) -> dict[str, Any]:
        digest, size_bytes, binary = hashlib.sha256(), 0, PurePosixPath(path).suffix.lower() in IMAGES
        while chunk := file.read(_READ_BYTES):
            binary = binary or (not size_bytes and b"\0" in chunk[:_LOOK_BYTES])
            size_bytes += len(chunk)
            digest.update(chunk)
        name = f"sha256:{digest.hexdigest()}"
        self.contents[name], self.sizes_bytes[name] = path, size_bytes
        return {KEY: name, "size_bytes": size_bytes, "as": "base64" if binary else "text"}


class OwnFiles(FileOpener):
    """Relative paths begin at `folder`. The paths of items are as long as what was asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def matching(self, directory: str, pattern: str, *, content: bool) -> list[dict[str, Any]]:
        below = Path(directory).expanduser()
        root = self._folder / below
        if not root.is_dir():
            raise ValueError(f"there is no folder {directory} (looked in {self._folder.resolve()})")
        try:
            found = sorted(path for path in root.glob(pattern) if path.is_file())
        except (ValueError, NotImplementedError, IndexError) as error:
            raise ValueError(f"the pattern {pattern!r}: {error}") from None
        return [self._item(str(below / path.relative_to(root)), content=content) for path in found]

    def named(self, path: str, *, content: bool) -> dict[str, Any]:
        return self._item(path, content=content)

    def _opened(self, path: str) -> int:
        return _regular(os.open(self._folder / Path(path).expanduser(), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))


class RootedFiles(FileOpener):
    """Below the `roots` alone, whatever stands there: `..` and links are refused, and FIFOs and devices not opened."""

    def __init__(self, roots: Sequence[Path]) -> None:
        super().__init__()
        self._roots = [Path(os.path.realpath(root)) for root in roots]

    def matching(self, directory: str, pattern: str, *, content: bool) -> list[dict[str, Any]]:
        if ".." in pattern.split("/") or pattern.startswith("/"):
            raise ValueError(f"the pattern {pattern!r} leads out of {directory}")
        root, parts = self._below(directory)
        try:
            folder = _descend(root, parts)
        except OSError as error:
            raise ValueError(f"{directory} cannot be read: {_words(error)}") from None
        try:
            found = sorted(_walk(folder, pattern.split("/")))
        finally:
            os.close(folder)
        return [self._item(str(PurePosixPath(directory, path)), content=content) for path in found]

    def named(self, path: str, *, content: bool) -> dict[str, Any]:
        return self._item(path, content=content)

    def _below(self, path: str) -> tuple[Path, tuple[str, ...]]:
        """The root that a path is in, and the way down. Raises ValueError."""
        asked = PurePosixPath(path)
        if ".." in asked.parts:
            raise ValueError(f"{path} leads upwards, which is not allowed")
        for root in self._roots:
            if not asked.is_absolute() and len(self._roots) == 1:
                return root, asked.parts
            if asked.is_relative_to(root):
                return root, asked.relative_to(root).parts
        raise ValueError(f"{path} is in none of the folders that this coordinator may read")

    def _opened(self, path: str) -> int:
        root, parts = self._below(path)
        if not parts:
            raise ValueError(f"{path} is a folder")
        folder = _descend(root, parts[:-1])
        try:
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
            return _regular(os.open(parts[-1], flags, dir_fd=folder))
        finally:
            os.close(folder)


def _regular(descriptor: int) -> int:
    """It, if it is a regular file. Raises OSError; a FIFO did not block, as it was opened without waiting."""
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is no regular file")


def _descend(root: Path, parts: Sequence[str]) -> int:
    """A descriptor of the folder; no component below the root may be a link."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open(root, flags)
    for part in parts:
        try:
            inner = os.open(part, flags, dir_fd=folder)
        finally:
            os.close(folder)
        folder = inner
    return folder


def _walk(folder: int, pattern: Sequence[str], depth: int = 0) -> Iterator[str]:
    """The paths, from `folder` on, of the regular files that a pattern means; links are not followed."""
    if not pattern or depth > MOST_DEEP:
        return
    first, rest = pattern[0], pattern[1:]
    with os.scandir(folder) as entries:
        listed = [
            (entry.name, entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False)) for entry in entries
        ]
    if first == "**":
        yield from _walk(folder, rest or ["*"], depth)
    for name, is_folder, is_file in listed:
        if is_folder and (first == "**" or (rest and fnmatch.fnmatchcase(name, first))):
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                below = list(_walk(inner, pattern if first == "**" else rest, depth + 1))
            finally:
                os.close(inner)
            yield from (f"{name}/{path}" for path in below)
        elif is_file and not rest and first != "**" and fnmatch.fnmatchcase(name, first):
            yield name


def _words(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "a link, or no folder, stands in its way"
    return error.strerror or str(error)
