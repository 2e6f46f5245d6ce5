"""calls/v1: examples that read like the promises, then a machine that looks for a counterexample."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec import Raw

from gleitzeit.errors import (
    CallGone,
    CallUnknown,
    ConnectionLost,
    Fenced,
    GleitzeitError,
    ProviderBusy,
    ResourceExhausted,
    WrongInstance,
)
from gleitzeit.jsonrpc.messages import Failure
from gleitzeit.provider import calls
from gleitzeit.provider.calls import CallTable, Entry, Fence

RESULT = b'{"ok":true}'


def fence(epoch: int = 1, owner: str = "a", shard: int = 0) -> Fence:
    return Fence("c", shard, epoch, owner)


@pytest.fixture
def table() -> CallTable:
    return CallTable("i1", capacity=2)


def started(table: CallTable, call_id: str, connection: int, waiter: str = "w", lease_seconds: float = 20) -> Entry:
    entry, start = table.send(call_id, connection, waiter, lease_seconds=lease_seconds)
    assert start
    return entry


def test_the_first_send_starts_the_call_and_the_second_joins_it(table: CallTable) -> None:
    connection = table.opened()
    entry = started(table, "w/t/1", connection, "first")
    again, start = table.send("w/t/1", connection, "second", lease_seconds=20)
    assert again is entry
    assert not start
    assert table.running == 1
    assert table.finish(entry, RESULT, now=0) == ["first", "second"]


def test_a_result_is_kept_until_it_is_acknowledged_and_gone_afterwards(table: CallTable) -> None:
    connection = table.opened()
    table.finish(started(table, "w/t/1", connection), RESULT, now=0)
    again, start = table.send("w/t/1", connection, "late", lease_seconds=20)
    assert (again.outcome, start) == (RESULT, False)
    assert table.attach("w/t/1", connection, "later").outcome == RESULT
    table.ack(["w/t/1"])
    assert (table.kept, table.kept_bytes) == (0, 0)
    with pytest.raises(CallGone):
        table.send("w/t/1", connection, "duplicate", lease_seconds=20)
    with pytest.raises(CallGone):
        table.attach("w/t/1", connection, "duplicate")


def test_a_failure_is_kept_like_a_result(table: CallTable) -> None:
    connection = table.opened()
    failure = Failure(-29002, "no", Raw(b'{"why":"because"}'))
    table.finish(started(table, "w/t/1", connection), failure, now=0)
    assert table.attach("w/t/1", connection, "w").outcome == failure


def test_an_ack_of_a_running_or_unknown_call_changes_nothing(table: CallTable) -> None:
    connection = table.opened()
    entry = started(table, "w/t/1", connection)
    table.ack(["w/t/1", "never/sent/1"])
    assert table.running == 1
    assert table.finish(entry, RESULT, now=0) == ["w"]
    assert table.send("never/sent/1", connection, "w", lease_seconds=20)[1]


def test_a_full_table_is_busy_but_still_lets_one_join(table: CallTable) -> None:
    connection = table.opened()
    started(table, "a", connection)
    started(table, "b", connection)
    with pytest.raises(ProviderBusy) as caught:
        table.send("c", connection, "w", lease_seconds=20)
    assert caught.value.data == {"retryAfterSeconds": calls.BUSY_RETRY_SECONDS}
    with pytest.raises(ProviderBusy):
        table.send_plain(connection, "w")
    assert not table.send("a", connection, "w", lease_seconds=20)[1]


def test_what_was_refused_stays_refused_though_there_is_a_place_now(table: CallTable) -> None:
    connection = table.opened()
    entry = started(table, "a", connection)
    started(table, "b", connection)
    with pytest.raises(ProviderBusy):
        table.send("c", connection, "w", lease_seconds=20)
    table.finish(entry, RESULT, now=0)
    with pytest.raises(ProviderBusy) as caught:  # a message that came twice: the caller has gone on to another id
        table.send("c", connection, "duplicate", lease_seconds=20)
    assert caught.value.data is not None
    assert caught.value.data["retryAfterSeconds"] == calls.BUSY_RETRY_SECONDS
    with pytest.raises(CallUnknown):  # it never ran
        table.attach("c", connection, "w")
    started(table, "c again", connection)


def test_a_method_that_found_itself_busy_is_not_asked_again_by_the_same_id(table: CallTable) -> None:
    connection = table.opened()
    limit = Failure(ProviderBusy.code, "a rate limit", Raw(b'{"retryAfterSeconds":7}'))
    table.finish(started(table, "a", connection), limit, now=0)
    assert table.kept == 0
    with pytest.raises(ProviderBusy, match="a rate limit") as caught:
        table.send("a", connection, "duplicate", lease_seconds=20)
    assert caught.value.data == {"retryAfterSeconds": 7}
    started(table, "b", connection)


def test_so_many_refusals_are_remembered() -> None:
    table = CallTable("i1", capacity=1, refused_limit=2)
    connection = table.opened()
    running = started(table, "a", connection)
    for call_id in ("b", "c", "d"):
        with pytest.raises(ProviderBusy):
            table.send(call_id, connection, "w", lease_seconds=20)
    table.finish(running, RESULT, now=0)
    with pytest.raises(ProviderBusy):
        table.send("c", connection, "w", lease_seconds=20)
    started(table, "b", connection)


def test_a_draining_table_starts_nothing_and_finishes_what_runs(table: CallTable) -> None:
    connection = table.opened()
    entry = started(table, "a", connection)
    table.draining = True
    with pytest.raises(ProviderBusy):
        table.send("b", connection, "w", lease_seconds=20)
    assert not table.send("a", connection, "w2", lease_seconds=20)[1]
    assert table.finish(entry, RESULT, now=0) == ["w", "w2"]
    assert table.owed == 1


def test_too_many_unacknowledged_bytes_make_it_busy() -> None:
    table = CallTable("i1", capacity=9, kept_bytes_limit=2 * calls.ENTRY_OVERHEAD_BYTES)
    connection = table.opened()
    table.finish(started(table, "a", connection), RESULT, now=0)
    table.finish(started(table, "b", connection), RESULT, now=0)
    with pytest.raises(ProviderBusy, match="acknowledged"):
        table.send("c", connection, "w", lease_seconds=20)
    table.ack(["a"])
    started(table, "d", connection)


def test_tombstones_are_bounded_and_the_oldest_goes_first() -> None:
    table = CallTable("i1", capacity=1, tombstone_limit=2)
    connection = table.opened()
    for call_id in ("a", "b", "c"):
        table.finish(started(table, call_id, connection), RESULT, now=0)
        table.ack([call_id])
    for call_id in ("b", "c"):
        with pytest.raises(CallGone):
            table.attach(call_id, connection, "w")
    with pytest.raises(CallUnknown):
        table.attach("a", connection, "w")


def test_a_call_for_an_earlier_start_of_the_provider_is_refused(table: CallTable) -> None:
    connection = table.opened()
    with pytest.raises(WrongInstance) as caught:
        table.send("a", connection, "w", lease_seconds=20, instance="i0")
    assert caught.value.data == {"instance": "i1"}
    assert table.send("a", connection, "w", lease_seconds=20, instance="i1")[1]


def test_an_attach_to_what_never_came_names_the_instance(table: CallTable) -> None:
    with pytest.raises(CallUnknown) as caught:
        table.attach("a", table.opened(), "w")
    assert caught.value.data == {"instance": "i1"}


def test_lower_epochs_and_other_owners_of_the_same_epoch_are_fenced(table: CallTable) -> None:
    first, second = table.opened(), table.opened()
    assert table.bind(first, fence(2, "a")) is None
    assert table.bind(first, fence(2, "a")) is None
    for refused in (fence(1, "a"), fence(1, "b"), fence(2, "b")):
        with pytest.raises(Fenced):
            table.bind(second, refused)
    assert table.bind(second, fence(1, "b", shard=1)) is None, "another shard is another matter"
    assert table.bind(second, fence(3, "b")) is None, "a deposed owner's connection is left alone"
    with pytest.raises(Fenced):
        table.bind(first, fence(2, "a"))


def test_a_newer_connection_of_an_owner_supersedes_the_older_one(table: CallTable) -> None:
    older, newer = table.opened(), table.opened()
    table.bind(older, fence())
    entry = started(table, "a", older, "old")
    assert table.bind(newer, fence()) == older
    table.lost(older, now=0)
    with pytest.raises(ConnectionLost):
        table.bind(older, fence())
    with pytest.raises(ConnectionLost):
        table.send("b", older, "w", lease_seconds=20)
    with pytest.raises(ConnectionLost):
        table.send_plain(older, "w")
    with pytest.raises(ConnectionLost):
        table.attach("a", older, "w")
    assert table.attach("a", newer, "new") is entry
    assert table.finish(entry, RESULT, now=1) == ["new"]


def test_a_connection_that_was_given_up_and_whose_first_word_comes_late_supersedes_nobody(table: CallTable) -> None:
    given_up, newer = table.opened(), table.opened()
    assert table.bind(newer, fence()) is None
    with pytest.raises(ConnectionLost):
        table.bind(given_up, fence())
    assert table.bind(newer, fence()) is None
    table.lost(newer, now=0)
    assert table.bind(given_up, fence()) is None, "there is no newer one"


def test_a_reconnect_after_a_close_supersedes_nobody(table: CallTable) -> None:
    older = table.opened()
    table.bind(older, fence())
    table.lost(older, now=0)
    assert table.bind(table.opened(), fence()) is None


def test_fences_are_bounded(table: CallTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "FENCE_LIMIT", 1)
    connection = table.opened()
    table.bind(connection, fence())
    with pytest.raises(ResourceExhausted):
        table.bind(connection, fence(shard=1))
    assert table.bind(connection, fence(epoch=2)) is None


def test_a_call_whose_connection_is_lost_is_stopped_when_its_lease_runs_out(table: CallTable) -> None:
    connection = table.opened()
    entry = started(table, "a", connection, lease_seconds=20)
    assert table.next_expiry() is None
    assert table.lost(connection, now=100) == []
    assert table.next_expiry() == 120
    assert table.expire(now=119.9) == []
    assert table.expire(now=120) == [entry]
    assert table.expire(now=121) == [], "it is told once"
    assert table.running == 1, "until it has really ended"
    assert table.finish(entry, Failure(-29004, "stopped"), now=122) == []


def test_an_attach_in_time_saves_the_call(table: CallTable) -> None:
    first = table.opened()
    entry = started(table, "a", first, lease_seconds=20)
    table.lost(first, now=0)
    second = table.opened()
    assert table.attach("a", second, "w", lease_seconds=900) is entry
    assert table.expire(now=50) == []
    table.lost(second, now=50)
    assert table.next_expiry() == 950


def test_a_finished_result_outlives_the_lease_but_not_a_day(table: CallTable) -> None:
    first = table.opened()
    table.finish(started(table, "a", first, lease_seconds=20), RESULT, now=10)
    table.lost(first, now=10)
    table.expire(now=10 + calls.KEEP_SECONDS - 1)
    second = table.opened()
    assert table.attach("a", second, "w").outcome == RESULT
    table.expire(now=10 + calls.KEEP_SECONDS)
    assert table.kept_bytes == 0
    with pytest.raises(CallGone):
        table.attach("a", second, "w")


def test_a_plain_call_ends_with_its_connection_and_leaves_nothing(table: CallTable) -> None:
    connection, other = table.opened(), table.opened()
    entry = table.send_plain(connection, "w")
    kept = started(table, "a", other)
    assert table.lost(connection, now=0) == [entry]
    assert table.expire(now=0) == []
    assert table.finish(entry, RESULT, now=0) == []
    assert (table.running, table.kept) == (1, 0)
    assert table.finish(kept, RESULT, now=0) == ["w"]


def test_only_its_owner_cancels_a_call_or_anyone_when_it_has_none(table: CallTable) -> None:
    owner, other = table.opened(), table.opened()
    entry = started(table, "a", owner)
    assert table.cancel("a", other) is None
    assert table.cancel("b", owner) is None
    assert table.cancel("a", owner) is entry
    table.lost(owner, now=0)
    assert table.cancel("a", other) is entry


def test_a_waiter_that_leaves_is_not_answered(table: CallTable) -> None:
    connection = table.opened()
    entry = started(table, "a", connection, "first")
    table.send("a", connection, "second", lease_seconds=20)
    table.leave(entry, "first")
    assert table.finish(entry, RESULT, now=0) == ["second"]


CALL_IDS = st.sampled_from([f"w/t/{n}" for n in range(4)])
OWNERS = st.sampled_from(["a", "a", "b"])
EPOCHS = st.sampled_from([0, 0, 0, 0, 0, 1, -1])  # mostly the one who owns the shard speaks


class CallsMachine(RuleBasedStateMachine):
    """Coordinators that reconnect, repeat themselves, depose each other and die, against one provider."""

    @initialize(capacity=st.integers(1, 3))
    def start(self, capacity: int) -> None:
        self.table = CallTable("i1", capacity, kept_bytes_limit=4 * calls.ENTRY_OVERHEAD_BYTES)
        self.now = 0.0
        self.holder = (0, "")  # epoch, owner
        self.bound = 0  # the connection by which it last spoke
        self.executions: dict[str, int] = {}
        self.running: dict[str, Entry] = {}
        self.plain: list[Entry] = []
        self.outcomes: dict[str, bytes] = {}
        self.acked: set[str] = set()
        self.refused: set[str] = set()
        self.waiting: dict[int, tuple[int, str]] = {}  # waiter -> (connection, callId)
        self.open: dict[int, str] = {}  # connection -> owner
        self.closed: set[int] = set()
        self.waiters = 0
        self.belongs: dict[str, tuple[int, float]] = {}  # running callId -> (connection, lease_seconds)
        self.deadlines: dict[str, float] = {}  # of those that lost it

    def waiter(self, connection: int, call_id: str) -> int:
        self.waiters += 1
        self.waiting[self.waiters] = (connection, call_id)
        return self.waiters

    def close(self, connection: int) -> None:
        for entry in self.table.lost(connection, self.now):
            assert entry in self.plain
            self.plain.remove(entry)
            assert self.table.finish(entry, RESULT, self.now) == []
        for call_id, (owner, lease_seconds) in self.belongs.items():
            if owner == connection and call_id not in self.deadlines:
                self.deadlines[call_id] = self.now + lease_seconds
        self.open.pop(connection, None)
        self.closed.add(connection)
        self.waiting = {w: pair for w, pair in self.waiting.items() if pair[0] != connection}

    def bind(self, connection: int, epoch: int) -> bool:
        """Whether the message may be looked at any further."""
        owner = self.open[connection]
        highest, holder = self.holder
        deposed = bool(holder) and (epoch < highest or (epoch == highest and owner != holder))
        try:
            older = self.table.bind(connection, Fence("c", 0, epoch, owner))
        except Fenced:
            assert deposed
            return False
        except ConnectionLost:
            assert self.open.get(self.bound) == owner == holder
            assert self.bound > connection
            return False
        assert not deposed
        assert owner != holder or self.bound <= connection or self.bound not in self.open
        self.holder, self.bound = (epoch, owner), connection
        if older is not None:
            assert self.open[older] == owner
            self.close(older)
        return True

    @rule(owner=OWNERS)
    def connect(self, owner: str) -> None:
        if len(self.open) < 4:
            self.open[self.table.opened()] = owner

    @precondition(lambda self: self.open)
    @rule(
        data=st.data(),
        call_id=CALL_IDS,
        newer=EPOCHS,
        attach=st.booleans(),
        lease=st.sampled_from([1.0, 9.0]),
    )
    def ask(self, data: st.DataObject, call_id: str, newer: int, attach: bool, lease: float) -> None:
        connection = data.draw(st.sampled_from(sorted(self.open)))
        if not self.bind(connection, self.holder[0] + newer):
            return
        waiter = self.waiter(connection, call_id)
        try:
            if attach:
                entry, start = self.table.attach(call_id, connection, waiter, lease_seconds=lease), False
            else:
                entry, start = self.table.send(call_id, connection, waiter, lease_seconds=lease)
        except GleitzeitError as error:
            del self.waiting[waiter]
            self.check_refusal(error, call_id, attach)
            return
        assert call_id not in self.acked
        assert attach or call_id not in self.refused
        if start:
            self.executions[call_id] = self.executions.get(call_id, 0) + 1
            self.running[call_id] = entry
        elif entry.outcome is None:
            assert entry is self.running[call_id]
        else:
            assert entry.outcome == self.outcomes[call_id]
            del self.waiting[waiter]
            return
        self.belongs[call_id] = (connection, lease)
        self.deadlines.pop(call_id, None)

    def check_refusal(self, error: GleitzeitError, call_id: str, attach: bool) -> None:
        known = call_id in self.running or call_id in self.outcomes
        if isinstance(error, CallGone):
            assert call_id in self.acked
        elif isinstance(error, ProviderBusy):
            assert not attach
            assert not known
            full = len(self.running) + len(self.plain) == self.table.capacity
            assert full or call_id in self.refused or self.table.kept_bytes >= 4 * calls.ENTRY_OVERHEAD_BYTES
            self.refused.add(call_id)
        else:
            assert isinstance(error, CallUnknown)
            assert attach
            assert not known
            assert call_id not in self.acked

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def ask_plainly(self, data: st.DataObject) -> None:
        connection = data.draw(st.sampled_from(sorted(self.open)))
        try:
            self.plain.append(self.table.send_plain(connection, "plain"))
        except ProviderBusy:
            assert self.table.running == self.table.capacity or self.table.kept_bytes > 0

    @precondition(lambda self: self.closed)
    @rule(data=st.data(), call_id=CALL_IDS)
    def straggle(self, data: st.DataObject, call_id: str) -> None:
        """What was still buffered on a connection that is closed."""
        connection = data.draw(st.sampled_from(sorted(self.closed)))
        with pytest.raises(ConnectionLost):
            self.table.send(call_id, connection, "ghost", lease_seconds=1)
        with pytest.raises(ConnectionLost):
            self.table.bind(connection, Fence("c", 0, self.holder[0] + 1, "a"))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        call_id = data.draw(st.sampled_from(sorted(self.running)))
        outcome = b"%d" % len(self.outcomes)
        answered = self.table.finish(self.running.pop(call_id), outcome, self.now)
        assert sorted(answered) == sorted(w for w, (_, waits_for) in self.waiting.items() if waits_for == call_id)
        self.waiting = {w: pair for w, pair in self.waiting.items() if pair[1] != call_id}
        self.outcomes[call_id] = outcome
        del self.belongs[call_id]
        self.deadlines.pop(call_id, None)

    @rule(call_ids=st.lists(CALL_IDS, min_size=1, max_size=3))
    def ack(self, call_ids: list[str]) -> None:
        self.table.ack(call_ids)
        for call_id in call_ids:
            if self.outcomes.pop(call_id, None) is not None:
                self.acked.add(call_id)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        self.close(data.draw(st.sampled_from(sorted(self.open))))

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        expired = {str(entry.key) for entry in self.table.expire(self.now)}
        assert expired == {call_id for call_id, deadline in self.deadlines.items() if deadline <= self.now}
        for call_id in expired:  # told once; it may take its time to end
            self.deadlines[call_id] = float("inf")

    @precondition(lambda self: self.running and self.open)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        connection = data.draw(st.sampled_from(sorted(self.open)))
        call_id = data.draw(st.sampled_from(sorted(self.running)))
        owner = self.belongs[call_id][0]
        allowed = owner == connection or owner not in self.open
        assert (self.table.cancel(call_id, connection) is self.running[call_id]) == allowed

    @invariant()
    def laws(self) -> None:
        if not hasattr(self, "table"):
            return
        assert all(count == 1 for count in self.executions.values()), "executed at most once"
        assert self.table.running == len(self.running) + len(self.plain) <= self.table.capacity
        assert self.table.kept == len(self.outcomes), "kept until the ack, and no longer"
        assert (self.table.kept_bytes == 0) == (not self.outcomes)


CallsMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=50)
TestCallsMachine = CallsMachine.TestCase
