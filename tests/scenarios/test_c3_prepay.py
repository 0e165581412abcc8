"""Seed 002 (prepayment) read aloud: the consumer, the bank, the representative, the MDM, the concentrator and the meter.

Both ends are real and share a clock wound by hand (support/town.py), so that every step has its moment. The step numbers in
the comments are those of the seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from gridtally_cloud.prepay.tables import instrument, payment
from gridtally_cloud.store import outbox
from gridtally_cloud.store.tables import journal_entry, outbox_down
from gridtally_edge.display.page import balance_page
from gridtally_edge.display.texts import Words
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.book import entries_of
from gridtally_edge.prepay.holds import zone_of
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import CommandType, Instrument
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.ledger.entries import Kind, LedgerEntry, entry_from
from gridtally_shared.ledger.evidence import SwitchEvidence, evidence_of
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.money import nano
from gridtally_shared.signing import verify1
from support.little_street import MINUTE_MS, QUARTER_MS
from support.town import SIGNER, Town, town
from support.web_words import plain

DISCONNECTED = EVENTS["supply_disconnected"].code


@pytest.fixture
def acacia(tmp_path: Path) -> Iterator[Town]:
    """One home with a switch, online, read once, with a credit for a morning."""
    with town(tmp_path, opening="5", low_balance_nano=nano("2")) as made:
        made.connect()
        made.next_quarter()
        yield made


def is_dark(t: Town, place: int = 0) -> bool:
    return t.house(place).switch() is SwitchState.OPEN


def journal(t: Town, place: int = 0) -> list[LedgerEntry]:
    """As the concentrator has it."""
    return entries_of(t.money, t.homes[place].account_no, 1)


def mirrored(t: Town, place: int = 0) -> list[tuple[LedgerEntry, int]]:
    """As the MDM has it, with the time each entry came."""
    j = journal_entry.c
    with t.db.read() as conn:
        rows = conn.execute(select(j.body, j.received_ms).where(j.account_no == t.homes[place].account_no).order_by(j.seq))
        return [(entry_from(bytes(r.body)), r.received_ms) for r in rows]


def count(t: Town, table: Any) -> int:
    with t.db.read() as conn:
        return int(conn.execute(select(func.count()).select_from(table)).scalar_one())


def page_of(t: Town, place: int = 0, language: str = "en") -> str:
    """The page on the spot."""
    view = t.display(place)
    return balance_page(Words(language, view.config.currency, zone_of(view.config.zone)), view).replace("\xa0", " ")


# ---- scenario 1: prepay for the own home --------------------------------------------------------------------------


@pytest.mark.covers("C3-S1.5")
def test_only_verified_funds_are_applied_and_only_once(acacia: Town) -> None:
    before = (count(acacia, payment), count(acacia, instrument))
    order = acacia.order_recharge(0, "100")

    # unverified: a signature that is nobody's, however often, and a declined card
    for _ in range(3):
        with pytest.raises(RefusedCommand, match="signature"):
            acacia.bank_answers(order, signature="0" * 64)
    declined = acacia.order_recharge(0, "100")
    acacia.bank_answers(declined, "card-declined", times=3)
    acacia.exchange()
    assert (count(acacia, payment), count(acacia, instrument)) == before
    assert [e.kind for e in journal(acacia)].count(Kind.CREDIT) == 1

    # verified: ten times the same word of the gateway, before and after the credit has arrived
    acacia.bank_answers(order, times=5)
    acacia.exchange()
    acacia.bank_answers(order, times=5)
    acacia.exchange()
    assert (count(acacia, payment), count(acacia, instrument)) == (before[0] + 1, before[1] + 1)
    assert [e.kind for e in journal(acacia)].count(Kind.CREDIT) == 2
    assert acacia.site(0).balance_nano == sum(p.amount_nano for e in journal(acacia) for p in e.postings if p.pool == 1)


@pytest.mark.covers("C3-S1.7", "C3-S1.8", "C3-S1.9", "C3-S1.11", "C3-S1-post")
def test_a_payment_brings_the_supply_back_and_everybody_knows(acacia: Town) -> None:
    """Pre: the account is used up, the home is dark. Post: service active; meter face, site and display say the same."""
    acacia.live(lambda: is_dark(acacia))
    acacia.wait(4 * MINUTE_MS)
    polls = len(acacia.street.asked)

    # 4-5 the customer pays at the portal, the bank says yes
    order = acacia.order_recharge(0, "250")
    acacia.bank_answers(order, "netbanking")
    paid_ms = acacia.now_ms
    acacia.wait(3_000)
    account_no = acacia.homes[0].account_no

    # 7 the head end logs the message and sends it on; 8 the meter side logs it
    ref = outbox.instrument_ref(account_no, 1, 2)
    with acacia.db.read() as conn:
        o = outbox_down.c
        sent = conn.execute(select(o.created_ms, o.last_sent_ms).where(o.channel == "instrument", o.ref == ref)).one()
    assert (sent.created_ms, sent.last_sent_ms) == (paid_ms, paid_ms + 3_000)
    logged = acacia.money.execute("SELECT state, at_ms FROM instrument WHERE account_no = ? AND gseq = 2", (account_no,)).fetchone()
    assert tuple(logged) == ("applied", paid_ms + 3_000)

    # 8 journal entry, relay closed
    credit = next(e for e in journal(acacia) if e.kind == Kind.CREDIT and e.gseq == 2)
    assert sum(p.amount_nano for p in credit.postings if p.pool == 1) == nano("250")
    assert not is_dark(acacia)
    switched = evidence_of(next(e for e in reversed(journal(acacia)) if e.kind == Kind.SWITCH))
    assert isinstance(switched, SwitchEvidence)
    assert (switched.close, switched.result) == (True, "done")

    # 8-9 the receipt: which message, which meter, when it was done; at once, not with the next poll
    receipt, received_ms = next((e, at) for e, at in mirrored(acacia) if e.kind == Kind.CREDIT and e.gseq == 2)
    with acacia.db.read() as conn:
        envelope = conn.execute(select(instrument.c.envelope).where(instrument.c.gseq == 2)).scalar_one()
    issued = decode(Instrument, verify1({SIGNER.key_id: SIGNER.public}, "instrument", envelope))
    assert (receipt.gseq, receipt.cause) == (2, issued.payment_ref)
    assert receipt.meter_no == acacia.homes[0].meter_no
    assert receipt.at_ms == paid_ms + 3_000
    assert received_ms - paid_ms < QUARTER_MS
    assert len(acacia.street.asked) == polls, "the receipt waited for a poll"

    # 11 the site shows the confirmation, with journal sequence and time
    seen = plain(acacia.person("asha").get(f"/account/{account_no}/orders/{order.order_id}"))
    at = Words("en", "INR", zone_of("Asia/Kolkata")).moment(receipt.at_ms).split(" ")[1]
    applied = seen.partition("Added to your balance at the meter")[2]
    assert f"journal entry {receipt.seq} " in applied
    assert at in applied.partition("journal entry")[0]

    # post: the meter's own face, the site and the display on the spot
    shown = acacia.house(0).shown_balance()
    assert shown is not None
    assert shown[1] == acacia.site(0).as_of_ms == acacia.display(0).as_of_ms
    assert nano(str(shown[0])) // 100 <= acacia.site(0).balance_nano
    assert acacia.site(0).balance_nano == acacia.display(0).balance_nano
    assert "Supply: <strong>On</strong>" in page_of(acacia)
