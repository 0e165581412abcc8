"""Seed 002 (prepayment) read aloud: the consumer, the bank, the representative, the MDM, the concentrator and the meter.

Both ends are real and share a clock wound by hand (support/town.py), so that every step has its moment. The step numbers in
the comments are those of the seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from gridtally_cloud.commands import states
from gridtally_cloud.prepay.tables import instrument, payment
from gridtally_cloud.store import outbox
from gridtally_cloud.store.tables import outbox_down
from gridtally_edge.display.texts import Words
from gridtally_edge.prepay.holds import zone_of
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import CommandType, EntryKind, Instrument
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.ledger.entries import Kind, Pool
from gridtally_shared.ledger.evidence import SwitchEvidence, evidence_of
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.money import NANO, nano
from gridtally_shared.prepay.cut_tests import CUT_TESTS
from gridtally_shared.signing import verify1
from support.chain import SIGNER
from support.cut_cases import BLOCKING, NEVER_ALONE, UNDER_A_POLICY, blocked_by, decided
from support.little_street import MINUTE_MS, QUARTER_MS
from support.town import Town, town
from support.web_words import plain

DISCONNECTED = EVENTS["supply_disconnected"].code


@pytest.fixture
def acacia(tmp_path: Path) -> Iterator[Town]:
    """One home with a switch, online, read once, with a credit for a morning."""
    with town(tmp_path, opening="5") as made:
        made.connect()
        made.next_quarter()
        yield made


# ---- scenario 1: prepay for the own home --------------------------------------------------------------------------


@pytest.mark.covers("C3-S1.5")
def test_only_verified_funds_are_applied_and_only_once(acacia: Town) -> None:
    before = (acacia.count(payment), acacia.count(instrument))
    order = acacia.order_recharge("100")

    # unverified: a signature that is nobody's, however often, and a declined card
    for _ in range(3):
        with pytest.raises(RefusedCommand, match="signature"):
            acacia.bank_answers(order, signature="0" * 64)
    declined = acacia.order_recharge("100")
    acacia.bank_answers(declined, "card-declined", times=3)
    acacia.carry()
    assert (acacia.count(payment), acacia.count(instrument)) == before
    assert [e.kind for e in acacia.journal()].count(Kind.CREDIT) == 1

    # verified: ten times the same word of the gateway, before and after the credit has arrived
    acacia.bank_answers(order, times=5)
    acacia.carry()
    acacia.bank_answers(order, times=5)
    acacia.carry()
    assert (acacia.count(payment), acacia.count(instrument)) == (before[0] + 1, before[1] + 1)
    assert [e.kind for e in acacia.journal()].count(Kind.CREDIT) == 2
    assert acacia.site().balance_nano == sum(p.amount_nano for e in acacia.journal() for p in e.postings if p.pool == Pool.PAID)


@pytest.mark.covers("C3-S1.7", "C3-S1.8", "C3-S1.9", "C3-S1.11", "C3-S1-post")
def test_a_payment_brings_the_supply_back_and_everybody_knows(acacia: Town) -> None:
    """Pre: the account is used up, the home is dark. Post: service active; meter face, site and display say the same."""
    acacia.live(lambda: acacia.is_dark())
    acacia.wait(4 * MINUTE_MS)
    polls = len(acacia.street.asked)

    # 4-5 the customer pays at the portal, the bank says yes
    order = acacia.order_recharge("250")
    acacia.bank_answers(order, "netbanking")
    paid_ms = acacia.now_ms
    acacia.wait(3_000)
    account_no = acacia.account_no()

    # 7 the head end logs the message and sends it on; 8 the meter side logs it
    ref = outbox.instrument_ref(account_no, 1, 2)
    with acacia.db.read() as conn:
        o = outbox_down.c
        sent = conn.execute(select(o.created_ms, o.last_sent_ms).where(o.channel == "instrument", o.ref == ref)).one()
    assert (sent.created_ms, sent.last_sent_ms) == (paid_ms, paid_ms + 3_000)
    logged = acacia.money.execute("SELECT state, at_ms FROM instrument WHERE account_no = ? AND gseq = 2", (account_no,)).fetchone()
    assert tuple(logged) == ("applied", paid_ms + 3_000)

    # 8 journal entry, relay closed
    credit = next(e for e in acacia.journal() if e.kind == Kind.CREDIT and e.gseq == 2)
    assert sum(p.amount_nano for p in credit.postings if p.pool == Pool.PAID) == nano("250")
    assert not acacia.is_dark()
    switched = evidence_of(next(e for e in reversed(acacia.journal()) if e.kind == Kind.SWITCH))
    assert isinstance(switched, SwitchEvidence)
    assert (switched.close, switched.result) == (True, "done")

    # 8-9 the receipt: which message, which meter, when it was done; at once, not with the next poll
    receipt, received_ms = next((e, at) for e, at in acacia.mirrored() if e.kind == Kind.CREDIT and e.gseq == 2)
    with acacia.db.read() as conn:
        envelope = conn.execute(select(instrument.c.envelope).where(instrument.c.gseq == 2)).scalar_one()
    issued = decode(Instrument, verify1({SIGNER.key_id: SIGNER.public}, "instrument", envelope))
    assert (receipt.gseq, receipt.cause) == (2, issued.payment_ref)
    assert receipt.meter_no == acacia.meter_no()
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
    shown = acacia.house().shown_balance()
    assert shown is not None
    assert shown[1] == acacia.site().as_of_ms == acacia.display().as_of_ms
    assert shown[0] == acacia.site().balance_nano * 100 // NANO
    assert acacia.site().balance_nano == acacia.display().balance_nano
    assert "Supply: <strong>On</strong>" in acacia.display_page()


# ---- scenario 1, alternate A1: the customer pays before the money is gone --------------------------------------------


@pytest.mark.covers("C3-A1.5", "C3-A1.7")
@pytest.mark.covers_part("C3-A1.6")
def test_a_customer_who_pays_in_time_never_sits_in_the_dark(acacia: Town) -> None:
    """Pre: the balance nears its threshold. Post: service went on all the time."""
    low = EVENTS["low_balance"].code

    # A1.5 the site shows the same as the display at the cadence of the intervals, above and below the threshold
    def is_low() -> bool:
        display, site = acacia.display(), acacia.site()
        assert 0 <= display.as_of_ms - site.as_of_ms < QUARTER_MS
        assert acacia.now_ms - site.as_of_ms < 2 * QUARTER_MS
        assert site.balance_nano == display.balance_nano
        return bool(site.is_low)

    acacia.live(is_low)
    acacia.next_quarter()
    assert is_low()
    assert [e.code for e in acacia.said_up(EntryKind.EVENT)].count(low) == 1
    assert 0 < acacia.site().balance_nano <= nano("2")

    # A1.6-7 he pays again; life goes on, past the next threshold, and the meter's own log knows of no interruption
    acacia.pay("100")
    for _ in range(12):
        acacia.next_quarter()
        assert not is_low()
    assert not acacia.is_dark()
    assert DISCONNECTED not in {e.code for e in acacia.house().events()}
    assert Kind.SWITCH not in {e.kind for e in acacia.journal()}


# ---- alternate A2: the customer does not pay ---------------------------------------------------------------------------


@pytest.mark.covers("C3-A2.3", "C3-FR11")
def test_messages_to_the_meter_are_shown_logged_and_answered(acacia: Town) -> None:
    """Informational ones are displayed, functional ones carried out; each has its receipt and is in both logs."""
    texts = ("Low balance: pay at any desk.", "Planned work on Sunday, 9 to 11.", "Gracias por su pago.")
    told = [acacia.command(CommandType.MESSAGE, text=text) for text in texts]
    opened = acacia.command(CommandType.SWITCH_OPEN, cause="safety")
    acacia.carry()

    # informational: on the display, one receipt for each message
    for cmd_id, text in zip(told, texts, strict=True):
        assert text in acacia.display_page()
        assert [CommandState(r.state) for r in acacia.receipts(cmd_id)] == [CommandState.DISPLAYED]
        assert acacia.commanded(cmd_id).state is CommandState.DISPLAYED

    # functional: the meter did it and said so
    assert acacia.is_dark()
    assert [CommandState(r.state) for r in acacia.receipts(opened)] == [CommandState.EXECUTING, CommandState.DONE]
    assert acacia.commanded(opened).state is CommandState.DONE

    # both kinds are logged at the head end and at the meter side
    for cmd_id in (*told, opened):
        with acacia.db.read() as conn:
            assert [s.state for s in states.steps(conn, cmd_id)][:2] == [CommandState.ACCEPTED, CommandState.QUEUED]
        row = acacia.money.execute("SELECT meter_no, at_ms FROM command WHERE cmd_id = ?", (cmd_id,)).fetchone()
        assert tuple(row) == (acacia.meter_no(), acacia.now_ms)


@pytest.mark.covers("C3-A2.8b")
def test_the_relay_opens_only_when_every_cut_test_holds(tmp_path: Path) -> None:
    """Zero is reached within protected hours: the supply stays, and is cut when they end; the reasons are on record."""
    # each test blocks alone, and there is no test without such a case; without the rest nothing is due at all
    assert {name for name, *_ in (*BLOCKING, *UNDER_A_POLICY)} | NEVER_ALONE == {name for name, _ in CUT_TESTS}
    for name, view, account in BLOCKING:
        assert blocked_by(decided(view, account)) == (name,)
    for name, view, account, policy in UNDER_A_POLICY:
        assert blocked_by(decided(view, account, policy)) == (name,)
    due = decided({}, {})
    assert due is not None
    assert (due.verdict, blocked_by(due)) == ("cut", ())

    with town(tmp_path, opening="5") as acacia:
        acacia.policy(protected_hours=("18:00-09:00",))
        acacia.connect()
        acacia.live(lambda: acacia.display().balance_nano <= 0)
        assert not acacia.is_dark()
        held = acacia.decisions()[-1]
        assert held.verdict == "held"
        assert [t.name for t in held.tests if not t.holds] == ["protected_hours"]

        acacia.live(lambda: acacia.is_dark())
        assert datetime.fromtimestamp(acacia.now_ms / 1000, ZoneInfo("Asia/Kolkata")).hour == 9
        cut = acacia.decisions()[-1]
        assert cut.verdict == "cut"
        assert [t.name for t in cut.tests] == [name for name, _ in CUT_TESTS]
        assert all(t.holds for t in cut.tests)

        # the evidence was written before the order, and is in the MDM too
        kinds = [e.kind for e in acacia.journal()]
        assert kinds.index(Kind.SWITCH) > len(kinds) - 1 - kinds[::-1].index(Kind.DECISION)
        assert [e for e, _ in acacia.mirrored()] == acacia.journal()


@pytest.mark.covers("C3-IE5")
@pytest.mark.parametrize("at_zero", ["disconnect", "none"])
def test_the_display_says_when_the_account_has_reached_zero(tmp_path: Path, at_zero: str) -> None:
    """Also without a network, and whether or not a cut follows."""
    with town(tmp_path, opening="5") as acacia:
        acacia.policy(zero_action=at_zero)
        acacia.connect()
        acacia.cut()

        acacia.live(lambda: acacia.display().balance_nano <= 0)
        told = [m for m in acacia.display().messages if m.code == "ZERO"]
        assert [m.at_ms for m in told] == [at_zero_ms(acacia)]
        assert "Your account has reached zero." in acacia.display_page()
        assert "Su cuenta ha llegado a cero." in acacia.display_page(language="es")
        assert acacia.is_dark() is (at_zero == "disconnect")
        assert not acacia.connected


def at_zero_ms(t: Town) -> int:
    """When the journal's balance first was at or below zero after it had been above."""
    balance, was_above = 0, False
    for entry in t.journal():
        balance += sum(p.amount_nano for p in entry.postings if p.pool == Pool.PAID)
        was_above = was_above or balance > 0
        if was_above and balance <= 0:
            return entry.at_ms
    raise AssertionError("it never was")


# ---- alternate A3: paid, and still no power -----------------------------------------------------------------------------


@pytest.mark.covers("C3-A3.3", "C3-A3.6", "C3-A3.9")
@pytest.mark.covers_part("C3-A3.4", "C3-FR4")
def test_a_customer_without_power_is_helped_from_one_page(acacia: Town) -> None:
    """Pre: cut for want of money; the customer has paid, but the contactor sticks. Post: the supply is on."""
    acacia.live(lambda: acacia.is_dark())
    acacia.house().jam(True)
    acacia.pay("250", "wallet")
    earlier = acacia.command(CommandType.SWITCH_CLOSE)
    acacia.carry()
    acacia.next_quarter(3)
    assert acacia.is_dark()

    # A3.3 one page: payment, credit, command, receipt, and why it is off
    credit = next(e for e, _ in acacia.mirrored() if e.kind == Kind.CREDIT and e.gseq == 2)
    page = plain(acacia.person("dora").get(f"/desk/accounts/{acacia.account_no()}"))
    payment_row = page.partition("Payments")[2]
    assert "₹ 250.00" in payment_row
    assert f"credit no. {credit.gseq}" in payment_row
    assert f"journal entry {credit.seq} " in payment_row
    commands_row = page.partition("Commands")[2].partition("Messages")[0]
    assert "Reconnect" in commands_row
    assert "Failed" in commands_row
    assert "The switch did not follow" in commands_row
    assert "because the balance was used up" in page
    assert acacia.commanded(earlier).reason == Reason.SWITCH_STUCK

    # A3.4-6 a test on demand: asked, answered, and logged at both ends
    test = [acacia.command(CommandType.READ_INSTANT), acacia.command(CommandType.READ_SWITCH)]
    acacia.carry()
    for cmd_id in test:
        row = acacia.money.execute("SELECT state, result FROM command WHERE cmd_id = ?", (cmd_id,)).fetchone()
        assert CommandState(row[0]) is CommandState.DONE
        assert bytes(row[1])
        assert (acacia.commanded(cmd_id).state, acacia.commanded(cmd_id).result) == (CommandState.DONE, bytes(row[1]))

    # A3.9 the contactor is freed; the representative orders the account's supply on
    acacia.house().jam(False)
    acacia.wait(2 * 3_600_000)
    activated = acacia.command(CommandType.SWITCH_CLOSE)
    acacia.carry()
    receipt = acacia.receipts(activated)[-1]
    assert (CommandState(receipt.state), receipt.meter_no) == (CommandState.DONE, acacia.meter_no())
    assert acacia.commanded(activated).state is CommandState.DONE
    assert not acacia.is_dark()
