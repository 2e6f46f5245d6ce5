"""What coordinators say to each other is what the schemas of it say."""

import msgspec
import pytest

from gleitzeit.model.permits import Ask, HeldPermit
from gleitzeit.model.places import Report
from gleitzeit.schemas import builtin
from gz_coordinator.sharing import permits, places

ASK = Ask("task/k", "wf-1/a/1", "c.1", 3, "cancel_running", 7, 4)
HELD = HeldPermit("task/k", "wf-1/a/1", "c.1", 7, "another takes its place")
REPORT = Report("ws://127.0.0.1:1/", 4, 1, 9, "t")


@pytest.mark.parametrize(
    ("method", "params"),
    [
        (permits.TAKE, {"ask": ASK}),
        (permits.GIVE_BACK, {"permits": [HELD]}),
        (permits.CHECK, {"permits": [HELD]}),
        (places.REPORT, {"owner": "c", "report": REPORT}),
    ],
)
def test_every_member_has_its_place_in_the_schema(method: str, params: dict[str, object]) -> None:
    assert not builtin().methods[method].check_params(msgspec.to_builtins(params))
