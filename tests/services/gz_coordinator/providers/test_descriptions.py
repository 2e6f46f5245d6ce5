"""What providers say of themselves."""

import pytest

from gleitzeit.schemas import PIECE
from gz_coordinator.providers.descriptions import methods_in


def test_others_have_their_turns_while_many_methods_are_read() -> None:
    """Those of one that has 20,000 would stop the coordinator for seconds."""
    many = [{"name": f"x/m{number}", "params": []} for number in range(40 * PIECE)]
    reading = methods_in({"methods": many})
    for _ in range(40):
        reading.send(None)
    with pytest.raises(StopIteration) as end:
        reading.send(None)
    assert len(end.value.value) == len(many)
