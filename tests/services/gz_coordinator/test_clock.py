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
