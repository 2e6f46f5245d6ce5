"""A service that follows the process conventions with nothing of ours: run it with `python -S`.

It listens at --listen (or on a free port), says so on GLEITZEIT_READY_FD, and ends with status 0 on SIGTERM and when
GLEITZEIT_PARENT_FD reads end-of-file. A client of its socket may send `exit N` (end with status N) or `args`, which is
answered by its command line, its pids and the state folder of its environment as JSON.

--cannot WHY  says so on GLEITZEIT_READY_FD and exits with --status, or 1

--stubborn  ignores SIGTERM          --fail N  says why on stderr and exits at once
--mute      is never ready           --litter  starts a grandchild that would live for ever, and says its pid
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys


def option(name: str, default: str) -> str:
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


def answer(server: socket.socket, facts: dict[str, object]) -> None:
    client, _ = server.accept()
    with client:
        words = client.recv(64).decode().split()
        if words[:1] == ["exit"]:
            os._exit(int(words[1]))
        client.sendall(json.dumps(facts).encode())


def main() -> None:
    if "--fail" in sys.argv:
        print("cannot start: the reason", file=sys.stderr)
        sys.exit(int(option("--fail", "1")))
    if "--cannot" in sys.argv:
        os.write(int(os.environ["GLEITZEIT_READY_FD"]), json.dumps({"error": option("--cannot", "")}).encode() + b"\n")
        sys.exit(int(option("--status", "1")))
    facts: dict[str, object] = {"argv": sys.argv[1:], "pid": os.getpid(), "pgid": os.getpgrp()}
    facts["state"] = os.environ.get("GLEITZEIT_STATE")
    ending, on_signal = os.pipe()
    ignore = "--stubborn" in sys.argv
    signal.signal(signal.SIGTERM, signal.SIG_IGN if ignore else lambda *_: os.write(on_signal, b"x"))
    if "--litter" in sys.argv:
        facts["grandchild"] = subprocess.Popen(["sleep", "1000"]).pid
    host, _, port = option("--listen", "127.0.0.1:0").rpartition(":")
    server = socket.create_server((host, int(port)))
    if "--mute" not in sys.argv:
        line = {"url": f"ws://127.0.0.1:{server.getsockname()[1]}/", "pid": os.getpid()}
        ready = int(os.environ["GLEITZEIT_READY_FD"])
        os.write(ready, json.dumps(line).encode() + b"\n")
        os.close(ready)
    parent = int(os.environ.get("GLEITZEIT_PARENT_FD", ending))
    while True:
        readable, _, _ = select.select([server, ending, parent], [], [])
        if server in readable:
            answer(server, facts)
        if ending in readable or parent in readable:
            return


main()
