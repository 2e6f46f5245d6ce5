"""Places at a foreign provider: never more calls than it takes, over a network that loses, delays and reorders, with
coordinators that die and keepers that change; and everybody has a turn once it is calm."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gleitzeit.engine.scheduling.keeper import TURN_MS, Account, Keeper, Outcome
from gleitzeit.model.places import Answer, Report

URL = "ws://p"


class Member:
    """A coordinator as far as places go: it has calls, and one report under way at a time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.places = self.running = self.wants = 0
        self.ticket = ""
        self.asking = 0
        """The number of its report that is under way; 0: none."""
        self.turns = 0

    def report(self) -> Report:
        wants = max(self.wants, self.running)
        return Report(URL, World.capacity, max(self.places, self.running), wants, self.ticket)

    def answered(self, number: int, answer: Answer) -> None:
        if number == self.asking:
            self.asking, self.ticket = 0, answer.ticket
            self.places = self.places if answer.places is None else answer.places


class World:
    capacity = 2

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.members = [Member(f"m{number}") for number in range(3)]
        self.count = 3
        self.keepers = 1
        self.keeper = Keeper("k1")
        self.now = 0
        self.requests: list[tuple[int, Keeper, Member, Report]] = []
        self.answers: list[tuple[int, Member, Answer]] = []

    def check(self) -> None:
        running = [member.running for member in self.members]
        assert sum(running) <= self.capacity, f"{running} calls run at once"

    # What may happen

    def send(self, member: Member) -> None:
        if not member.asking:
            self.count += 1
            member.asking = self.count
            self.requests.append((self.count, self.keeper, member, member.report()))

    def arrive(self) -> None:
        if self.requests:
            number, keeper, member, report = self.requests.pop(self.random.randrange(len(self.requests)))
            if keeper is self.keeper:  # the others have lost the shard, and say so
                living = {one.name for one in self.members}
                answer = keeper.report(self.now, member.name, report, living).answer
                self.answers.append((number, member, answer))

    def return_(self) -> None:
        if self.answers:
            number, member, answer = self.answers.pop(self.random.randrange(len(self.answers)))
            member.answered(number, answer)

    def step(self) -> None:
        member = self.random.choice(self.members)
        self.now += self.random.choice([0, 1, 300])
        match self.random.randrange(13):
            case 0 | 1 if member.running < member.places:
                member.running += 1
            case 2 if member.running:
                member.running -= 1
            case 3:
                member.wants = self.random.randrange(4)
            case 4 if not member.asking:
                member.places = min(member.places, member.running)
            case 5 | 6:
                self.send(member)
            case 7 | 8:
                self.arrive()
            case 9 | 10:
                self.return_()
            case 11:  # nobody waits for the answer any longer
                member.asking = 0
            case 12 if self.random.random() < 0.1:
                self.keepers += 1
                self.keeper = Keeper(f"k{self.keepers}")
            case 12 if self.random.random() < 0.1:
                self.count += 1
                self.members[self.members.index(member)] = Member(f"m{self.count}")
        self.check()

    def calm_round(self) -> None:
        """Everybody lives, everything arrives, and all report once a second."""
        self.now += TURN_MS
        for member in self.members:
            member.running = 0
            self.send(member)
        while self.requests or self.answers:
            self.arrive()
            self.return_()
        for member in self.members:
            member.asking = 0
            if member.places:
                member.running = min(member.places, member.wants)
                member.turns += 1
        self.check()


def play(seed: int) -> None:
    world = World(seed)
    for _ in range(400):
        world.step()
    for member in world.members:
        member.wants = 3
    for _ in range(20):
        world.calm_round()
    assert all(member.turns > 2 for member in world.members), "somebody had no turn"


def play_many(count: int) -> None:
    for seed in range(count):
        play(seed)


@settings(max_examples=50)
@given(st.integers(0, 1 << 32))
def test_never_more_calls_than_places_and_everybody_has_a_turn(seed: int) -> None:
    play(seed)


report, take = Keeper.report, Account.take
BUGS: dict[str, tuple[type, str, Any]] = {}


def bug(owner: type, attribute: str) -> Callable[[Any], Any]:
    def plant(function: Any) -> Any:
        BUGS[function.__name__] = owner, attribute, function
        return function

    return plant


@bug(Keeper, "report")
def ignores_tickets(self: Keeper, now: int, owner: str, said: Report, living: set[str]) -> Outcome:
    account = self._accounts.setdefault(owner, Account())
    account.ticket = account.ticket or "first"
    return report(self, now, owner, replace(said, ticket=account.ticket), living)


@bug(Keeper, "report")
def does_not_wait_for_all(self: Keeper, now: int, owner: str, said: Report, living: set[str]) -> Outcome:
    known = {name for name, account in self._accounts.items() if account.is_known}
    return report(self, now, owner, said, living & {owner, *known})


@bug(Account, "take")
def forgets_what_is_held(self: Account, said: Report, now: int) -> None:
    take(self, replace(said, holds=0), now)


@bug(Account, "turn")
def knows_no_turns(self: Account, now: int) -> tuple[int, int]:
    return 0, 0


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*BUGS[name])
    with pytest.raises(AssertionError):
        play_many(200)


# One by one


class Desk:
    """A keeper that everybody has reported to, and who has what."""

    def __init__(self, capacity: int, *names: str) -> None:
        self.keeper = Keeper("k")
        self.capacity = capacity
        self.now = 0
        self.tickets = dict.fromkeys(names, "")
        for _ in range(2):
            for name in names:
                self.says(name)

    def says(self, name: str, holds: int = 0, wants: int = 0) -> tuple[int | None, tuple[str, ...]]:
        """What it is answered, and who is to report."""
        said = Report(URL, self.capacity, holds, wants, self.tickets[name])
        outcome = self.keeper.report(self.now, name, said, self.tickets.keys())
        self.tickets[name] = outcome.answer.ticket
        return outcome.answer.places, outcome.remind


def test_who_wants_what_nobody_lacks_gets_it_and_keeps_it() -> None:
    desk = Desk(4, "a", "b")
    assert desk.says("a", wants=9) == (4, ())
    assert desk.says("a", holds=4) == (4, ())


def test_parts_are_equal_and_what_is_lacked_is_given_back() -> None:
    desk = Desk(4, "a", "b")
    desk.says("a", wants=9)
    assert desk.says("b", wants=9) == (0, ("a",))
    assert desk.says("a", holds=4, wants=9) == (2, ())
    assert desk.says("a", holds=3, wants=9) == (2, ("b",))
    assert desk.says("b", wants=9) == (1, ())
    assert desk.says("a", holds=2, wants=9) == (2, ("b",))
    assert desk.says("b", holds=1, wants=9) == (2, ())


def test_nothing_is_given_before_all_have_reported_and_what_the_dead_had_is_free() -> None:
    desk = Desk(2, "a")
    desk.tickets["b"] = ""
    assert desk.says("a", wants=2) == (0, ("b",))
    assert desk.says("b") == (None, ())
    assert desk.says("b", holds=1, wants=1) == (1, ("a",))
    assert desk.says("a", wants=2) == (1, ())
    del desk.tickets["b"]
    assert desk.says("a", holds=1, wants=2) == (2, ())


def test_a_capacity_that_has_become_less_is_kept_as_soon_as_anybody_knows() -> None:
    desk = Desk(3, "a", "b")
    desk.says("a", wants=2)
    desk.says("b", wants=1)
    desk.capacity = 1
    assert desk.says("b", holds=1, wants=1) == (0, ("a",))
    assert desk.says("a", holds=2, wants=2) == (1, ())


def test_of_one_place_everybody_has_a_turn() -> None:
    desk = Desk(1, "a", "b")
    assert desk.says("a", wants=1) == (1, ())
    assert desk.says("b", wants=1) == (0, ())
    desk.now += TURN_MS
    assert desk.says("b", wants=1) == (0, ("a",))
    assert desk.says("a", holds=1, wants=1) == (0, ())
    assert desk.says("a", wants=1) == (0, ("b",))
    assert desk.says("b", wants=1) == (1, ())


def test_who_is_not_among_the_living_gets_nothing() -> None:
    assert Keeper("k").report(0, "a", Report(URL, 1, 0, 1), {"b"}) == Outcome(Answer())
