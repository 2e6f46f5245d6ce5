"""The state folder: what a stack leaves on disk so that others find it and nobody starts a second one.

    stack.lock   held (flock) for the life of the stack; contains its pid
    stack.json   its address, from ready to end; only of meaning while the lock is held
    cluster      a random id: stacks that share a NATS are told apart by it
    journal.db   the coordinator's
    logs/        one file a process        nats/  where the private nats-server says its port

Everything in it is readable for its owner only.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import string
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from gleitzeit.errors import ConfigurationError, InvalidState

_MODEL_FILE = "GLEITZEIT_GGUF"
_OF_MODELS = (
    *("OLLAMA_", "OPENAI_", "ANTHROPIC_", "GLEITZEIT_OLLAMA_", "GLEITZEIT_LLM_", "GLEITZEIT_DEFAULT_MODEL"),
    _MODEL_FILE,
)


class Address(Struct, frozen=True, omit_defaults=True):
    """How to reach a running stack: stack.json. `pid` is the stack's, not the coordinator's.

    `certificate` is the file with the certificate that a wss:// url shows, whatever names stand in it. `failures` is
    one sentence for each of its providers that cannot start; it may grow after the stack is ready. `providers` are the
    names of those that it was started with, `settings` what `model_settings` makes of its environment.
    """

    url: str
    pid: int
    embedded: bool = False
    version: str = ""
    token: str | None = None
    certificate: str | None = None
    failures: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    settings: str = ""


class StackRunning(InvalidState):
    """Another stack holds the folder. `address` is None while it starts or ends; `pid` is 0 if it could not be read."""

    def __init__(self, folder: Path, pid: int, address: Address | None) -> None:
        where = f" at {address.url}" if address is not None else ", which is starting or ending"
        who = f" (process {pid})" if pid else ""
        super().__init__(
            f"a stack{who} already uses {folder}{where}: use that one, stop it, or choose another folder with --state"
        )
        self.pid = pid
        self.address = address


class StateLock:
    """The lock on a state folder. Taken by `lock_state`; ends with `release` or with the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def lock_state(folder: Path) -> StateLock:
    """Create the folder if need be and take its lock. Raises StackRunning if another process has it.

    Once the lock is held, an address that was left behind by a stack that was killed is removed.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / "stack.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = _pid_in(descriptor)
        os.close(descriptor)
        address = _read_address(folder)
        raise StackRunning(folder, pid, address if address is not None and address.pid == pid else None) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    withdraw_address(folder)
    return StateLock(descriptor)


def publish_address(folder: Path, address: Address) -> None:
    """To be called by the holder of the lock. Readers, the same user alone, see the old file or the new one."""
    _write_atomically(folder / "stack.json", msgspec.json.encode(address))


def withdraw_address(folder: Path) -> None:
    """To be called by the holder of the lock."""
    (folder / "stack.json").unlink(missing_ok=True)


def find_running(folder: Path) -> Address | None:
    """The address of the stack that lives in this folder now; None if there is none, or if it is not ready yet."""
    address = _read_address(folder)
    if address is None or not _is_alive(address.pid) or not _is_locked(folder):
        return None
    return address


def holder_lives(folder: Path) -> bool:
    """Whether the process that last took the folder's lock is there. To be asked as often as one likes: it takes no
    lock."""
    try:
        text = (folder / "stack.lock").read_text().strip()
    except OSError:
        return False
    pid = int(text) if text.isdecimal() else 0
    if not pid:
        return True  # taken in this moment: its number is not written yet
    with contextlib.suppress(OSError):  # one that we have started ourselves would stay behind as a zombie
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    return _is_alive(pid)


def model_settings(environ: Mapping[str, str]) -> str:
    """A digest of what providers of models read from their environment: keys, addresses, files."""
    chosen = {name: value for name, value in environ.items() if name.startswith(_OF_MODELS) and value}
    if _MODEL_FILE in chosen:
        chosen[_MODEL_FILE] = os.path.abspath(chosen[_MODEL_FILE])
    return hashlib.sha256(msgspec.json.encode(sorted(chosen.items()))).hexdigest()[:16]


def cluster_id(folder: Path) -> str:
    """The folder's random id, made at the first call. Safe when several processes ask at once."""
    return _kept(folder, "cluster", 6)


def approval_key(folder: Path) -> bytes:
    """What the secrets of links to answer tasks are made of, made at the first call: links outlive a restart."""
    return bytes.fromhex(_kept(folder, "approval.key", 32))


def _kept(folder: Path, name: str, length_bytes: int) -> str:
    """Random hex that stays the same for the folder. Raises ConfigurationError for a file that holds something else, as
    after a power cut."""
    path = folder / name
    with contextlib.suppress(FileNotFoundError):
        text = path.read_text("ascii", "replace").strip()
        if text and not set(text) <= set(string.hexdigits):
            raise ConfigurationError(f"{path} is damaged: remove it, and a new one is made")
        if text:
            return text
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = folder / f"{name}.{secrets.token_hex(4)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(length_bytes) + "\n")
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)  # fails if another was first: then theirs counts
    draft.unlink()
    return path.read_text().strip()


def _read_address(folder: Path) -> Address | None:
    try:
        return msgspec.json.decode((folder / "stack.json").read_bytes(), type=Address)
    except (OSError, msgspec.DecodeError):
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    except OverflowError:
        return False
    return True


def _is_locked(folder: Path) -> bool:
    """A shared lock for an instant: it is refused only while a stack holds the exclusive one.

    A stack that starts in this instant would be refused in turn; asking only when a live process is named in stack.json
    (a starting stack has none there) makes that as good as impossible.
    """
    try:
        descriptor = os.open(folder / "stack.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _pid_in(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    return int(text) if text.isdecimal() else 0


def _write_atomically(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)
    draft.replace(path)
