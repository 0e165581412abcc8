"""A meter whose register rolled over is taken down: its closing value counts behind the end of its digits, on both sides; a typing error
does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, update

from gridtally_cloud.prepay import replaced
from gridtally_cloud.prepay.closing import unwrapped
from gridtally_cloud.store.tables import meter
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_shared.errors import RefusedCommand
from support.linked_pair import LinkedPair, charged_pair, faults
from support.payday import DAY_MS, HOUR_MS, OPENED_WH, SIGNER

SIX, EIGHT, COUNTER = 10**9, 10**11, 1 << 32


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[LinkedPair]:
    with charged_pair(tmp_path) as pair:
        yield pair


@pytest.mark.parametrize(
    ("charged_wh", "read_wh", "seen_wh", "most_wh", "end_wh"),
    [
        (99_999_950, 37, 99_999_950, 1_000, 100_000_037),
        (SIX - 50, 37, SIX - 90, 1_000, SIX + 37),
        (EIGHT - 50, 37, EIGHT - 90, 1_000, EIGHT + 37),
        (COUNTER - 50, 37, COUNTER - 90, 1_000, COUNTER + 37),
        (SIX + 20, 37, SIX - 90, 1_000, SIX + 37),
        (3 * SIX + 20, 37, SIX - 90, 1_000, 3 * SIX + 37),
        (2 * SIX - 50, 37, SIX - 90, 1_000, 2 * SIX + 37),
        (SIX - 50, 37, SIX - 90, 86, None),
        (SIX + 20, 19, SIX - 90, 1_000, None),
        (5_999_950, 37, 5_999_950, 1_000, None),
        (99_999_950, 37, 123_456_000, 1_000, None),
        (SIX - 50, SIX // 10, SIX - 90, SIX, None),
        (99_500_000, 9_950_000, 99_500_000, SIX, None),
    ],
    ids=["five digits", "six", "eight", "a counter", "the journal is past it", "past it thrice", "twice round", "more than can be used",
         "back behind the end", "nowhere near an end", "it once showed more digits", "not near the beginning", "a digit left out"],
)  # fmt: skip
def test_a_register_goes_on_behind_the_end_of_its_digits(
    charged_wh: int, read_wh: int, seen_wh: int, most_wh: int, end_wh: int | None
) -> None:
    assert unwrapped(charged_wh, read_wh, seen_wh, most_wh) == end_wh


def near_its_end(pair: LinkedPair) -> None:
    """Charged to 50 Wh before the end of a display of four digits and decimals, which the MDM has read too."""
    pair.wait(3 * DAY_MS)
    pair.tell(p.ClockObserved(p.ClockSource.NTP, pair.now_ms, pair.now_ms))
    pair.read(0, 9_999_950)
    pair.sync()
    pair.now_ms += HOUR_MS


def take_down(pair: LinkedPair, read_wh: int) -> int:
    """The work order's registers; the number of the new meter. Raises RefusedCommand."""
    with pair.db.write() as conn:
        number = int(conn.execute(select(func.max(meter.c.meter_no))).scalar_one()) + 1
        point = conn.execute(select(meter.c.usage_point_no).where(meter.c.meter_no == pair.homes[0].meter_no)).scalar_one()
        conn.execute(insert(meter).values(meter_no=number, serial="NEW-1", dcu="dcu-pay", usage_point_no=point, installed_ms=pair.now_ms))
        replaced.swap_meter(conn, SIGNER, pair.account, number, read_wh, 50, pair.now_ms, "asha")
    return number


def test_the_use_over_the_roll_over_is_charged_to_the_wh_on_both_sides(pair: LinkedPair) -> None:
    near_its_end(pair)
    before_wh = pair.state().charged_wh
    number = take_down(pair, 37)
    pair.configure()
    pair.now_ms += HOUR_MS
    pair.tell(p.MeterRead(number, "NEW-1", pair.now_ms, 350, switch=SwitchState.CLOSED))
    pair.sync()
    state = pair.state()
    assert (state.charged_wh - before_wh, state.meter_no) == (87 + 300, number)
    assert pair.balance().balance_nano == state.balance_nano
    assert faults(pair) == []


def test_an_end_of_no_usual_width_is_followed_once_it_is_on_record(pair: LinkedPair) -> None:
    pair.wait(HOUR_MS)
    pair.tell(p.ClockObserved(p.ClockSource.NTP, pair.now_ms, pair.now_ms))
    pair.read(0, OPENED_WH + 1_950)
    pair.sync()
    pair.now_ms += HOUR_MS
    before_wh = pair.state().charged_wh
    with pytest.raises(RefusedCommand, match="read the number again, or leave it empty"):
        take_down(pair, 37)
    with pair.db.write() as conn:
        conn.execute(update(meter).where(meter.c.meter_no == pair.homes[0].meter_no).values(register_end_wh=OPENED_WH + 2_000))
    number = take_down(pair, 37)
    pair.configure()
    pair.now_ms += HOUR_MS
    pair.tell(p.MeterRead(number, "NEW-1", pair.now_ms, 350, switch=SwitchState.CLOSED))
    pair.sync()
    assert pair.state().charged_wh - before_wh == 50 + 37 + 300
    assert faults(pair) == []


@pytest.mark.parametrize("read_wh", [OPENED_WH, 999_995, 400_000], ids=["below", "a digit left out", "more than an hour's use"])
def test_a_closing_value_that_no_roll_over_explains_is_refused(pair: LinkedPair, read_wh: int) -> None:
    near_its_end(pair)
    with pytest.raises(RefusedCommand, match="read the number again, or leave it empty"):
        take_down(pair, read_wh)
