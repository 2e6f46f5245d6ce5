"""Who is in, who comes next, and what it costs when many give up."""

import asyncio
import random

import pytest

from gz_coordinator.turnstile import Turnstile


async def test_so_many_are_in_at_once_and_the_others_follow_in_their_order() -> None:
    turnstile, inside, most, order = Turnstile(3), 0, 0, []

    async def visit(number: int) -> None:
        nonlocal inside, most
        async with turnstile:
            inside += 1
            most = max(most, inside)
            order.append(number)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(visit(number) for number in range(50)))
    assert (most, order) == (3, list(range(50)))


@pytest.mark.parametrize("seed", range(20))
async def test_whoever_gives_up_whenever_no_place_is_lost_and_none_is_made(seed: int) -> None:
    chance = random.Random(seed)
    turnstile, inside, done = Turnstile(2), 0, 0

    async def visit() -> None:
        nonlocal inside, done
        async with turnstile:
            inside += 1
            assert inside <= 2
            try:
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
            finally:
                inside -= 1
        done += 1

    tasks = []
    for _ in range(200):
        tasks.append(asyncio.create_task(visit()))
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        if chance.random() < 0.5:
            chance.choice(tasks).cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert inside == 0
    assert done > 50
    async with asyncio.timeout(5), turnstile, turnstile:  # both places are there
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), turnstile:
                pass


@pytest.mark.long
async def test_many_who_give_up_at_once_hold_nobody_up() -> None:
    """With a semaphore, which looks for each of them, it takes minutes."""
    turnstile = Turnstile(1)
    async with turnstile, asyncio.timeout(60):
        waiting = [asyncio.create_task(turnstile.__aenter__()) for _ in range(150_000)]
        await asyncio.sleep(0)
        random.Random(1).shuffle(waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert all(task.cancelled() for task in waiting)
    async with asyncio.timeout(5), turnstile:
        pass


async def test_who_leaves_passes_by_one_who_has_given_up_in_the_same_moment() -> None:
    turnstile = Turnstile(1)

    async def visit() -> None:
        async with turnstile:
            pass

    async with turnstile:
        gone, next_one = asyncio.create_task(visit()), asyncio.create_task(visit())
        await asyncio.sleep(0)
        gone.cancel()  # it has not heard of it when the place is free
    await asyncio.gather(gone, next_one, return_exceptions=True)
    assert (gone.cancelled(), next_one.exception()) == (True, None)
    async with asyncio.timeout(10):
        await visit()
