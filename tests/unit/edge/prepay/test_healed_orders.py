"""A disk is put back to an older image: the holds, protections and limits that were ordered since stand again, by what the journal says.

Nobody is switched on while somebody works at the line, and nobody who is protected is cut, because a box forgot it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gridtally_cloud.prepay import control, held
from gridtally_cloud.prepay.control import Order
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.site import Person, SiteOrder, packed, proof_of, verifier_of
from gridtally_shared.instruments import details as d
from support.dark_home import BELOW_W, DarkHome, dark_home
from support.payday import DCU, HOUR_MS, SIGNER

NAME, SALT = "R. Kumar 4711", b"s" * 16
PROOF = proof_of("314159", SALT)
ids = itertools.count(1)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[DarkHome]:
    with dark_home(tmp_path) as home:
        home.edge.handle(p.PersonNamed(b"p" * 16, packed(Person(NAME, SALT, verifier_of(PROOF)))), home.now_ms)
        yield home


def on_site(home: DarkHome, order: SiteOrder) -> str:
    effects = home.edge.handle(p.HoldAsked(next(ids).to_bytes(16, "big"), home.account, packed(order)), home.now_ms)
    home.ordered += [e for e in effects if isinstance(e, p.RunSwitch)]
    (answer,) = (e for e in effects if isinstance(e, p.SiteAnswered))
    return answer.result


def work(home: DarkHome, on: bool = True) -> str:
    return on_site(home, SiteOrder(NAME, PROOF, "work", on=on))


def order(home: DarkHome, detail: Order) -> None:
    with home.db.write() as conn:
        control.order(conn, SIGNER, home.account, detail, home.now_ms, "asha")
    home.carry_down()


def configure(home: DarkHome, *holds: str) -> None:
    config = home.config_of(DCU)
    home.told += 100
    accounts = tuple(replace(a, holds=holds) for a in config.accounts)
    home.tell(p.ConfigAccepted(replace(config, version=home.told, accounts=accounts)))


def holds(home: DarkHome) -> tuple[str, ...]:
    return home.edge._plan.accounts[home.account].holds


def told(home: DarkHome) -> tuple[str, ...]:
    """What the MDM knows to keep the supply off."""
    with home.db.read() as conn:
        return held.held_of(conn, home.account, 1, ())


def hours(home: DarkHome, count: int) -> None:
    for _ in range(count):
        home.now_ms += HOUR_MS
        home.wh += 900
        home.minutes(1, BELOW_W)


def test_a_supply_at_which_somebody_works_is_not_closed_by_a_payment(home: DarkHome) -> None:
    assert home.use_up() == "open"
    image = home.image("old")
    assert work(home) == "set"
    home.old_disk(image)
    home.heal()
    assert holds(home) == ("work",)
    home.pay("500")
    home.carry_down()
    home.minutes(10, 0)
    assert home.ordered == []
    assert work(home, on=False) == "lifted"
    assert home.act() == "close"


def test_a_hold_that_was_lifted_on_site_stays_lifted(home: DarkHome) -> None:
    assert home.use_up() == "open"
    work(home)
    image = home.image("old")
    work(home, on=False)
    home.old_disk(image)
    assert holds(home) == ("work",), "the old disk knows only that it was set"
    home.heal()
    assert holds(home) == ()
    home.pay("500")
    home.carry_down()
    assert home.act() == "close"


def test_who_lifts_a_hold_the_old_disk_does_not_know_has_lifted_it(home: DarkHome) -> None:
    image = home.image("old")
    work(home)
    home.old_disk(image)
    assert work(home, on=False) == "not_held"
    home.heal()
    home.sync()
    assert (holds(home), told(home)) == ((), ())


def test_one_that_was_set_before_the_journal_was_healed_stands_and_the_mdm_hears_of_it(home: DarkHome) -> None:
    image = home.image("old")
    home.pay("100")
    home.carry_down()
    home.old_disk(image)
    work(home)
    home.heal()
    assert holds(home) == ("work",)
    home.sync()
    assert told(home) == ("work",)
    assert home.problems() == []


def test_a_close_waits_for_what_only_the_mirror_knows(home: DarkHome) -> None:
    """The payment is here before the journal is read again; the hold is in the journal."""
    assert home.use_up() == "open"
    image = home.image("old")
    work(home)
    home.old_disk(image)
    home.greet()
    assert home.row.ledger_fault
    home.pay("500")
    home.carry_down()
    home.minutes(3, 0)
    assert home.ordered == []
    home.sync()
    assert home.row.ledger_fault == ""
    home.minutes(3, 0)
    assert (home.ordered, holds(home)) == ([], ("work",))


def test_a_close_waits_for_the_first_word_after_a_start(home: DarkHome) -> None:
    """The link is there before it is known what the mirror holds: minutes are nothing to who waits for supply, and much to who works."""
    assert home.use_up() == "open"
    image = home.image("old")
    work(home)
    home.old_disk(image)
    home.tell(p.LinkChanged(True))
    home.pay("500")
    home.carry_down()
    assert home.ordered == []
    home.greet()
    home.sync()
    home.minutes(3, 0)
    assert (home.ordered, holds(home)) == ([], ("work",))


def test_a_cloud_that_says_nothing_keeps_nobody_dark(home: DarkHome) -> None:
    assert home.use_up() == "open"
    home.old_disk(home.image("now"))
    home.tell(p.LinkChanged(True))
    home.pay("500")
    home.carry_down()
    home.minutes(3, 0)
    assert home.act() == "close"


def test_but_not_for_ever(home: DarkHome) -> None:
    assert home.use_up() == "open"
    image = home.image("old")
    order(home, d.HoldOrder("customer"))
    order(home, d.HoldOrder("customer", on=False))
    home.old_disk(image)
    home.greet()
    home.pay("500")
    home.carry_down()
    home.minutes(3, 0)
    assert home.ordered == []
    home.minutes(12, 0)
    assert home.row.ledger_fault
    assert home.act() == "close"


def test_who_is_protected_stays_so(home: DarkHome) -> None:
    image = home.image("old")
    order(home, d.ProtectOrder("medical"))
    home.old_disk(image)
    home.heal()
    assert holds(home) == ("medical",)
    hours(home, 60)
    assert home.row.balance_nano < 0
    assert home.ordered == []


def test_the_end_of_a_protection_is_kept(home: DarkHome) -> None:
    image = home.image("old")
    order(home, d.ProtectOrder("medical", until_ms=home.now_ms + 50 * HOUR_MS))
    home.old_disk(image)
    home.heal()
    hours(home, 45)
    assert home.ordered == []
    hours(home, 10)
    assert home.act() == "open"


def test_a_limit_that_was_lifted_on_site_trips_nobody(home: DarkHome) -> None:
    home.limit()
    image = home.image("old")
    assert on_site(home, SiteOrder(NAME, PROOF, "work", limit_w=0)) == "limited"
    home.old_disk(image)
    home.heal()
    home.minutes(10, 3_000)
    assert home.ordered == []


@pytest.mark.parametrize("when", ["old disk", "in use"])
def test_a_hold_that_a_configuration_drops_stands_until_somebody_lifts_it_there(home: DarkHome, when: str) -> None:
    """The MDM hears that it does."""
    image = home.image("old")
    configure(home, "work")
    configure(home)
    assert holds(home) == ("work",)
    if when == "old disk":
        home.old_disk(image)
        home.heal()
    else:
        home.sync()
    assert (holds(home), told(home)) == (("work",), ("work",))
    assert work(home, on=False) == "lifted"
    home.sync()
    assert (holds(home), told(home)) == ((), ())
