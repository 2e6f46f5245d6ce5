from gz_coordinator.clock import Clock


def test_a_clock_that_is_far_behind_the_journal_is_spoken_of() -> None:
    now = 1_800_000_000_000
    clock = Clock(lambda: now)
    assert clock.warnings == []
    clock.not_before(now + 1_500)
    assert clock() == now + 1_500
    assert clock.warnings == [], "machines differ by as much"
    clock.not_before(now + 5 * 3_600_000)
    assert "is 5 h behind the journal" in clock.warnings[0]


def test_a_clock_catches_up_with_the_journal_and_never_goes_back() -> None:
    start = now = 1_800_000_000_000
    clock = Clock(lambda: now)
    clock.not_before(now + 3_600_000)
    told, last = [], 0
    for passed in [*range(50), *range(50, 5 * 3_600_000, 61_001)]:
        now = start + passed
        told.append(clock() - now)
        assert clock() >= last
        last = clock()
    assert told[0] == 3_600_000
    assert told[len(told) // 2] < 3_600_000 // 2
    assert told[-1] == 0
    assert clock.warnings == []


def test_a_clock_that_has_caught_up_by_half_can_fall_behind_again() -> None:
    start = now = 1_800_000_000_000
    clock = Clock(lambda: now)
    clock.not_before(now + 8_000)
    now = start + 16_000
    assert clock() == now + 4_000
    clock.not_before(now + 10_000)
    assert clock() == now + 10_000


def test_a_clock_that_is_set_forward_is_the_one_of_the_wall_alone() -> None:
    now = wall = 1_800_000_000_000
    clock = Clock(lambda: now, lambda: wall)
    wall += 3_600_000
    assert (clock(), clock.wall(), clock.forward_ms) == (now, wall, 3_600_000)
    assert "was set forward by 1 h" in clock.warnings[0]
    wall = now - 3_600_000
    assert (clock(), clock.wall(), clock.forward_ms) == (now, now, 0), "back it does not go"
    clock.not_before(now + 60_000)
    wall = now + 40_000
    assert (clock.wall(), clock.forward_ms) == (now + 60_000, 0), "what the journal has said is not taken back"
