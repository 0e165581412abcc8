"""Pushed values become readings and intervals like polled ones: once, in any order, only as protected as agreed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridtally_edge.drivers.is15959 import DlmsPort, Is15959Settings
from gridtally_edge.drivers.model import Pushed, Reading
from gridtally_edge.journal.counters import CounterBook
from gridtally_edge.simulators.dlms_access import MeterAccess, MeterKeys, Scheme
from gridtally_edge.simulators.dlms_push import Push, PushKind
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit
from gridtally_shared.clock import ManualClock
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_CODE, BY_NAME, Kind
from support.commands import ready
from support.dlms_wire import START_MS, house
from support.little_street import QUARTER_MS, LittleStreet, converse, little_street
from unit.edge.agent.test_pushes_through_core import KEY, hear, pushes

VOLTAGE = BY_NAME["voltage_mv"].code
DAY_MS = 86_400_000
KEYED = Is15959Settings(17, system_title=b"GTYDCU01", key=bytes(range(16)), auth_key=bytes(range(0xD0, 0xE0)), password="ABCD0001")
ACCESS = MeterAccess(Scheme.IS15959, ciphered=True, keys=MeterKeys(b"GTYMETER"))


def introduced(street: LittleStreet, kind: PushKind) -> None:
    """The port has heard such a push once, and asked the meter in its next poll what stands in it."""
    hear(street, pushes(street, Push(kind)))
    street.next_quarter()
    street.wind(60_000)


def samples(street: LittleStreet) -> set[tuple[int, int]]:
    return set(street.core.journal._db.execute("SELECT quantity, at_ms FROM sample WHERE meter_no = 1"))


def intervals(street: LittleStreet) -> list[tuple[int, int, int, int]]:
    return sorted(street.core.journal._db.execute("SELECT quantity, start_ms, value, quality FROM interval WHERE meter_no = 1"))


def test_before_the_layout_is_known_a_push_tells_only_that_the_meter_lives(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.wind(30_000)
        before = samples(street)
        hear(street, pushes(street, Push(PushKind.INSTANT)))
        street.beat()
        assert samples(street) == before
        assert street.core.state_of(1).contact_ms == street.clock.now_ms()


def test_pushed_momentary_values_are_stored_at_the_moment_of_the_push(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        introduced(street, PushKind.INSTANT)
        asked, now_ms = len(street.asked), street.clock.now_ms()
        hear(street, pushes(street, Push(PushKind.INSTANT, repeats=2)))
        street.wind(10_000)
        street.beat()
        assert len(street.asked) == asked
        pushed = [(q, at_ms) for q, at_ms in samples(street) if now_ms - 1_000 < at_ms <= now_ms]
        assert (VOLTAGE, now_ms) in pushed
        assert len({q for q, _ in pushed}) > 5


def test_a_pushed_block_equals_the_polled_one_and_is_stored_once(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        introduced(street, PushKind.BLOCK)
        known = intervals(street)
        hear(street, pushes(street, Push(PushKind.BLOCK)))
        street.wind(10_000)
        street.beat()
        assert intervals(street) == known


def test_a_block_comes_by_push_before_it_is_polled_and_the_poll_adds_nothing(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        introduced(street, PushKind.BLOCK)
        before = intervals(street)
        now_ms = street.clock.now_ms()
        street.wind(QUARTER_MS - now_ms % QUARTER_MS + 1_000)
        late = pushes(street, Push(PushKind.BLOCK))
        street.wind(QUARTER_MS)
        hear(street, [*pushes(street, Push(PushKind.BLOCK)), *late, *late])
        street.wind(10_000)
        street.mute.add(KEY)
        street.beat()
        by_push = [row for row in intervals(street) if row not in before]
        assert len({start_ms for _, start_ms, _, _ in by_push}) == 2
        street.mute.clear()
        street.next_quarter()
        after = [row for row in intervals(street) if row not in before]
        starts = {start_ms for _, start_ms, _, _ in by_push}
        assert [row for row in after if row[1] in starts] == by_push


def test_a_push_is_read_by_the_port_of_the_meter_it_names(tmp_path: Path) -> None:
    with little_street(tmp_path, dlms=2) as street:
        ready(street)
        hear(street, pushes(street, Push(PushKind.INSTANT), "dlms/2"))
        street.next_quarter()
        street.wind(60_000)
        now_ms = street.clock.now_ms()
        hear(street, pushes(street, Push(PushKind.INSTANT), "dlms/2"))
        street.wind(10_000)
        street.beat()
        rows = street.core.journal._db.execute("SELECT DISTINCT meter_no FROM sample WHERE at_ms = ?", (now_ms,)).fetchall()
        assert rows == [(2,)]


# ---- the port alone, with the simulated meter's real frames ------------------------------------------------------------


class Meter:
    def __init__(self, access: MeterAccess | None = None) -> None:
        self.clock = ManualClock(START_MS)
        self.house = house("GT0017", self.clock)
        self.slave = DlmsSlave([DlmsUnit(self.house, 17, access=access)])

    def frames(self, kind: PushKind, count: int = 1, bits: tuple[int, ...] = ()) -> tuple[bytes, ...]:
        return self.slave.push(Push(kind, bits, count=count))

    def introduce(self, port: DlmsPort, *kinds: PushKind) -> None:
        for kind in kinds:
            (frame,) = self.frames(kind)
            port.hears_push(frame, self.clock.now_ms())
        self.ask(port, port.read_instant(self.clock.now_ms))

    def ask(self, port: DlmsPort, conversation: object) -> object:
        converse(port.open(), self.slave)
        found = converse(conversation, self.slave)
        converse(port.close(), self.slave)
        return found

    def hear(self, port: DlmsPort, frame: bytes) -> Pushed:
        pushed = port.hears_push(frame, self.clock.now_ms())
        assert pushed is not None
        return pushed


def plain_port() -> DlmsPort:
    return DlmsPort(Is15959Settings(17, password="ABCD0001"))


@pytest.mark.parametrize(
    ("kind", "part", "asked"),
    [
        (PushKind.DAILY, "daily", "read_daily"),
        (PushKind.BILLING, "billing", "read_billing"),
        (PushKind.BLOCK, "intervals", "read_intervals"),
    ],
)
def test_a_pushed_row_is_the_row_that_is_read(kind: PushKind, part: str, asked: str) -> None:
    meter, port = Meter(), plain_port()
    meter.clock.advance(35 * DAY_MS)
    meter.introduce(port, kind)
    (frame,) = meter.frames(kind)
    pushed: tuple[Reading, ...] = getattr(meter.hear(port, frame), part)
    now_ms = meter.clock.now_ms()
    polled = meter.ask(port, getattr(port, asked)(now_ms - 70 * DAY_MS, now_ms))
    assert isinstance(polled, tuple)
    last_ms = max(reading.at_ms for reading in polled)
    assert pushed
    assert set(pushed) == {reading for reading in polled if reading.at_ms == last_ms}


def test_registers_of_an_instant_push_are_those_that_are_read() -> None:
    meter, port = Meter(), plain_port()
    meter.introduce(port, PushKind.INSTANT)
    (frame,) = meter.frames(PushKind.INSTANT)
    pushed = {r.quantity: r.value for r in meter.hear(port, frame).readings if BY_CODE[r.quantity].kind is Kind.REGISTER}
    fresh = plain_port()
    found = meter.ask(fresh, fresh.read_instant(meter.clock.now_ms))
    assert isinstance(found, tuple)
    polled = {r.quantity: r.value for r in found if BY_CODE[r.quantity].kind is Kind.REGISTER}
    assert pushed == polled


def test_a_clock_that_runs_ahead_is_not_believed() -> None:
    meter, port = Meter(), plain_port()
    meter.introduce(port, PushKind.INSTANT)
    (frame,) = meter.frames(PushKind.INSTANT)
    behind_ms = meter.clock.now_ms() - 600_000
    pushed = port.hears_push(frame, behind_ms)
    assert pushed is not None
    assert {r.at_ms for r in pushed.readings} == {behind_ms}
    assert all(r.quality & Quality.CLOCK_UNCERTAIN for r in pushed.readings)


def test_a_replayed_or_older_ciphered_push_says_nothing_after_a_restart_too(tmp_path: Path) -> None:
    meter = Meter(ACCESS)
    book = CounterBook(tmp_path / "counters.json", meter.clock.now_ms)
    port = DlmsPort(KEYED, book)
    older, newer = meter.frames(PushKind.ALERT, count=2, bits=(85,))
    assert [event.code for event in meter.hear(port, newer).events] == [1017]
    for frame in (newer, older):
        refused = meter.hear(port, frame)
        assert refused.replayed
        assert refused.events == ()
    book.close()
    again = DlmsPort(KEYED, CounterBook(tmp_path / "counters.json", meter.clock.now_ms))
    assert meter.hear(again, newer).replayed


def test_an_answer_that_overtakes_a_push_does_not_make_it_a_replay() -> None:
    meter, port = Meter(ACCESS), DlmsPort(KEYED)
    (frame,) = meter.frames(PushKind.ALERT, bits=(85,))
    meter.ask(port, port.read_serial())
    assert not meter.hear(port, frame).replayed
