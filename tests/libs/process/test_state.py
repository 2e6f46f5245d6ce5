import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gleitzeit.errors import ConfigurationError
from gleitzeit.process.state import (
    Address,
    StackRunning,
    approval_key,
    cluster_id,
    find_running,
    lock_state,
    publish_address,
    withdraw_address,
)

_HOLDER = """
import sys
from pathlib import Path
from gleitzeit.process.state import Address, lock_state, publish_address
import os
lock = lock_state(Path(sys.argv[1]))
if sys.argv[2:]:
    publish_address(Path(sys.argv[1]), Address(sys.argv[2], os.getpid(), True, "1.2.3"))
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def _holder(folder: Path, *url: str) -> subprocess.Popen[str]:
    """A process that holds the folder's lock until its stdin is closed or it is killed."""
    command = [sys.executable, "-c", _HOLDER, str(folder), *url]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert int(process.stdout.readline()) == process.pid
    return process


def test_a_second_stack_is_refused_with_the_url_and_pid_of_the_first(tmp_path: Path) -> None:
    with _holder(tmp_path, "ws://127.0.0.1:5/") as process:
        with pytest.raises(StackRunning, match=rf"process {process.pid}.*at ws://127\.0\.0\.1:5/") as refusal:
            lock_state(tmp_path)
        assert refusal.value.pid == process.pid
        assert (
            refusal.value.address == find_running(tmp_path) == Address("ws://127.0.0.1:5/", process.pid, True, "1.2.3")
        )
        process.kill()


def test_a_stack_that_is_not_ready_is_refused_too_but_not_found(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text('{"url": "ws://old/", "pid": 1}')
    with _holder(tmp_path) as process:
        with pytest.raises(StackRunning, match=rf"process {process.pid}.*starting or ending") as refusal:
            lock_state(tmp_path)
        assert refusal.value.address is None
        assert find_running(tmp_path) is None
        process.kill()


def test_what_a_killed_stack_left_behind_is_no_stack(tmp_path: Path) -> None:
    with _holder(tmp_path, "ws://127.0.0.1:5/") as process:
        process.kill()
    assert (tmp_path / "stack.json").exists()
    assert find_running(tmp_path) is None
    lock = lock_state(tmp_path)
    assert not (tmp_path / "stack.json").exists()
    lock.release()


def test_a_stale_address_with_the_pid_of_a_living_process_is_no_stack(tmp_path: Path) -> None:
    lock = lock_state(tmp_path)
    publish_address(tmp_path, Address("ws://127.0.0.1:5/", os.getpid()))
    assert find_running(tmp_path) is not None
    lock.release()
    assert find_running(tmp_path) is None


def test_the_address_is_for_its_owner_only_and_goes_with_the_stack(tmp_path: Path) -> None:
    lock = lock_state(tmp_path / "new" / "state")
    folder = tmp_path / "new" / "state"
    publish_address(folder, Address("ws://127.0.0.1:5/", os.getpid(), token="secret"))
    assert stat.S_IMODE((folder / "stack.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [p.name for p in folder.glob("stack.json*")] == ["stack.json"]
    withdraw_address(folder)
    withdraw_address(folder)
    assert find_running(folder) is None
    lock.release()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": 5}', '{"url": "ws://x/", "pid": 99999999999999999999}'])
def test_a_broken_address_is_no_stack(tmp_path: Path, text: str) -> None:
    lock = lock_state(tmp_path)
    (tmp_path / "stack.json").write_text(text)
    assert find_running(tmp_path) is None
    lock.release()


@pytest.mark.parametrize("content", [b"\0\0\0\0", b"zz top\n", b"\xff\xfe"])
def test_what_is_no_id_any_more_is_named(tmp_path: Path, content: bytes) -> None:
    for name, read in (("cluster", cluster_id), ("approval.key", approval_key)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigurationError, match=f"{name} is damaged: remove it"):
            read(tmp_path)
        (tmp_path / name).write_bytes(b"")
        assert read(tmp_path) == read(tmp_path)


def test_a_folder_has_one_cluster_id_and_two_folders_have_two(tmp_path: Path) -> None:
    first = cluster_id(tmp_path / "a")
    assert first == cluster_id(tmp_path / "a")
    assert first != cluster_id(tmp_path / "b")
    assert first.isalnum()
    assert os.listdir(tmp_path / "a") == ["cluster"]
