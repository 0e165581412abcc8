"""A shared wallet where a home's way of paying, its box, its disk or our own store changes: its money is neither lost nor lent twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select, update

from gridtally_cloud.billing import receivables
from gridtally_cloud.customers.model import Mode
from gridtally_cloud.customers.tables import account
from gridtally_cloud.ingest.tables import lease_ask
from gridtally_cloud.person.links import find
from gridtally_cloud.person.obstacles import obstacles
from gridtally_cloud.prepay import handover, policies, replaced, shared_wallets
from gridtally_cloud.prepay.handover_tables import CLOUD, account_swap
from gridtally_cloud.prepay.instrument_tables import wallet_entry
from gridtally_cloud.prepay.managed import manage
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.store.tables import dcu
from gridtally_edge.prepay import leases
from gridtally_edge.prepay.events import InstrumentArrived
from gridtally_edge.prepay.rows import LeaseRow, one
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Instrument, InstrumentType
from gridtally_shared.contract.prepay_messages import Managed
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments.forms import detail_of
from gridtally_shared.ledger.entries import Kind, Pool
from gridtally_shared.money import nano
from gridtally_shared.signing import open_unverified
from support.linked_pair import LinkedPair, faults
from support.payday import HOUR_MS, OPENED_WH, SIGNER

T = InstrumentType


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[LinkedPair]:
    """The first home lives on a wallet of 500 and has its first lease."""
    pair = LinkedPair(tmp_path)
    with pair.db.write() as conn:
        shared_wallets.open_wallet(conn, "flats", "INR", pair.now_ms, "desk")
        shared_wallets.join(conn, 1, pair.account, pair.now_ms, "desk")
        shared_wallets.pay_in(conn, 1, nano("500"), "slip 1", pair.now_ms, "desk")
    pair.configure()
    pair.read(0, OPENED_WH)
    live(pair)
    assert reserved(pair) > 0
    yield pair
    pair.close()


def live(pair: LinkedPair) -> None:
    """A minute goes by on both sides, and what either has to say arrives."""
    pair.wait(60_000)
    pair.meet()
    turn(pair)
    pair.meet()
    turn(pair)


def turn(pair: LinkedPair) -> int:
    with pair.db.write() as conn:
        shared_wallets.take_returns(conn, pair.now_ms)
        return shared_wallets.grant_due(conn, SIGNER, pair.now_ms)


def use(pair: LinkedPair, wh: int) -> None:
    pair.wait(HOUR_MS)
    pair.read(0, (pair.state().register_wh or 0) + wh)


def use_all(pair: LinkedPair) -> None:
    before = leases_of(pair)
    while leases_of(pair) == before:
        use(pair, 1_000)
        live(pair)


def reserved(pair: LinkedPair) -> int:
    return pair.state().pools.get(Pool.RESERVED, 0)


def free(pair: LinkedPair) -> int:
    with pair.db.read() as conn:
        return shared_wallets.free_nano(conn, 1)


def leases_of(pair: LinkedPair) -> int:
    with pair.db.read() as conn:
        return len(conn.execute(select(instrument.c.gseq).where(instrument.c.type == int(T.LEASE))).all())


def convert(pair: LinkedPair, mode: Mode) -> None:
    with pair.db.write() as conn:
        handover.convert(conn, SIGNER, pair.account, mode, pair.now_ms, "desk")


def row(pair: LinkedPair) -> LeaseRow:
    found = one(pair.money, LeaseRow, pair.account, 1)
    assert found is not None
    return found


def test_who_goes_over_to_bills_gives_the_wallet_back_what_is_the_wallets(pair: LinkedPair) -> None:
    left = reserved(pair)
    before = free(pair)
    convert(pair, Mode.POSTPAID)
    pair.meet()
    use(pair, 0)
    pair.meet()
    turn(pair)
    assert pair.entries()[-1].kind == Kind.MODE
    assert (reserved(pair), free(pair)) == (0, before + left)
    with pair.db.read() as conn:
        assert receivables.outstanding_nano(conn, pair.account) == 0, "the wallet's money pays nobody's bill"
    assert faults(pair) == []
    live(pair)
    assert free(pair) + _used(pair) == nano("500"), "who is billed asks for nothing"


def test_what_was_the_consumers_own_is_on_his_bill_and_the_rest_in_the_wallet(pair: LinkedPair) -> None:
    with pair.db.write() as conn:
        conn.execute(delete(shared_wallets.wallet_member))
    pair.pay("100")
    with pair.db.write() as conn:
        shared_wallets.join(conn, 1, pair.account, pair.now_ms, "desk")
    pair.meet()
    convert(pair, Mode.POSTPAID)
    pair.meet()
    use(pair, 0)
    pair.meet()
    turn(pair)
    with pair.db.read() as conn:
        assert receivables.outstanding_nano(conn, pair.account) == -nano("100")
    assert free(pair) + _used(pair) == nano("500")


def test_a_lease_that_finds_its_home_on_bills_comes_back_and_prepayment_begins_with_a_new_one(pair: LinkedPair) -> None:
    while reserved(pair) * 100 > row(pair).chunk_nano * leases.ASK_AT_PERCENT:
        use(pair, 1_000)
    pair.wait(60_000)
    pair.greet()
    pair.sync()
    turn(pair)
    late = pair.instruments()[-1]
    with pair.db.write() as conn:
        handover.convert(conn, SIGNER, pair.account, Mode.POSTPAID, pair.now_ms, "desk")
    for envelope in (pair.instruments()[-1], late):
        pair.tell(InstrumentArrived(envelope))
    use(pair, 0)
    pair.meet()
    turn(pair)
    assert (reserved(pair), free(pair) + _used(pair)) == (0, nano("500"))
    convert(pair, Mode.PREPAID)
    pair.meet()
    use(pair, 0)
    live(pair)
    live(pair)
    assert reserved(pair) > 0


def test_a_lease_for_a_home_that_is_billed_is_refused(pair: LinkedPair) -> None:
    use_all(pair)
    with pair.db.write() as conn:
        conn.execute(insert(lease_ask).values(shard=0, account_no=pair.account, epoch=1, number=9, dcu="dcu-pay", remaining_nano=0,
                                              asked_ms=pair.now_ms, received_ms=pair.now_ms))  # fmt: skip
    convert(pair, Mode.POSTPAID)
    pair.meet()
    turn(pair)
    use(pair, 0)
    pair.meet()
    turn(pair)
    assert reserved(pair) == 0
    assert free(pair) + _used(pair) == nano("500")


def test_another_box_goes_on_with_the_lease_and_with_what_is_on_its_way(pair: LinkedPair) -> None:
    left = reserved(pair)
    with pair.db.write() as conn:
        shared_wallets.ask_back(conn, SIGNER, pair.account, pair.now_ms)
        conn.execute(insert(dcu).values(dcu="dcu-new", serial="N", state="enrolled", created_ms=pair.now_ms))
        replaced.replace_edge(conn, SIGNER, pair.account, "dcu-new", pair.now_ms, "desk")
    made = second_epoch(pair)
    assert [(m.type, m.amount_nano) for m in made[:2]] == [(T.OPENING, 0), (T.LEASE, left)]
    assert (detail_of(made[1]).wallet_no, detail_of(made[1]).number) == (1, 0), "it was lent before, to nobody's ask of now"
    assert T.LEASE_RETURN in [m.type for m in made], "what the desk asked back is asked back"


def test_what_the_mdm_runs_itself_has_no_lease(pair: LinkedPair) -> None:
    with pair.db.write() as conn:
        with pytest.raises(RefusedCommand, match="wallet"):
            manage(conn, SIGNER, pair.account, Managed.CLOUD, pair.now_ms, "desk")
        conn.execute(insert(account_swap).values(account_no=pair.homes[1].account_no, kind=CLOUD, swapped_ms=pair.now_ms, actor="desk"))
        with pytest.raises(RefusedCommand, match="concentrator"):
            shared_wallets.join(conn, 1, pair.homes[1].account_no, pair.now_ms, "desk")


def second_epoch(pair: LinkedPair) -> list[Instrument]:
    with pair.db.read() as conn:
        rows = conn.execute(select(instrument.c.envelope).where(instrument.c.epoch == 2).order_by(instrument.c.gseq)).scalars()
        return [decode(Instrument, open_unverified(bytes(envelope))[1]) for envelope in rows]


def test_an_old_disk_learns_what_it_was_granted_and_asks_on(pair: LinkedPair) -> None:
    image = pair.image("before")
    use_all(pair)
    use_all(pair)
    granted = row(pair).granted
    pair.roll_back(image)
    assert row(pair).granted < granted
    for _ in range(3):
        pair.greet()
        pair.sync()
        pair.wait(60_000)
    assert (row(pair).granted, row(pair).asked) == (granted, granted)
    use_all(pair)
    assert reserved(pair) > 0
    assert faults(pair) == []


def test_an_ask_that_was_lost_is_asked_anew_and_two_of_them_bring_one_lease(pair: LinkedPair) -> None:
    number = row(pair).asked
    while row(pair).asked == number:
        use(pair, 1_000)
        pair.wait(60_000)
    pair.meet()
    with pair.db.write() as conn:
        conn.execute(delete(lease_ask).where(lease_ask.c.settled_ms.is_(None)))
    before = leases_of(pair)
    live(pair)
    assert (row(pair).asked, leases_of(pair)) == (number + 1, before)
    for _ in range(7):
        pair.wait(HOUR_MS)
        pair.meet()
    assert row(pair).asked == number + 2
    with pair.db.write() as conn:
        conn.execute(insert(lease_ask).values(shard=0, account_no=pair.account, epoch=1, number=number + 1, dcu="dcu-pay",
                                              remaining_nano=0, asked_ms=1, received_ms=1))  # fmt: skip
    assert turn(pair) == 2
    assert leases_of(pair) == before + 1


def test_a_store_put_back_from_an_older_copy_books_the_lease_that_the_journal_shows(pair: LinkedPair) -> None:
    before = free(pair)
    (entry,) = [e for e in pair.entries() if e.kind == Kind.TRANSFER]
    with pair.db.write() as conn:
        conn.execute(delete(wallet_entry).where(wallet_entry.c.kind == "lease"))
        assert shared_wallets.free_nano(conn, 1) == nano("500")
        for _ in range(2):
            shared_wallets.mirrored(conn, entry)
        assert shared_wallets.free_nano(conn, 1) == before
        conn.execute(delete(wallet_entry))
        conn.execute(delete(shared_wallets.wallet_member))
        conn.execute(delete(shared_wallets.shared_wallet))
        shared_wallets.mirrored(conn, entry)


def test_no_lease_is_larger_than_what_the_account_may_hold(pair: LinkedPair) -> None:
    small = {"kind": "policy", "code": "small", "currency": "INR", "topup": {"max_balance": "0.50"}}
    with pair.db.write() as conn:
        policies.add_policy(conn, pair.now_ms - pair.now_ms % policies.BOUNDARY_MS, json.dumps(small), pair.now_ms, "desk")
        policies.follow(conn, pair.account, "small", pair.now_ms, "desk")
    pair.configure()
    use_all(pair)
    live(pair)
    with pair.db.read() as conn:
        made = conn.execute(select(instrument.c.amount_nano).where(instrument.c.type == int(T.LEASE)).order_by(instrument.c.gseq)).scalars()
        assert list(made)[-1] == nano("0.50")
    assert pair.entries()[-1].kind != Kind.CONTROL


def test_a_lease_pays_emergency_credit_back_first(pair: LinkedPair) -> None:
    care = {"kind": "policy", "code": "care", "currency": "INR", "emergency": {"limit": "20", "threshold": "5", "auto": True}}
    with pair.db.write() as conn:
        policies.add_policy(conn, pair.now_ms - pair.now_ms % policies.BOUNDARY_MS, json.dumps(care), pair.now_ms, "desk")
        policies.follow(conn, pair.account, "care", pair.now_ms, "desk")
        shared_wallets.pay_out(conn, 1, shared_wallets.free_nano(conn, 1), "all of it", pair.now_ms, "desk")
    pair.configure()
    while not pair.state().pools.get(Pool.EMERGENCY, 0):
        use(pair, 500)
    live(pair)
    with pair.db.write() as conn:
        shared_wallets.pay_in(conn, 1, nano("500"), "slip 2", pair.now_ms, "desk")
    live(pair)
    live(pair)
    assert pair.state().pools[Pool.EMERGENCY] == 0
    assert reserved(pair) > 0
    assert faults(pair) == []


def test_a_refused_lease_counts_as_answered(pair: LinkedPair) -> None:
    granted = row(pair)
    number = granted.asked
    small = {"kind": "policy", "code": "small", "currency": "INR", "topup": {"max_balance": "0.50"}}
    while row(pair).asked == number:
        use(pair, 1_000)
        pair.wait(60_000)
    pair.greet()
    pair.sync()
    turn(pair)
    with pair.db.write() as conn:
        policies.add_policy(conn, pair.now_ms - pair.now_ms % policies.BOUNDARY_MS, json.dumps(small), pair.now_ms, "desk")
        policies.follow(conn, pair.account, "small", pair.now_ms, "desk")
    pair.configure()
    pair.carry_down()
    assert (row(pair).granted, row(pair).asked) == (number + 1, number + 1)
    pair.meet()
    turn(pair)
    assert free(pair) + pair.state().balance_nano + _used(pair) == nano("500"), "what was refused is back"


def test_who_is_the_last_on_a_wallet_with_money_is_not_erased_before_it_is_paid_out(pair: LinkedPair) -> None:
    with pair.db.write() as conn:
        shared_wallets.pay_out(conn, 1, nano("1"), "slip 2", pair.now_ms, "desk")
        assert not shared_wallets.pay_out(conn, 1, nano("1"), "slip 2", pair.now_ms, "desk")
        with pytest.raises(RefusedCommand, match="lent to its accounts"):
            shared_wallets.pay_out(conn, 1, nano("499"), "slip 3", pair.now_ms, "desk")
        customer_no = conn.execute(select(account.c.customer_no).where(account.c.account_no == pair.account)).scalar_one()
        conn.execute(update(account).where(account.c.account_no != pair.account).values(customer_no=customer_no))
        assert any("wallet 1 holds" in text for text in obstacles(conn, find(conn, customer_no, hold=True)))
        conn.execute(delete(wallet_entry))
        assert not any("wallet" in text for text in obstacles(conn, find(conn, customer_no, hold=True)))
        shared_wallets._book(conn, 1, "lease", -nano("5"), "x", pair.now_ms)
        assert any("wallet 1 lacks" in text for text in obstacles(conn, find(conn, customer_no, hold=True)))


def _used(pair: LinkedPair) -> int:
    """What was charged so far."""
    return sum(pair.state().pools.get(pool, 0) for pool in (Pool.ENERGY, Pool.FIXED, Pool.TAX, Pool.SUBSIDY, Pool.FEE, Pool.DEMAND))
