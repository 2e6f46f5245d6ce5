import pytest

from gleitzeit.process.supervised import ChildEvent
from gz_cli.durations import clock
from gz_cli.ink import Ink
from gz_cli.up import words


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (ChildEvent("started", "coordinator", pid=7), "coordinator      started (process 7)"),
        (ChildEvent("ready", "nats-server", url="nats://x"), "nats-server      ready at nats://x"),
        (ChildEvent("died", "provider-python", exit_code=1), "provider-python  died: exit code 1"),
        (ChildEvent("died", "provider-python", detail="killed by SIGKILL"), "provider-python  died: killed by SIGKILL"),
        (ChildEvent("restarting", "provider-python", delay_seconds=0.5), "provider-python  starts again in 500 ms"),
        (ChildEvent("stopped", "coordinator", exit_code=0), "coordinator      stopped"),
        (
            ChildEvent("stopped", "coordinator", exit_code=-15, detail="was killed by SIGTERM"),
            "coordinator      stopped",
        ),
        (ChildEvent("stopped", "coordinator", exit_code=2), "coordinator      stopped: exit code 2"),
    ],
)
def test_what_happens_to_a_process_is_one_line(event: ChildEvent, text: str) -> None:
    assert Ink(colour=False).line(words(event, 1000)) == f"{clock(1000)}  {text}"
