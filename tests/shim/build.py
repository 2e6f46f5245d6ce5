"""The shared library of `faults.c`, compiled where there is a compiler, and what it has recorded."""

import functools
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct

_HEAD = struct.Struct("<cBQQ")


@functools.cache
def library() -> Path:
    """Skips the test that asks, where it cannot be had."""
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler (gcc, cc or clang) for the library that makes disks and clocks fail")
    source = Path(__file__).with_name("faults.c")
    target = Path(tempfile.mkdtemp(prefix="gz-shim-")) / "faults.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(target), str(source), "-ldl", "-lpthread"]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode != 0:
        pytest.skip(f"the library that makes disks and clocks fail cannot be built: {built.stderr.strip()[:500]}")
    return target


def environ(files: str, **more: Path) -> dict[str, str]:
    """For a process of whose files those are touched that have this text in their path. `more` is as in faults.c."""
    settings = {f"GZ_SHIM_{name.upper()}": str(path) for name, path in more.items()}
    return {**os.environ, "LD_PRELOAD": str(library()), "GZ_SHIM_FILES": files, **settings}


class Op(Struct, frozen=True):
    """`kind`: w(rite), t(runcate to offset), s(ync), u(nlink). The sync of a folder has the folder's path."""

    kind: str
    path: str
    offset: int
    data: bytes


def recorded(log: Path) -> Iterator[Op]:
    content = memoryview(log.read_bytes())
    at = 0
    while at < len(content):
        kind, path_length, offset, length = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        path = bytes(content[at : at + path_length]).decode()
        at += path_length
        size = length if kind == b"w" else 0
        yield Op(kind.decode(), path, offset, bytes(content[at : at + size]))
        at += size
