"""ETSI TR 102 691 5.2.5, the prepay meter, and seed 002's two options at zero that need the cloud: both ends real, time wound by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from gridtally_cloud.billing import receivables
from gridtally_cloud.commands import service as commands
from gridtally_cloud.customers import tariffs
from gridtally_cloud.customers.model import Mode
from gridtally_cloud.customers.seed import DEMO_TARIFF
from gridtally_cloud.customers.tables import tariff_version
from gridtally_cloud.prepay import handover, migration, migration_rows, policies, service, zero_billing
from gridtally_cloud.prepay.replenish import replenish
from gridtally_cloud.prepay.replenish_rules import Wish, agree, keep_method
from gridtally_edge.core_events import Asked
from gridtally_edge.counter import Ask
from gridtally_edge.display.texts import Words
from gridtally_edge.display.topic_document import document_of
from gridtally_edge.prepay.holds import zone_of
from gridtally_edge.simulators.house_checks import HouseFault
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.errors import ConfigError
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.ledger.entries import Kind, Pool
from gridtally_shared.ledger.evidence import MessageEvidence, evidence_of
from gridtally_shared.lifecycle import TERMINAL, CommandState, Reason
from gridtally_shared.messages.order import MessageOrder, order_bytes
from gridtally_shared.messages.words import whole_span
from gridtally_shared.meter_settings import Payment, PaymentMode, packed
from gridtally_shared.money import nano
from support.chain import GATEWAY, SIGNER
from support.little_street import MINUTE_MS, QUARTER_MS
from support.town import Town, town
from support.web_person import Person
from support.web_words import plain

S = CommandState
HOUR_MS = 3_600_000
DISCONNECTED = EVENTS["supply_disconnected"].code


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Town]:
    with town(tmp_path, opening="5") as made:
        made.connect()
        made.next_quarter()
        yield made


def follow(t: Town, **rules: Any) -> None:
    text = json.dumps({"kind": "policy", "code": "home", "currency": "INR", "offline": {"cut": "allowed"}, **rules})
    with t.db.write() as conn:
        policies.add_policy(conn, t.now_ms // QUARTER_MS * QUARTER_MS, text, t.now_ms, "test")
        policies.follow(conn, t.account_no(), "home", t.now_ms, "test")
    t.carry()


def press(t: Town, kind: str, text: str = "") -> None:
    """A button of the consumer's own page."""
    t.street.handle(Asked(b"a page's request", Ask(kind, t.account_no(), text)))
    t.carry()


def events(t: Town, name: str) -> list[dict[str, Any]]:
    return [e for e in t.items(f"/accounts/{t.account_no()}/events") if e["name"] == name]


def number_of(t: Town, cmd_id: bytes) -> int:
    return int(t.money.execute("SELECT message_no FROM message WHERE cmd_id = ?", (cmd_id,)).fetchone()[0])


def notice(t: Town, cmd_id: bytes) -> tuple[S, str] | None:
    """What the sender was told of the end."""
    with t.db.read() as conn:
        return next(((n.state, n.reason) for n in commands.notices(conn, "staff:dora") if n.cmd_id == cmd_id), None)


@pytest.mark.covers("ETSI-5.2.5-basic-6", "ETSI-5.2.5-alt4", "ETSI-5.2.5-alt5", "ETSI-5.2.5-post")
def test_a_message_is_read_or_its_time_passes_and_its_sender_knows(home: Town) -> None:
    """Three messages that want an answer: one is read and answered, one only read, one never seen. All end, and all are told."""
    asks, end_ms = order_bytes(MessageOrder("advice", asks=True)), home.now_ms + HOUR_MS
    sent = [home.command(m.CommandType.MESSAGE, text=f"Top up? {n}", detail=asks, expires_ms=end_ms) for n in range(3)]
    home.carry()
    answered, only_read, unseen = sent
    for cmd_id in (answered, only_read):
        press(home, "messages", f"{number_of(home, cmd_id)}.read")
        assert home.commanded(cmd_id).state is S.READ  # basic-6: the read receipt
        assert home.receipts(cmd_id)[-1].at_ms == home.now_ms
    press(home, "messages", f"{number_of(home, answered)}.accepted")
    assert home.commanded(answered).state is S.DONE

    home.wait(HOUR_MS + 2 * MINUTE_MS)  # the period is over
    for cmd_id in (unseen, only_read):  # alt4: not read; alt5: read, and nobody acted
        said = [e for e in events(home, "message_state") if f"message={number_of(home, cmd_id)} " in e["detail"]]
        assert "state=expired" in said[0]["detail"]
        assert home.commanded(cmd_id).state is S.EXPIRED  # the request is invalid
        assert notice(home, cmd_id) == (S.EXPIRED, Reason.UNANSWERED)
        assert f"Top up? {sent.index(cmd_id)}" not in home.display_page()
        press(home, "messages", f"{number_of(home, cmd_id)}.accepted")
        assert home.commanded(cmd_id).state is S.EXPIRED  # an answer after its time is none
    assert notice(home, answered) == (S.DONE, "")
    assert {home.commanded(cmd_id).state for cmd_id in sent} <= TERMINAL  # post


@pytest.mark.covers("ETSI-5.2.5-basic-8b", "ETSI-5.2.5-basic-9")
def test_emergency_credit_is_released_once_until_it_is_repaid(home: Town) -> None:
    """By the button of the page: the debt is shown, each action is told, and it is there again only after it was paid back."""
    follow(home, zero_action="disconnect", low={"money": ["2"]}, emergency={"limit": "3", "threshold": "2"})
    home.live(lambda: home.display().now.emergency.state == "offered")
    assert f"Emergency credit: {money(nano('3'))} is ready for you" in plain(home.person("asha").get(f"/account/{home.account_no()}/"))
    press(home, "emergency")
    assert home.display().now.emergency.state == "in_use"
    home.live(lambda: home.display().now.emergency.used_nano > 0)
    used = home.display().now.emergency.used_nano
    assert not home.is_dark()
    words = Words("en", "INR", zone_of("Asia/Kolkata"))
    said = words.label("emergency_in_use", b=words.money(nano("3") - used), u=words.money(used))
    assert said.replace("\xa0", " ") in home.display_page()  # the debt, in figures
    home.live(home.is_dark)
    press(home, "emergency")
    assert home.is_dark()  # once
    assert home.display().now.emergency.used_nano >= nano("3") > used > 0
    home.pay("100")
    assert home.display().now.emergency.used_nano == 0
    assert home.display().now.emergency.state == "ready"  # repaid: there again
    codes = [e.code for e in told(home)]
    assert codes.count("CREDIT") == 2  # each payment ...
    assert codes.count("EC_ON") == 1  # ... and each action was confirmed, with its time
    assert {"CUT", "ON"} <= set(codes)


def money(amount_nano: int) -> str:
    return Words("en", "INR", zone_of("Asia/Kolkata")).money(amount_nano).replace("\xa0", " ")


def told(t: Town) -> list[MessageEvidence]:
    """What the entities know of each action, from the mirror."""
    found = (evidence_of(e) for e, _ in t.mirrored() if e.kind == Kind.NOTICE)
    return [e for e in found if isinstance(e, MessageEvidence)]


@pytest.mark.covers("ETSI-5.2.5-basic-5")
def test_balance_rate_days_left_and_emergency_credit_are_displayed(home: Town) -> None:
    """On the display's own document and on the portal, with the same figures."""
    follow(home, zero_action="disconnect", low={"money": ["2"]}, emergency={"limit": "3", "threshold": "2"})
    home.pay("100")
    home.next_quarter(18)
    shown, view = json.loads(document_of(home.display())), home.display()
    portal = plain(home.person("asha").get(f"/account/{home.account_no()}/"))
    assert nano(shown["balance"]) == view.balance_nano
    assert money(view.balance_nano) in portal
    assert shown["price_per_kwh"] == "7.35"
    assert f"{money(nano('7.35'))} per kWh" in portal
    left = shown["time_left"]
    assert (left["is_estimate"], left["days"] > 0) == (True, True)
    assert whole_span(view.time_left_ms or 0) == f"{left['days']} d {left['hours']} h {left['minutes']} min"
    assert f"Enough for about {whole_span(view.time_left_ms or 0)}" in portal
    assert (shown["emergency_credit"]["state"], nano(shown["emergency_credit"]["left"])) == ("ready", nano("3"))
    assert f"Emergency credit: {money(nano('3'))} can be taken when your balance is low" in portal


@pytest.mark.covers("ETSI-5.2.5-basic-10")
def test_its_status_comes_at_set_times_and_on_request(home: Town) -> None:
    moments = []
    for _ in range(3):
        home.next_quarter()
        moments.append((home.get("/meters/1")["register_at"], home.get(f"/accounts/{home.account_no()}/balance")["as_of"]))
    assert len(set(moments)) == 3  # at set times: every recording interval
    home.wait(3 * MINUTE_MS)
    cmd_id = home.command(m.CommandType.READ_INSTANT)
    test = home.order(home.meter_no(), "t", type="test_supply")
    assert home.commanded(cmd_id).state is S.DONE
    assert home.commanded(cmd_id).result
    assert test["test"]["verdict"] == "passed"


# ---- seed 002, the options at zero that need the cloud ------------------------------------------------------------------


@pytest.mark.covers("C3-A2.8c")
def test_at_zero_the_account_moves_to_regular_billing_without_an_interruption(home: Town) -> None:
    follow(home, zero_action="postpaid")
    home.live(lambda: home.site().balance_nano <= 0)
    for _ in range(8):
        zero_billing.carry_out(home.db, home.now_ms)
        migration.carry_out(home.db, SIGNER, home.now_ms)
        home.carry()
        home.next_quarter()
    assert home.get(f"/accounts/{home.account_no()}")["mode"] == "postpaid"
    (change,) = [e for e in home.journal() if e.kind == Kind.MODE]
    with home.db.read() as conn:
        (moved,) = migration_rows.migrations(conn, home.account_no())
        rest = -receivables.outstanding_nano(conn, home.account_no())
    assert (moved.wish.to_mode.value, moved.asked_by) == ("postpaid", zero_billing.ACTOR)
    assert change.at_ms >= moved.asked_ms // QUARTER_MS * QUARTER_MS + QUARTER_MS  # at the end of an interval
    assert rest == sum(x.amount_nano for x in change.postings if x.pool == Pool.TRANSFER)  # the next bill holds the rest
    assert not home.is_dark()
    assert DISCONNECTED not in {e.code for e in home.house().events()}
    assert Kind.SWITCH not in {e.kind for e in home.journal()}


@pytest.mark.covers("C3-A2.8d")
def test_at_zero_it_is_replenished_and_offline_it_is_held_as_overdrawn(home: Town) -> None:
    """Offline it goes below zero with its supply on; the stored card is charged once for the crossing, and life goes on."""
    follow(home, zero_action="replenish")
    store(home, "card")

    def work() -> None:
        for _ in range(3):
            replenish(home.db, home.payments, home.now_ms)
            with home.db.read() as conn:
                hooks = GATEWAY.undelivered(conn)
            for hook in hooks:
                with home.db.write() as conn:
                    service.handle_webhook(conn, home.payments, hook.body, hook.signature, home.now_ms)
            home.carry()

    with home.offline():
        home.street.next_quarter(4)
        for _ in range(200):
            if home.display().balance_nano < 0:
                break
            home.street.next_quarter()
        assert home.display().balance_nano < 0
        assert not home.is_dark()  # held as overdrawn
    home.next_quarter()
    work()
    work()
    credits = [e for e, _ in home.mirrored() if e.kind == Kind.CREDIT]
    assert home.display().balance_nano > nano("10")
    assert len(credits) == 2  # the opening, and once by the card
    assert not home.is_dark()
    assert DISCONNECTED not in {e.code for e in home.house().events()}
    assert Kind.SWITCH not in {e.kind for e in home.journal()}


def store(t: Town, choice: str) -> None:
    """The customer stores a method and agrees to be charged 200 at 1 or below."""
    with t.db.write() as conn:
        stored = GATEWAY.store_method(conn, choice, t.now_ms)
        method = keep_method(conn, t.payments, t.account_no(), stored, t.now_ms, "asha").method_no
        agree(conn, t.payments, t.account_no(), Wish(method, nano("1"), nano("200"), nano("600"), True), t.now_ms, "asha")


@pytest.mark.covers_part("ETSI-5.2.5-alt2")
def test_a_meter_that_refuses_the_payment_mode_leaves_all_as_it_was_and_the_sender_is_told(home: Town) -> None:
    """Pre: the message is sound, and the meter does not take the write. Post: mode and display unchanged, an event with its time, a
    notice."""
    home.house().read_only = frozenset({20})
    before, mode = home.display_page(), home.house().prepaid(20)
    cmd_id = home.command(m.CommandType.WRITE_SETTINGS, settings=(packed(PaymentMode(Payment.PREPAID)),))
    home.carry()
    assert home.commanded(cmd_id).state is S.FAILED
    assert (home.house().prepaid(20), home.display_page()) == (mode, before)
    assert home.get(f"/accounts/{home.account_no()}")["mode"] == "prepaid"
    (event,) = events(home, "setting_refused")
    assert event["detail"].startswith("payment_mode error=meter_fault")
    assert datetime.fromisoformat(event["at"]).timestamp() * 1000 == home.now_ms
    assert notice(home, cmd_id) == (S.FAILED, Reason.METER_FAULT)


@pytest.mark.covers("ETSI-5.2.5-alt2")
def test_a_mode_change_that_the_meter_refuses_is_withdrawn_and_the_entity_is_told(home: Town) -> None:
    """Pre: a sound request to change the mode; the meter does not take the write. Post: mode and display unchanged, one event with its
    time, the entity has an order with the reason, and nothing is on its way any more."""
    home.house().set_prepaid(20, Payment.PREPAID)
    home.house().read_only = frozenset({20})
    mode, no = Payment.PREPAID, home.account_no()

    def display() -> str:
        """But for the number of the account's newest entry."""
        return re.sub(r"entry \d+ of", "", home.display_page())

    page = display()
    answer = home.send("POST", f"/accounts/{no}/mode", json={"mode": "postpaid"})
    assert (answer.status_code, answer.get_json()["wanted_mode"]) == (202, "postpaid")
    home.carry()
    assert (display(), home.house().prepaid(20)) == (page, mode)
    (event,) = events(home, "instrument_refused")
    assert event["detail"].endswith("mode=postpaid reason=meter_fault")
    assert datetime.fromisoformat(event["at"]).timestamp() * 1000 == home.now_ms
    (told,) = home.items("/orders", state="open")
    assert (told["kind"], told["reason"], told["detail"]) == ("mode_review", "meter_refused", "meter_fault")
    assert datetime.fromisoformat(told["opened_at"]).timestamp() * 1000 == home.now_ms
    said = plain(home.person("dora").get(f"/desk/accounts/{no}/handover/"))
    assert "The meter refused the last change" in said
    assert "On its way" not in said
    charged = len([e for e in home.journal() if e.kind == Kind.ENERGY])
    home.next_quarter(2)
    assert home.get(f"/accounts/{no}")["mode"] == "prepaid"
    assert Kind.MODE not in {e.kind for e in home.journal()}
    assert len([e for e in home.journal() if e.kind == Kind.ENERGY]) > charged  # paid ahead as before
    assert not home.is_dark()


@pytest.mark.covers("ETSI-5.2.5-alt3")
def test_a_display_that_fails_is_told_and_the_mode_change_stands(home: Town) -> None:
    """Pre: the payment mode is changed; the display in the home is off. Post: one event with its time, the entity has it, and the change
    is done and confirmed all the same."""
    with home.db.write() as conn:
        handover.convert(conn, SIGNER, home.account_no(), Mode.POSTPAID, home.now_ms, "test")
    home.carry()
    home.house().inject(HouseFault.HAN)
    before_ms = home.now_ms
    home.next_quarter(3)
    (failed,) = events(home, "han_device_lost")
    assert before_ms <= datetime.fromisoformat(failed["at"]).timestamp() * 1000 <= home.now_ms
    assert [e["meter_no"] for e in events(home, "mode_changed")] == [home.meter_no()]
    assert home.get(f"/accounts/{home.account_no()}")["mode"] == "postpaid"
    assert [e.mode for e in home.journal() if e.kind == Kind.MODE] == [AccountMode.POSTPAID]


# ---- 5.2.12 new prices ------------------------------------------------------------------------------------------------


@pytest.mark.covers("ETSI-5.2.12-trig", "ETSI-5.2.12-basic-4")
def test_a_price_comes_by_schedule_or_at_once_and_both_pages_show_it(home: Town) -> None:
    """Pre: 7.00 a kWh, 7.35 with tax. Post: 9.00 from its instant on, then 8.00 ad hoc; the display and the portal say so."""
    asha = home.person("asha")

    def shown() -> set[str]:
        """The price of now on the display and on the portal."""
        pages = home.display_page(), plain(asha.get(f"/account/{home.account_no()}/"))
        return {found[0] for page in pages for found in [re.findall(r"₹ (\d+\.\d\d) per kWh", page)]}

    def price(text: str, from_ms: int) -> None:
        with home.db.write() as conn:
            tariffs.add_tariff(conn, "home", from_ms, DEMO_TARIFF.replace("7.00", text), home.now_ms, "test")
        home.carry()

    assert shown() == {"7.35"}
    price("9.00", home.now_ms + 20 * MINUTE_MS)  # by schedule
    home.next_quarter()
    assert shown() == {"7.35"}
    home.next_quarter(2)
    assert shown() == {"9.45"}
    price("8.00", home.now_ms)  # ad hoc
    home.next_quarter()
    assert shown() == {"8.40"}


TWO_RATES = json.dumps({
    "kind": "tariff", "code": "home", "currency": "INR", "zone": "Asia/Kolkata", "notice_days": 1, "versions": [{
        "from": "2026-01-01", "hours": [{"bands": [{"from": "00:00", "to": "24:00", "period": "day"}]}],
        "items": [{"kind": "energy", "code": "energy", "rates": [{"periods": ["day"], "price": "9"}]}],
    }],
})  # fmt: skip


def letter(t: Town, person: Person, word: str) -> None:
    """A button of the consumer's portal, at the message of new prices."""
    page = person.get(f"/account/{t.account_no()}/messages/")
    found = re.findall(r"<li>\s*<p>New prices from.*?</li>", page, re.DOTALL)
    ref = re.search(r'name="ref" value="([^"]+)"', found[0])
    assert ref is not None
    assert person.post(f"/account/{t.account_no()}/messages/", {"ref": ref[1], "word": word}).status_code == 302


@pytest.mark.covers("ETSI-5.2.12-basic-5", "ETSI-5.2.12-basic-6", "ETSI-5.2.12-post", "ETSI-5.2.12-alt6")
def test_new_prices_are_shown_before_they_hold_and_applied_and_viewed_are_confirmed_each_for_itself(tmp_path: Path) -> None:
    """Three homes, a new price in two days. One consumer keeps the message on the portal, one on the display, and one never looks."""
    with town(tmp_path, dlms=3, opening="50") as t:
        t.connect()
        t.next_quarter()
        begins_ms = t.now_ms + 2 * MS_PER_DAY
        with t.db.write() as conn:
            tariffs.add_tariff(conn, "home", begins_ms, TWO_RATES, t.now_ms, "test")
        told_ms = t.now_ms
        t.carry()
        asha = t.person("asha")

        # post: on display and portal two days before it holds, while the old price does
        moment = Words("en", "INR", zone_of("Asia/Kolkata")).moment(begins_ms)
        for place in range(3):
            assert f"New prices from {moment}." in t.display_page(place)
            assert f"Price from {moment}</dt><dd>₹ 9.00 per kWh" in t.display_page(place)
        portal = plain(asha.get(f"/account/{t.account_no()}/"))
        assert "New prices from" in portal
        assert re.search(r"Price from [^₹]{6,40} ₹ 9.00 per kWh", portal)
        assert "₹ 7.35 per kWh" in portal
        assert begins_ms - told_ms == 2 * MS_PER_DAY >= MS_PER_DAY

        # basic-5: saved on the display, deleted on the portal; each word is kept
        find = "SELECT message_no FROM message WHERE code = 'TARIFF' AND account_no = ?"
        (number,) = t.money.execute(find, (t.account_no(1),)).fetchone()
        t.street.handle(Asked(b"a page's request", Ask("messages", t.account_no(1), f"{number}.saved")))
        t.carry()
        assert "Kept" in t.display_page(1)
        letter(t, asha, "saved")
        assert "Kept" in asha.get(f"/account/{t.account_no()}/messages/")
        letter(t, asha, "deleted")
        assert "New prices from" not in plain(asha.get(f"/account/{t.account_no()}/messages/"))
        t.street.handle(Asked(b"a page's request", Ask("messages", t.account_no(1), f"{number}.deleted")))
        assert f"New prices from {moment}." not in t.display_page(1)
        assert f"Price from {moment}" in t.display_page(1)  # the price stays

        # basic-6: viewed is one fact, applied another
        def facts() -> list[tuple[bool, bool, bool]]:
            items = t.items("/tariffs/home/versions/2/confirmations")
            return [tuple(x[name] is not None for name in ("told_at", "in_force_at", "viewed_at")) for x in items]

        assert facts() == [(True, False, True), (True, False, True), (True, False, False)]
        otto = t.person("otto")
        assert missing(otto) == {t.house(n).serial for n in range(3)}  # alt6: before it holds nobody has confirmed
        t.wait(2 * MS_PER_DAY + MINUTE_MS)
        assert facts() == [(True, True, True), (True, True, True), (True, True, False)]
        assert [x["viewed_on"] for x in t.items("/tariffs/home/versions/2/confirmations")] == ["portal", "display", ""]
        assert missing(otto) == {t.house(2).serial}  # alt6: who has not viewed it
        assert "₹ 9.00 per kWh" in t.display_page()


def missing(person: Person) -> set[str]:
    """The meters on the list of those that have not confirmed or whose consumer has not viewed it."""
    page = person.get("/staff/prices?tariff=home&version=2")
    listed = page.partition('id="missing-title"')[2]
    return set(re.findall(r'class="code" href="[^"]+">([^<]+)<', listed))


@pytest.mark.covers("ETSI-5.2.12-alt2")
def test_prices_that_are_wrong_are_refused_with_the_type_of_the_error_and_a_stamp(home: Town) -> None:
    """Pre: a version with a gap in its hours got past the MDM. Post: the concentrator refused it and said why and when; the bill
    entity sees both, and the old price goes on."""
    gap = TWO_RATES.replace('"to": "24:00"', '"to": "22:00"')
    with home.db.write() as conn, pytest.raises(ConfigError, match="a gap after it"):  # the MDM would not take it
        tariffs.add_tariff(conn, "home", home.now_ms + HOUR_MS, gap, home.now_ms, "test")
    with home.db.write() as conn:
        values = {"tariff_id": "home", "version": 2, "from_ms": home.now_ms + HOUR_MS, "document": gap, "created_ms": home.now_ms}
        conn.execute(insert(tariff_version).values(values))
    sent_ms = home.now_ms
    home.carry()
    (event,) = [e for e in home.items("/events") if e["name"] == "tariff_refused"]
    assert "tariff=home version=2 error=not_understood" in event["detail"]
    assert "a gap after it" in event["detail"]
    assert datetime.fromisoformat(event["at"]).timestamp() * 1000 == sent_ms
    page = home.person("otto").get("/staff/prices?tariff=home&version=2")
    assert "Not understood" in page
    (item,) = home.items("/tariffs/home/versions/2/confirmations")
    assert (item["fault"], item["told_at"], item["in_force_at"]) == ("not_understood", None, None)
    home.wait(2 * HOUR_MS)
    assert "₹ 7.35 per kWh" in home.display_page()
    assert "New prices" not in home.display_page()
