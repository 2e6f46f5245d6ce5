import pytest

from gleitzeit.client.subscription import Overflow, Subscription
from gleitzeit.client.watch import Newer
from gleitzeit.errors import ConnectionLost


async def test_in_order_and_then_the_reason_why_there_is_no_more() -> None:
    inbox = Subscription()
    inbox.put(Newer("wf-1", 1))
    inbox.put(Newer("wf-1", 2))
    inbox.lose("gone")
    inbox.put(Newer("wf-1", 3))
    assert [(await inbox.get()).seq, (await inbox.get()).seq] == [1, 2]
    for _ in range(2):
        with pytest.raises(ConnectionLost, match="gone"):
            await inbox.get()


async def test_it_is_bounded_and_says_that_something_was_dropped() -> None:
    inbox = Subscription(limit=2)
    for seq in range(5):
        inbox.put(Newer("wf-1", seq))
    assert [(await inbox.get()).seq, (await inbox.get()).seq] == [0, 1]
    with pytest.raises(Overflow):
        await inbox.get()
