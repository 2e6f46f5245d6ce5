"""Files for batches: found below a folder, bounded, and read without being led elsewhere.

Two ways. `OwnFiles` is for the author's own machine. `RootedFiles` is for a coordinator that was told which folders it
may read. For both, what a pattern finds stays below the folder that was asked for: folders that are links are not
entered, links to files below that folder are files like others, and all other links, FIFOs, sockets and devices are
left out, which `left_out` tells. A path that is named by itself may be a link; below the roots of a coordinator only
where it leads to a file below the same root. No component of what is opened there is a link, and nothing is waited for.
"""

import errno
import fnmatch
import hashlib
import itertools
import os
import re
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from gleitzeit.model.blobs import KEY, MAX_BLOB_BYTES
from gleitzeit.spec.files.batch_tasks import IMAGE_SUFFIXES
from gleitzeit.spec.files.batches import MOST_FILES, NotThere
from gleitzeit.spec.references.paths import UNREAD
from gleitzeit.spec.references.references import escape

MOST_DEEP = 64
LEFT_OUT_TOLD = 20
MOST_ALTERNATIVES = 100
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")
_EPOCH = datetime.fromtimestamp(0, UTC)
_READ_BYTES = 1 << 20
_LOOK_BYTES = 8 << 10
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class FileOpener:
    """Where the content of an item comes from, when it is brought: by the name of its blob."""

    final = False

    def __init__(self) -> None:
        self.contents: dict[str, str] = {}
        self.sizes_bytes: dict[str, int] = {}
        self.left_out: list[str] = []

    def _opened(self, path: str) -> int:
        """A descriptor of a regular file. Raises OSError, and ValueError for what must not be read."""
        raise NotImplementedError

    def _kept_as(self, path: str) -> str:
        """What `read` opens it by."""
        return path

    def read(self, name: str) -> bytes:
        """The content of a blob of ours. Raises ValueError if it has changed meanwhile, and OSError."""
        path = self.contents[name]
        with os.fdopen(self._opened(path), "rb") as file:
            content = file.read(MAX_BLOB_BYTES + 1)
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != name:
            raise ValueError(f"{path} was changed while it was read")
        return content

    def named(self, path: str, *, content: bool) -> dict[str, Any]:
        """Raises ValueError, in words for the author, for what is not there, is no file or must not be read; one that
        is there but cannot be read says so in `unread`."""
        try:
            return self._item(path, content=content)
        except PermissionError as error:
            return {**_head(path), UNREAD: escape(f"{path} cannot be read: {_words(error)}")}
        except FileNotFoundError as error:
            raise NotThere(f"{path} cannot be read: {_words(error)}") from None
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {_words(error)}") from None

    def _found(self, folder: int, shown: str, real: str, pattern: str, *, content: bool) -> list[dict[str, Any]]:
        """What a pattern means below an open folder, which is called `shown` in paths and stands at `real`."""
        if ".." in pattern.split("/") or pattern.startswith("/"):
            raise ValueError(f"the pattern {pattern!r} leads out of {shown}")
        left_out: list[str] = []
        found = (_walk(folder, _parts(one), real, left_out) for one in _alternatives(pattern))
        paths = sorted(set(itertools.chain.from_iterable(found)))
        if len(paths) > MOST_FILES:
            raise ValueError(f"{len(paths):,} files in {shown} are called {pattern}; at most {MOST_FILES:,} are taken")
        told = [_joined(shown, words) for words in sorted(set(left_out))]
        self.left_out += told[:LEFT_OUT_TOLD]
        if len(told) > LEFT_OUT_TOLD:
            self.left_out.append(f"{len(told) - LEFT_OUT_TOLD:,} more in {shown} are left out")
        return [self._item_or_why(_joined(shown, path), content=content) for path in paths]

    def _item_or_why(self, path: str, *, content: bool) -> dict[str, Any]:
        try:
            return self._item(path, content=content)
        except OSError as error:
            return {**_head(path), UNREAD: escape(f"{path} cannot be read: {_words(error)}")}

    def _item(self, path: str, *, content: bool) -> dict[str, Any]:
        with os.fdopen(self._opened(path), "rb") as file:
            about = os.fstat(file.fileno())
            size_bytes = about.st_size
            item = {**_head(path), "size_bytes": size_bytes, "modified": _iso(about.st_mtime_ns)}
            if size_bytes > MAX_BLOB_BYTES:
                too_large = f"{path} has {size_bytes:,} bytes; at most {MAX_BLOB_BYTES:,} can be read"
                return {**item, UNREAD: escape(too_large)}
            return {**item, **self._content(path, file)} if content else item

    def _content(self, path: str, file: Any) -> dict[str, Any]:
        digest, size_bytes, binary = hashlib.sha256(), 0, path.lower().endswith(IMAGE_SUFFIXES)
        while chunk := file.read(_READ_BYTES):
            binary = binary or (not size_bytes and b"\0" in chunk[:_LOOK_BYTES])
            size_bytes += len(chunk)
            digest.update(chunk)
        hexadecimal, form = digest.hexdigest(), "base64" if binary else "text"
        name = f"sha256:{hexadecimal}"
        self.contents[name], self.sizes_bytes[name] = self._kept_as(path), size_bytes
        blob = {KEY: name, "size_bytes": size_bytes, "as": form}
        return {"content": blob, "sha256": hexadecimal, "encoding": form}


def _head(path: str) -> dict[str, Any]:
    return {"path": escape(path), "name": escape(PurePosixPath(path).name)}


def _iso(at_ns: int) -> str:
    return (_EPOCH + timedelta(microseconds=at_ns // 1000)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _joined(shown: str, path: str) -> str:
    return path if shown in ("", ".") else f"{shown.rstrip('/')}/{path}" if shown != "/" else f"/{path}"


class OwnFiles(FileOpener):
    """Relative paths begin at `folder`. The paths of items are as long as what was asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def beside(self, folder: Path) -> "OwnFiles":
        """For another document that is taken in: what it reads is brought with ours."""
        other = OwnFiles(folder)
        other.contents, other.sizes_bytes = self.contents, self.sizes_bytes
        return other

    def matching(self, directory: str, pattern: str, *, content: bool) -> list[dict[str, Any]]:
        root = self._at(directory)
        shown = str(root) if directory.startswith("~") else str(PurePosixPath(directory))
        try:
            real = os.path.realpath(root, strict=True)
            folder = os.open(real, _FOLDER)
        except (FileNotFoundError, NotADirectoryError):
            raise ValueError(f"there is no folder {directory} (looked in {self._folder.resolve()})") from None
        except OSError as error:
            raise ValueError(f"{directory} cannot be read: {_words(error)}") from None
        try:
            return self._found(folder, shown, real, pattern, content=content)
        finally:
            os.close(folder)

    def _opened(self, path: str) -> int:
        return _regular(os.open(self._at(path), _FILE))

    def _kept_as(self, path: str) -> str:
        return str(self._at(path).absolute())

    def _at(self, path: str) -> Path:
        plain = self._folder / path
        if not path.startswith("~") or os.path.lexists(plain):
            return plain
        try:
            return Path(path).expanduser()
        except RuntimeError:  # no such user
            return plain


class RootedFiles(FileOpener):
    """Below the `roots` alone, whatever stands there: `..` is refused, and so are links that lead out."""

    final = True

    def __init__(self, roots: Sequence[Path]) -> None:
        super().__init__()
        self._roots = [Path(os.path.realpath(root)) for root in roots]

    def matching(self, directory: str, pattern: str, *, content: bool) -> list[dict[str, Any]]:
        root, parts = self._below(directory)
        try:
            folder = _descend(root, parts)
        except OSError as error:
            raise ValueError(f"{directory} cannot be read: {_words(error)}") from None
        try:
            return self._found(folder, directory, str(root.joinpath(*parts)), pattern, content=content)
        finally:
            os.close(folder)

    def _below(self, path: str) -> tuple[Path, tuple[str, ...]]:
        """The root that a path is in, and the way down once links are followed. Raises ValueError."""
        asked = PurePosixPath(path)
        if ".." in asked.parts:
            raise ValueError(f"{path} leads upwards, which is not allowed")
        for root in self._roots:
            if asked.is_absolute():
                if not asked.is_relative_to(root):
                    continue
            elif len(self._roots) != 1:
                continue
            try:
                real = PurePosixPath(os.path.realpath(root / asked))
            except (OSError, ValueError) as error:
                raise ValueError(f"{path} cannot be read: {error}") from None
            if not real.is_relative_to(root):
                raise ValueError(f"{path} leads out of the folders that this coordinator may read, by a link")
            return root, real.relative_to(root).parts
        raise ValueError(f"{path} is in none of the folders that this coordinator may read")

    def _opened(self, path: str) -> int:
        root, parts = self._below(path)
        if not parts:
            raise ValueError(f"{path} is a folder")
        folder = _descend(root, parts[:-1])
        try:
            return _regular(os.open(parts[-1], _FILE | os.O_NOFOLLOW, dir_fd=folder))
        finally:
            os.close(folder)


def _regular(descriptor: int) -> int:
    """It, if it is a regular file. Raises OSError; a FIFO did not block, as it was opened without waiting."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is a folder" if stat.S_ISDIR(mode) else "it is no regular file")


def _descend(root: Path, parts: Sequence[str]) -> int:
    """A descriptor of the folder; no component below the root may be a link."""
    folder = os.open(root, _FOLDER)
    for part in parts:
        try:
            inner = os.open(part, _FOLDER, dir_fd=folder)
        finally:
            os.close(folder)
        folder = inner
    return folder


def _alternatives(pattern: str) -> list[str]:
    """`*.{txt,md}` -> `*.txt`, `*.md`. Raises ValueError for very many."""
    patterns = [pattern]
    while found := next((match for one in patterns if (match := _BRACES.search(one))), None):
        one = found.string
        patterns.remove(one)
        patterns += [one[: found.start()] + word + one[found.end() :] for word in found[1].split(",")]
        if len(patterns) > MOST_ALTERNATIVES:
            raise ValueError(f"the pattern {pattern!r} has more than {MOST_ALTERNATIVES} alternatives")
    return patterns


def _parts(pattern: str) -> list[str]:
    """Without what says nothing: empty parts, `.`, and a second `**` after one."""
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    return [part for number, part in enumerate(parts) if part != "**" or parts[number - 1 : number] != ["**"]]


def _fits(name: str, part: str) -> bool:
    """As in a shell: a name that begins with a dot fits only a pattern that does. `**` fits every folder but those."""
    return (part.startswith(".") or not name.startswith(".")) and (part == "**" or fnmatch.fnmatchcase(name, part))


def _walk(folder: int, pattern: Sequence[str], top: str, left_out: list[str], below: str = "") -> Iterator[str]:
    """The paths, from the folder `top` on, of the files that a pattern means; `folder` is open, and stands at `below`
    in it. What has a fitting name and is no file that may be read is told in `left_out`."""
    if not pattern or below.count("/") > MOST_DEEP:
        return
    first, rest = pattern[0], pattern[1:]
    if first == "**":
        yield from _walk(folder, rest or ["*"], top, left_out, below)
    with os.scandir(folder) as listed:
        entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in listed]
    for name, is_folder in entries:
        path = f"{below}{name}"
        if not _is_text(name):
            left_out.append(f"{os.fsencode(path).decode(errors='replace')}: its name is not UTF-8; it is left out")
        elif is_folder and (first == "**" or rest) and _fits(name, first):
            yield from _walk_into(folder, name, pattern if first == "**" else rest, top, left_out, f"{path}/")
        elif not is_folder and not rest and first != "**" and _fits(name, first):
            why = _unfit(os.path.join(top, path), top)
            if why:
                left_out.append(f"{path}: {why}; it is left out")
            elif why is not None:
                yield path


def _is_text(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _walk_into(
    folder: int, name: str, pattern: Sequence[str], top: str, left_out: list[str], below: str
) -> Iterator[str]:
    try:
        inner = os.open(name, _FOLDER, dir_fd=folder)
    except OSError as error:
        left_out.append(f"{below}: {_words(error)}; it is left out")
        return
    try:
        yield from list(_walk(inner, pattern, top, left_out, below))
    finally:
        os.close(inner)


def _unfit(path: str, top: str) -> str | None:
    """Why it is not to be read; "" if it may be. None for a link to a folder, which is nobody's concern."""
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            mode = os.stat(path).st_mode
            if stat.S_ISDIR(mode):
                return None
            if not PurePosixPath(os.path.realpath(path)).is_relative_to(top):
                return "a link that leads out of the folder"
    except OSError as error:
        return "a link that leads nowhere" if error.errno in (errno.ENOENT, errno.ELOOP) else _words(error)
    return "" if stat.S_ISREG(mode) else "no regular file"


def _words(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "a link, or no folder, stands in its way"
    return error.strerror or str(error)
