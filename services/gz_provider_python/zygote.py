"""The process that all scripts are forked from: warm, small, single-threaded, and without an event loop.

Started by the provider with the control socket as its only argument (see `wire.py` for what travels there). It imports
once what scripts commonly use, and forks a child for every SPAWN, one in advance: the child becomes leader of a session
of its own, reads its Job, runs it and ends.

Whatever a run leaves behind is killed before EXITED is sent, processes included that fled into sessions of their own:
on Linux the script's process adopts the orphans among its descendants, and when it ends they fall to the zygote, which
knows them by being nobody's run.
"""

import contextlib
import ctypes
import gc
import io
import os
import select
import signal
import socket
import sys
import time

import msgspec

from gz_provider_python import preload as preload  # what scripts find imported
from gz_provider_python import runner
from gz_provider_python.wire import (
    EXITED,
    FORGET,
    LENGTH,
    NEWS,
    ORDER,
    REFUSED,
    REPORTED,
    SIGNAL,
    SPAWN,
    STARTED,
    Job,
)

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE_SECONDS = 0.2
"""How long to wait for processes to die that were sent SIGKILL; who is later is found by the next search."""


class Zygote:
    """Its loop is `serve`; nothing here blocks but the poll, the fork, and the wait for the dying."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._runs: dict[int, int] = {}
        """Process id -> id of the run."""
        self._spare: _Spare | None = None
        self._prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
        self._wakeup, wakeup_end = socket.socketpair()
        for end in (self._wakeup, wakeup_end):
            end.setblocking(False)
        self._wakeup_end = wakeup_end
        signal.set_wakeup_fd(wakeup_end.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._adopt_orphans()

    def serve(self) -> None:
        """Until the provider closes its end, or says FORGET."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._wakeup.fileno():
                    with contextlib.suppress(BlockingIOError):
                        self._wakeup.recv(4096)
                    self._reap()
                elif not self._take_order():
                    return

    def kill_all(self) -> None:
        for pid in self._runs:
            _signal_run(pid, signal.SIGKILL)
        self._runs.clear()
        self._spare = None
        self._kill_strays()

    def _take_order(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._control, ORDER.size, 3)
        if len(message) < ORDER.size:
            return False
        kind, run, number = ORDER.unpack(message)
        if kind == SPAWN:
            self._spawn(run, descriptors)
        elif kind == SIGNAL:
            for pid in [pid for pid, known in self._runs.items() if known == run]:
                _signal_run(pid, number)
        return bool(kind != FORGET)

    def _spawn(self, run: int, descriptors: list[int]) -> None:
        """By the spare, if there is one; then the next spare is made, while the run is under way."""
        spare, self._spare = self._spare, None
        try:
            if spare is None or not spare.take(descriptors):
                spare = self._fork()
                spare.take(descriptors)
            self._runs[spare.pid] = run
            self._tell(STARTED, run, spare.pid)
        except OSError as error:
            self._tell(REFUSED, run, error.errno or 0)
        for descriptor in descriptors:
            os.close(descriptor)
        self.prepare()

    def prepare(self) -> None:
        """Fork a child in advance, so that the next run need not wait for it."""
        with contextlib.suppress(OSError):  # no more processes now: the next order tries again, and says so
            self._spare = self._fork()

    def _fork(self) -> "_Spare":
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                pid = os.fork()
            except OSError:
                ours.close()
                raise
            if pid == 0:
                ours.close()
                self._become_run(theirs)
        return _Spare(pid, ours)

    def _reap(self) -> None:
        """Note who has ended, and end what they left behind. A group lives on under the number of its dead leader."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                run = self._runs.pop(pid, None)
                if run is None:
                    continue  # an orphan, or the spare
                _kill_group_of_dead(pid)
                code = os.waitstatus_to_exitcode(status)
                if code != REPORTED:
                    self._kill_strays()
                self._tell(EXITED, run, code)

    def _kill_strays(self) -> None:
        """What is our child and no run has been left behind by one. Its own children become ours when it dies."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        known = {*self._runs, self._spare.pid if self._spare is not None else 0}
        while strays := [pid for pid in _children_of(os.getpid()) if pid not in known]:
            for pid in strays:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                return
            time.sleep(0.001)
            for pid in strays:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)

    def _tell(self, kind: bytes, run: int, number: int) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the next poll sees that the provider is gone
            self._control.sendall(NEWS.pack(kind, run, number))

    def _adopt_orphans(self) -> None:
        if self._prctl is not None:
            self._prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def _become_run(self, orders: socket.socket) -> None:
        """In the child. Never returns."""
        code = 70  # EX_SOFTWARE: a fault of ours; its traceback is in the captured stderr
        try:
            self._leave_zygote()
            runner.warm_up()  # the pages that every run writes to are copied now, and not while somebody waits
            own_pid = os.getpid()
            with _wait_for_order(orders) as channel:
                gc.enable()
                report = runner.run(_receive_job(channel))
                if os.getpid() != own_pid:
                    os._exit(0)  # the script forked, and this is its copy, come to the end of the script
                text = msgspec.json.encode(report)
                channel.sendall(LENGTH.pack(len(text)) + text)
            code = 1 if _has_children() else REPORTED
        except BaseException:  # noqa: BLE001 - whatever it is, this copy of the zygote must not live on
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    def _leave_zygote(self) -> None:
        os.setsid()
        if self._prctl is not None:
            self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        self._adopt_orphans()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for held in (self._control, self._wakeup, self._wakeup_end):
            held.close()


class _Spare:
    """A child that waits to become a run."""

    def __init__(self, pid: int, orders: socket.socket) -> None:
        self.pid = pid
        self._orders = orders

    def take(self, descriptors: list[int]) -> bool:
        """Give it the descriptors of its run, once. False if it is dead."""
        with self._orders:
            try:
                socket.send_fds(self._orders, [b"!"], descriptors)
            except (BrokenPipeError, ConnectionResetError):
                return False
        return True


def _wait_for_order(orders: socket.socket) -> socket.socket:
    """Returns the job socket; what the process prints goes to the run's pipes from then on."""
    with orders:
        message, descriptors, _, _ = socket.recv_fds(orders, 1, 3)
    if not message:
        os._exit(0)  # the zygote has ended without a need for this one
    channel, *pipes = descriptors
    os.set_inheritable(channel, False)  # no program that the script starts gets the job socket
    for target, source in enumerate(pipes, start=1):
        os.dup2(source, target)
        os.close(source)
    return socket.socket(fileno=channel)


def _receive_job(channel: socket.socket) -> Job:
    (length,) = LENGTH.unpack(_receive(channel, LENGTH.size))
    return msgspec.json.decode(_receive(channel, length), type=Job)


def _receive(channel: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        got = channel.recv_into(view)
        if got == 0:
            raise EOFError("the provider went away")
        view = view[got:]
    return data


def _has_children() -> bool:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass  # a zombie: not alive any more
        return True
    return False


def _signal_run(pid: int, number: int) -> None:
    """To a living run's group. One that was just forked may not lead a group yet."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _kill_group_of_dead(leader: int) -> None:
    """Never by the number of the process itself, which may be given to another as soon as the group is empty."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        os.killpg(leader, signal.SIGKILL)


def _children_of(parent: int) -> list[int]:
    """Living or dead, from /proc; none where there is no /proc."""
    children = []
    for name in os.listdir("/proc") if sys.platform == "linux" else ():
        if name.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                if int(file.read().rpartition(b")")[2].split()[1]) == parent:
                    children.append(int(name))
    return children


def main(descriptor: int) -> None:
    """Serve the control socket with this number, then take everything along."""
    os.set_inheritable(descriptor, False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    runner.warm_up()
    zygote = Zygote(socket.socket(fileno=descriptor))
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection here would unshare pages with every child
    zygote.prepare()
    zygote.serve()
    zygote.kill_all()


if __name__ == "__main__":
    main(int(sys.argv[1]))
