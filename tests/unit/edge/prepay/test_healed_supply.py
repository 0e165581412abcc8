"""A disk is put back to an older image while the supply is off: what the healed journal tells brings it back as if nothing had been."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_shared.prepay.regions import Entitlement, LoadLimit
from support.dark_home import ABOVE_W, BELOW_W, DarkHome, dark_home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[DarkHome]:
    with dark_home(tmp_path) as home:
        yield home


def test_who_was_cut_and_pays_has_supply_again(home: DarkHome) -> None:
    """The old disk knows of no cut: to it the switch is open, and nobody ordered it."""
    image = home.image("old")
    assert home.use_up() == "open"
    home.old_disk(image)
    assert home.off_by() == "unordered"
    home.heal()
    assert (home.off_by(), home.standing().regions.entitlement) == ("balance", Entitlement.CUT)
    assert home.standing().owed_nano > 0
    home.minutes(10, BELOW_W)
    assert home.ordered == []
    home.pay("500")
    home.carry_down()
    assert home.act() == "close"


def test_whom_the_utility_switched_on_without_a_payment_is_not_cut_the_same_day(home: DarkHome) -> None:
    assert home.use_up() == "open"
    image = home.image("old")
    assert home.order_on() == "close"
    home.old_disk(image)
    home.heal()
    home.minutes(60, BELOW_W)
    assert home.ordered == []


def test_a_trip_closes_by_itself_once_and_the_next_one_stays(home: DarkHome) -> None:
    home.limit()
    image = home.image("old")
    assert home.trip() == "open"
    home.old_disk(image)
    home.heal()
    assert (home.off_by(), home.standing().regions.limit) == ("limit", LoadLimit.TRIPPED)
    home.minutes(1, 0)
    assert home.ordered == []
    home.minutes(3, 0)
    assert home.act() == "close"
    assert home.trip() == "open"
    assert home.standing().regions.limit is LoadLimit.LOCKED_MANUAL
    home.minutes(70, 0)
    assert home.ordered == []


def test_the_one_close_that_was_used_up_is_not_given_again(home: DarkHome) -> None:
    """It stood behind the image; and the next one comes back by hand, as it would have."""
    home.limit()
    image = home.image("old")
    assert home.trip() == "open"
    home.minutes(4, 0)
    assert home.act() == "close"
    home.old_disk(image)
    home.heal()
    assert (home.standing().regions.limit, home.standing().recloses) == (LoadLimit.RECLOSED_ONCE, 1)
    assert home.trip() == "open"
    home.minutes(70, 0)
    assert home.ordered == []
    home.tell(p.RecloseAsked(home.account))
    assert home.act() == "close"


def test_after_a_clean_hour_the_close_is_there_again(home: DarkHome) -> None:
    home.limit()
    image = home.image("old")
    home.trip()
    home.minutes(4, 0)
    home.act()
    home.old_disk(image)
    home.now_ms += 3_600_000
    home.heal()
    assert (home.standing().regions.limit, home.standing().recloses) == (LoadLimit.IDLE, 0)


def test_what_this_box_did_meanwhile_came_behind_what_the_mirror_tells(home: DarkHome) -> None:
    """The trip is of the time before the image was put in; its close and the next trip are of the old disk, before it hears the cloud."""
    home.limit()
    home.trip()
    image = home.image("old")
    home.minutes(4, 0)
    assert home.act() == "close"
    assert home.trip() == "open"
    home.minutes(2, 0)
    assert home.standing().regions.limit is LoadLimit.LOCKED_MANUAL
    home.old_disk(image)
    home.minutes(5, 0)
    assert home.act() == "close", "as far as it knows it is the first"
    home.heal()
    limit = home.standing()
    assert (limit.regions.limit, limit.recloses) == (LoadLimit.RECLOSED_ONCE, 1)
    assert home.trip() == "open"
    home.minutes(30, 0)
    assert home.ordered == []


def test_what_a_person_ordered_off_is_not_closed_by_a_payment(home: DarkHome) -> None:
    image = home.image("old")
    assert home.order_off() == "open"
    home.old_disk(image)
    home.heal()
    assert home.off_by() == "order"
    home.pay("500")
    home.carry_down()
    home.minutes(10, 0)
    assert home.ordered == []


def test_a_switch_that_somebody_closed_meanwhile_is_not_taken_for_open(home: DarkHome) -> None:
    home.limit()
    image = home.image("old")
    home.trip()
    home.sync()
    home.switch = SwitchState.CLOSED
    home.old_disk(image)
    home.heal()
    home.minutes(2, BELOW_W)
    assert (home.off_by(), home.standing().regions.limit) == ("", LoadLimit.IDLE)
    assert home.standing().recloses == 1, "by hand, until an hour is over"
    home.minutes(3, ABOVE_W)
    assert home.act() == "open"
    assert home.standing().regions.limit is LoadLimit.LOCKED_MANUAL


def test_the_number_of_the_newest_order_never_goes_back(home: DarkHome) -> None:
    image = home.image("old")
    home.use_up()
    counter = home.counter()
    home.old_disk(image)
    assert home.counter() < counter
    home.heal()
    assert home.counter() == counter
