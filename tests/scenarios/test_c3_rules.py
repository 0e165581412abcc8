"""Seed 002 (prepayment), the requirements behind the scenarios: messages, texts, rules of a cut, the display, ways to pay, statements.

Like the scenarios they run on both ends with one clock wound by hand (support/town.py), except where real seconds, a real
line or real processes are what is asked about. Orders and their logs: test_c3_orders.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from gridtally_cloud.billing import service as billing
from gridtally_cloud.billing.model import LineKind
from gridtally_cloud.billing.store import journal_of
from gridtally_cloud.billing.texts import TEXTS
from gridtally_cloud.customers import accounts
from gridtally_cloud.customers.accounts import AccountReason, NewAccount
from gridtally_cloud.customers.model import Mode
from gridtally_cloud.prepay import policies
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.keypad import code_of
from gridtally_cloud.store.tables import meter
from gridtally_cloud.web.i18n import LANGUAGES, best_language, catalogue, language, places
from gridtally_edge.core_events import GiveAnswer
from gridtally_edge.counter import Ask, Asked
from gridtally_edge.display import texts as display_texts
from gridtally_edge.display.server import DisplayServer
from gridtally_edge.sync.downlink import Identity, open_config
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.codec import encode
from gridtally_shared.errors import ContractError, RefusedCommand
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.ledger.entries import Kind, Pool
from gridtally_shared.ledger.evidence import MessageEvidence, evidence_of
from gridtally_shared.messages.catalogue import table
from gridtally_shared.money import NANO, nano
from gridtally_shared.prepay.packs import pack
from gridtally_shared.signing import sign1
from support.chain import SIGNER
from support.little_street import DCU, MINUTE_MS, QUARTER_MS
from support.payday import DAY_MS, HOUR_MS, OPENED_WH, Payday
from support.prepay_bench import Bench
from support.town import Town, town
from support.two_homes import two_homes
from support.visitor import Visitor
from support.web_words import plain

KEYS = {SIGNER.key_id: SIGNER.public}


@pytest.fixture
def acacia(tmp_path: Path) -> Iterator[Town]:
    with two_homes(tmp_path) as made:
        yield made


@pytest.mark.covers("C3-FR5")
def test_every_prepay_message_is_logged_with_the_meters_time_and_its_code(tmp_path: Path) -> None:
    with town(tmp_path, opening="5") as acacia:
        expected: list[tuple[str, int]] = []

        def happened(*codes: str) -> None:
            expected.extend((code, acacia.house().clock_ms()) for code in codes)

        acacia.connect()
        happened("CREDIT")
        acacia.live(lambda: acacia.display().balance_nano <= nano("2"))
        happened("LOW" if any(x.code == "LOW" for x in acacia.display().messages) else "LOW_BARE")
        acacia.command(m.CommandType.MESSAGE, text="Pay at any desk.")
        acacia.carry()
        happened("TEXT")
        acacia.live(acacia.is_dark)
        happened("ZERO", "CUT")
        acacia.wait(MINUTE_MS)
        acacia.pay("100")
        happened("CREDIT", "ON")

        logged = acacia.money.execute("SELECT code, at_ms FROM message ORDER BY message_no").fetchall()
        assert [tuple(row) for row in logged] == expected

        # all of them are entries of the journal too, and so came to the MDM with code and time
        told = ((evidence_of(e), e.at_ms) for e, _ in acacia.mirrored() if e.kind == Kind.NOTICE)
        assert [(e.code, at) for e, at in told if isinstance(e, MessageEvidence)] == expected


@pytest.mark.covers("C3-FR10")
@pytest.mark.parametrize("rule", ["schedule", "customer class", "extreme weather"])
def test_a_rule_of_each_kind_blocks_a_cut_and_then_allows_it(tmp_path: Path, rule: str) -> None:
    blocks: dict[str, Any] = {
        "schedule": {"protected_hours": ("11:00-13:00",)},
        "customer class": {"holds": ("medical",)},
        "extreme weather": {"holds": ("weather",)},
    }[rule]
    bench = Bench(tmp_path, 1, blocks)
    bench.credit(1, "8.40")
    bench.wait(HOUR_MS)  # 12:10 where the home is
    bench.read(1, 1_001_000)
    assert bench.balance() == 0
    assert bench.orders() == []
    assert [t.name for t in bench.decisions()[-1].tests if not t.holds] == ["protected_hours" if rule == "schedule" else "holds"]

    if rule != "schedule":
        bench.configure(holds=())
    bench.wait(HOUR_MS)
    bench.read(1, 1_001_010)
    assert bench.order().close is False


@pytest.mark.covers("C3-FR19")
def test_intervals_longer_than_an_hour_are_refused() -> None:
    identity = Identity(DCU, b"b" * 16, KEYS)

    def config(*intervals_s: int) -> bytes:
        meters = tuple(m.MeterConfig(no, f"S{no}", interval_s=s) for no, s in enumerate(intervals_s, start=1))
        return sign1(SIGNER, "config", encode(m.DcuConfig(2, DCU, 1, meters)))

    assert [x.interval_s for x in open_config(identity, config(900, 1_800, 3_600)).config.meters] == [900, 1_800, 3_600]
    for too_long in (3_601, 3_660, 7_200, 86_400):
        with pytest.raises(ContractError, match="at most 3600"):
            open_config(identity, config(900, too_long))


@pytest.mark.covers("C3-FR29")
def test_texts_in_three_languages_have_equal_places_and_fall_back() -> None:
    """Portal, balance page and bills: English, Spanish, Hindi."""
    assert set(LANGUAGES) == set(display_texts.LANGUAGES) == set(TEXTS) == {"en", "es", "hi"}
    for code in LANGUAGES:
        assert {k: places(v) for k, v in catalogue(code).items()} == {k: places(v) for k, v in catalogue("en").items()}
        assert {k: places(str(v)) for k, v in TEXTS[code].items()} == {k: places(str(v)) for k, v in TEXTS["en"].items()}
    for spoken in (display_texts.LABELS, *(table(name) for name in ("notices", "why", "charges"))):
        for said in spoken.values():
            assert {code: places(text) for code, text in said.items()} == dict.fromkeys(LANGUAGES, places(said["en"]))

    # a language nobody speaks here
    assert best_language("tlh") == language("tlh").code == "en"
    assert display_texts.accepted("tlh") == display_texts.language_of("tlh") == "en"
    assert display_texts.Words("tlh").label("balance") == "Balance"


# ---- times ---------------------------------------------------------------------------------------------------------


@pytest.mark.covers("C3-NFR1")
def test_the_display_on_the_spot_shows_a_reading_and_a_credit_within_two_seconds(acacia: Town) -> None:
    """Real seconds, over real HTTP, from the moment the meter is asked or the credit arrives."""
    server = DisplayServer(("127.0.0.1", 0), acacia.street.folder / "money.db", acacia.street.clock)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        visitor = Visitor(f"http://127.0.0.1:{server.server_address[1]}/")
        visitor.post("/open", {"account": str(acacia.account_no()), "pin": "4711"})

        def shown() -> str:
            status, page = visitor.get("/")
            assert status == 200
            return plain(page)

        for _ in range(3):
            before, began_s = shown(), time.monotonic()
            acacia.street.next_quarter()
            register = f"{acacia.house().snapshot().energy_import_wh % 1_000:03d} kWh"
            assert register in shown()
            assert register not in before
            assert time.monotonic() - began_s < 2.0

        with acacia.offline():
            order = acacia.order_recharge("100")
            acacia.bank_answers(order)
        began_s = time.monotonic()
        acacia.carry()
        assert "₹ 100.00 received." in shown()
        assert time.monotonic() - began_s < 2.0
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.covers("C3-NFR7")
def test_what_arrives_is_in_the_api_in_the_same_second(acacia: Town) -> None:
    meter_no, account_no = acacia.meter_no(), acacia.account_no()

    def in_time(look: Any) -> None:
        began_s = time.monotonic()
        assert look()
        assert time.monotonic() - began_s < 1.0

    acacia.house().report_event(EVENTS["magnet_on"].code)
    acacia.next_quarter()
    register = acacia.house().snapshot().energy_import_wh
    in_time(lambda: acacia.get(f"/meters/{meter_no}")["register_wh"] == register)
    in_time(lambda: "magnet_on" in {e["name"] for e in acacia.items(f"/meters/{meter_no}/events")})
    in_time(lambda: acacia.items(f"/meters/{meter_no}/intervals")[-2]["wh"] is not None)
    cmd_id = acacia.command(m.CommandType.READ_SWITCH)
    acacia.carry()
    in_time(lambda: acacia.get(f"/commands/{cmd_id.hex()}")["state"] == "done")
    acacia.pay("100")
    in_time(lambda: nano(acacia.get(f"/accounts/{account_no}/balance")["balance"]) == acacia.display().balance_nano)
    in_time(lambda: acacia.items(f"/accounts/{account_no}/ledger")[0]["seq"] == acacia.journal()[-1].seq)


# ---- business rules and preconditions --------------------------------------------------------------------------------


@pytest.mark.covers("C3-BR1")
@pytest.mark.covers_part("C3-S1.4")
def test_card_bank_wallet_and_cash_replenish_and_the_meter_takes_no_codes(acacia: Town) -> None:
    """The first home is served by the SCE profile, the second by none."""
    # a code for money that has not arrived: good without the profile, not taken any more with it
    acacia.lose_down = lambda channel, _: channel == "instrument"
    for place in (0, 1):
        acacia.pay("100", place=place)
    with acacia.db.write() as conn:
        codes = [code_of(conn, acacia.account_no(place), 2).text for place in (0, 1)]
        policies.add_policy(conn, acacia.now_ms // QUARTER_MS * QUARTER_MS, pack("sce_c3").replace('"USD"', '"INR"'), acacia.now_ms, "test")
        policies.follow(conn, acacia.account_no(), "sce_c3", acacia.now_ms, "test")
    acacia.carry()
    assert [typed(acacia, place, code) for place, code in enumerate(codes)] == ["not_offered", "accepted"]
    acacia.lose_down = lambda channel, _: False
    acacia.cut()
    acacia.connect()

    ways = ("card", "netbanking", "wallet", "cash")
    for way in ways:
        before = acacia.display().balance_nano
        if way == "cash":
            station(acacia, "100", "A-1")
            acacia.carry()
        else:
            acacia.pay("100", way)
        assert acacia.display().balance_nano == before + nano("100")
    with acacia.db.read() as conn:
        assert [x.method for x in prepay.payments(conn, acacia.account_no(), 4)] == list(reversed(ways))

    # at the meter: no field to type a code into, nobody who would take one
    assert "<input" not in acacia.display_page()
    before = acacia.display().balance_nano
    server = DisplayServer(("127.0.0.1", 0), acacia.street.folder / "money.db", acacia.street.clock)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        visitor = Visitor(f"http://127.0.0.1:{server.server_address[1]}/")
        visitor.post("/open", {"account": str(acacia.account_no()), "pin": "4711"})
        for path in ("/code", "/token", "/credit", "/"):
            assert visitor.post(path, {"code": "1234 5678 9012 3456 7890"})[0] == 404
    finally:
        server.shutdown()
        server.server_close()
    assert acacia.display().balance_nano == before
    with acacia.db.read() as conn, pytest.raises(RefusedCommand, match="its policy wants none"):
        code_of(conn, acacia.account_no(), max(e.gseq for e in acacia.journal()))


def typed(t: Town, place: int, code: str) -> str:
    """What the concentrator answers to a code typed at its counter."""
    street = t.street
    effects = street.core.handle(Asked(bytes([place]) * 16, Ask("code", t.account_no(place), code)), street.moment())
    street.carry_out(effects)
    return next(e.answer.result for e in effects if isinstance(e, GiveAnswer))


def station(t: Town, amount: str, reference: str) -> Any:
    """A pay station posts through the API."""
    body = {"amount": amount, "reference": reference}
    answer = t.send("POST", f"/accounts/{t.account_no()}/payments", json=body)
    assert answer.status_code == 201, answer.get_data(as_text=True)
    return answer.get_json()


@pytest.mark.covers("C3-BR3")
def test_a_pay_station_posts_and_the_credit_is_at_the_meter_in_the_same_minute(acacia: Town) -> None:
    before, began_ms, began_s = acacia.display().balance_nano, acacia.now_ms, time.monotonic()
    posted = station(acacia, "250", "till 3, receipt 17")
    acacia.wait(5_000)

    credit = next(e for e in reversed(acacia.journal()) if e.kind == Kind.CREDIT)
    assert sum(x.amount_nano for x in credit.postings if x.pool == Pool.PAID) == nano("250")
    assert credit.at_ms - began_ms < MINUTE_MS
    assert acacia.display().balance_nano == before + nano("250")
    shown = acacia.house().shown_balance()
    assert shown == (acacia.display().balance_nano * 100 // NANO, credit.at_ms)
    assert time.monotonic() - began_s < 60

    # the same receipt again is the same payment; the station can follow it
    again = station(acacia, "250", "till 3, receipt 17")
    assert (again["payment_no"], again["credit"], again["applied_seq"]) == (posted["payment_no"], "applied", credit.seq)
    acacia.carry()
    assert acacia.display().balance_nano == before + nano("250")


@pytest.mark.covers("C3-N2")
def test_a_prepaid_month_has_a_statement_equal_to_the_journal(tmp_path: Path) -> None:
    street = Payday(tmp_path)
    try:
        street.read(0, OPENED_WH)
        street.pay("300")
        street.round()
        first_ms, days = street.now_ms, 30  # November
        for quarter_of_day in range(1, 4 * days + 1):
            street.wait(6 * HOUR_MS)
            street.read(0, OPENED_WH + quarter_of_day * 1_900)
            if quarter_of_day % 40 == 0:
                street.pay("700")
            street.round()
        end_ms = first_ms + days * DAY_MS
        with street.db.write() as conn:
            bill = billing.issue_bill(conn, street.account, first_ms, end_ms, street.now_ms, "desk").bill
        with street.db.read() as conn:
            entries = [e for e in journal_of(conn, street.account) if e.at_ms < end_ms]
    finally:
        street.close()
    moved = {pool: sum(x.amount_nano for e in entries for x in e.postings if x.pool == pool) for pool in Pool}
    of_kind = {kind: [x.amount_nano for x in bill.lines if x.kind is kind] for kind in LineKind}

    # opening and closing balance
    assert bill.opening_nano == 0
    assert bill.closing_nano == moved[Pool.PAID]
    # top-ups, one line each
    tops = [sum(x.amount_nano for x in e.postings if x.pool == Pool.PAID) for e in entries if e.kind == Kind.CREDIT]
    assert of_kind[LineKind.TOP_UP] == tops
    assert len(tops) == 3
    # charges by line
    assert sum(of_kind[LineKind.ENERGY]) == -moved[Pool.ENERGY] < 0
    assert sum(of_kind[LineKind.FIXED]) == -moved[Pool.FIXED] < 0
    assert sum(of_kind[LineKind.TAX_ENERGY]) + sum(of_kind[LineKind.TAX_FIXED]) == -moved[Pool.TAX] < 0
    # and all of it adds up
    assert bill.opening_nano + sum(x.amount_nano for x in bill.lines) == bill.closing_nano
    assert (bill.journal_from_seq, bill.journal_to_seq) == (entries[0].seq, entries[-1].seq)


@pytest.mark.covers("C3-S1-pre")
def test_a_meter_that_is_not_provisioned_is_refused_with_the_reason(acacia: Town) -> None:
    with acacia.db.write() as conn:
        home = accounts.account(conn, acacia.account_no())
        new = {"serial": "NEW-1", "driver": "is15959", "usage_point_no": home.usage_point_no, "installed_ms": acacia.now_ms}
        number = conn.execute(insert(meter).values(new).returning(meter.c.meter_no)).scalar_one()
        wanted = NewAccount(home.customer_no, home.usage_point_no, number, Mode.PREPAID, home.tariff_id, home.currency, home.zone,
                            "en", "", acacia.now_ms)  # fmt: skip
        # no prepaid account on it
        with pytest.raises(RefusedCommand, match="not provisioned") as refused:
            accounts.open_account(conn, wanted, "test")
        assert refused.value.reason == AccountReason.METER_NOT_PROVISIONED
    # and no command to it
    answer = acacia.send("POST", f"/meters/{number}/commands", "k-1", json={"type": "switch_close"})
    assert (answer.status_code, answer.get_json()["type"].rpartition("/")[2]) == (422, "unknown-meter")

    # bound to its concentrator, it is taken
    with acacia.db.write() as conn:
        conn.execute(meter.update().where(meter.c.meter_no == number).values(dcu=DCU))
        assert accounts.open_account(conn, wanted, "test").is_prepaid
