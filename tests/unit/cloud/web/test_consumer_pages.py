"""The consumer's pages against what is stored: figures, marks, bills, the whole way of a recharge."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable

import pytest

from gridtally_cloud.billing import service as billing
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.trial_gateway import CHOICES
from gridtally_cloud.programs import service as schedules
from gridtally_cloud.programs.model import Booking
from gridtally_cloud.web.payments import SIGNATURE_HEADER, redeliver
from gridtally_shared.money import NANO, display, nano
from gridtally_shared.schedules.document import Action, Programme
from support.payday import DAY_MS, GATEWAY, START_MS
from support.web_person import Person
from support.web_street import PER_DAY, QUARTER_MS, WebStreet, wh_of
from support.web_words import plain

SignIn = Callable[[str], Person]


def amount(nano_amount: int) -> str:
    return display(nano_amount, "INR")


# ---- home -----------------------------------------------------------------------------------------------------


def test_home_shows_the_mirrored_balance_with_its_time(old_street: WebStreet, sign_in: SignIn) -> None:
    balance = old_street.pay.balance()
    said = plain(sign_in("asha").get("/account/1/"))
    assert amount(balance.balance_nano) in said
    assert "As of 4 Nov 2026" in said
    assert "Your supply is on." in said
    assert f"{amount(600 * NANO)} received" in said


def test_home_of_a_postpaid_account_shows_what_is_due(old_street: WebStreet, sign_in: SignIn) -> None:
    said = plain(sign_in("carmen").get(f"/account/{old_street.pay.postpaid_account}/"))
    assert "Por pagar" in said
    assert "0,00 ₹" in said
    assert "Recargar" not in said


def test_an_account_without_a_journal_says_so(street: WebStreet) -> None:
    from sqlalchemy import delete

    from gridtally_cloud.store.tables import account_mirror, journal_entry

    with street.pay.db.write() as conn:
        conn.execute(delete(account_mirror))
        conn.execute(delete(journal_entry))
    said = plain(Person(street.app(), "asha").get("/account/1/"))
    assert "The meter has not reported a balance yet." in said


def test_a_low_balance_is_said(street: WebStreet) -> None:
    while street.pay.balance().balance_nano > 100 * NANO:
        street.live(PER_DAY * 10)
    said = plain(Person(street.app(), "asha").get("/account/1/"))
    assert "Your balance is low." in said
    assert "Low balance" in said, "the edge's own message stands among the messages"


def test_coming_schedules_are_shown_and_those_of_others_are_not(street: WebStreet) -> None:
    start_ms = street.now_ms + DAY_MS
    wish = Booking(Programme.A, 1, start_ms, start_ms + 7_200_000, "staff:dora", action=Action.OFF, title="Work on the line")
    with street.pay.db.write() as conn:
        schedules.book(conn, street.pay.payments.signer, wish, street.now_ms)
    said = plain(Person(street.app(), "asha").get("/account/1/"))
    assert "Schedules Work on the line: Supply Off" in said
    assert "Planned" in said or "On its way" in said
    assert "Work on the line" not in plain(Person(street.app(), "carmen").get(f"/account/{street.pay.postpaid_account}/"))


# ---- use ------------------------------------------------------------------------------------------------------


def test_the_csv_holds_exactly_what_is_stored(old_street: WebStreet, sign_in: SignIn) -> None:
    text = sign_in("asha").get("/account/1/usage.csv?span=day&at=2026-11-02")
    rows = list(csv.DictReader(io.StringIO(text)))
    start = START_MS + DAY_MS
    expected = dict.fromkeys((60, 61), ("", "missing")) | dict.fromkeys(range(40, 44), (None, "estimated"))
    assert len(rows) == PER_DAY
    for i, row in enumerate(rows):
        wh, quality = expected.get(i, (None, "measured"))
        assert row["wh"] == (str(wh_of(0, start + i * QUARTER_MS)) if wh is None else wh)
        assert row["quality"] == quality
    assert rows[0]["start_utc"] == "2026-11-01T18:30:00Z"
    assert nano(rows[0]["cost"]) == wh_of(0, start) * 7_350_000, "7.00 a kWh and 5 % tax"


@pytest.mark.covers("BYPL-16.3")
def test_charts_of_day_month_and_quarter_hours_equal_what_is_stored(old_street: WebStreet, sign_in: SignIn) -> None:
    asha = sign_in("asha")
    start = START_MS + DAY_MS
    by_quarter = [wh_of(0, start + i * QUARTER_MS) for i in range(PER_DAY)]
    day = asha.get("/account/1/usage?span=day&at=2026-11-02")
    titles = re.findall(r"<title>(\d\d:\d\d–\d\d:\d\d): ([^<]+)</title>", day)
    shown = [(html.unescape(text).replace("\u00a0", " ")) for _, text in titles]
    wanted = [f"0.{wh:03d} kWh" for wh in by_quarter]
    wanted[60] = wanted[61] = "Missing"
    assert shown == wanted
    assert day.count('class="bar estimated"') == 4
    assert day.count('class="bar missing"') == 2
    assert "Estimated" in plain(day)
    whole = sum(by_quarter) - by_quarter[60] - by_quarter[61]
    month = plain(re.sub(r"<title>([^<]+)</title>", r" \1 ", asha.get("/account/1/usage?span=month&at=2026-11")))
    assert f"2 Nov 2026: {whole // 1000}.{(whole % 1000 + 5) // 10:02d} kWh" in month
    year = asha.get("/account/1/usage?span=year&at=2026")
    assert 'aria-label="November 2026: ' in year


def test_money_view_costs_the_energy(sign_in: SignIn) -> None:
    page = sign_in("asha").get("/account/1/usage?span=month&at=2026-11&unit=money")
    assert re.search(r"Mon 2 Nov 2026: ₹\u00a0\d+\.\d\d", page)


def test_the_table_says_the_same_as_the_chart(old_street: WebStreet, sign_in: SignIn) -> None:
    page = sign_in("asha").get("/account/1/usage?span=day&at=2026-11-02")
    cells = re.findall(r'<tr><td>(\d\d:\d\d–\d\d:\d\d)</td><td class="num">([^<]+)</td>', page)
    assert len(cells) == PER_DAY
    assert cells[0] == ("00:00–00:15", f"0.{wh_of(0, START_MS + DAY_MS):03d}")
    assert cells[60][1] == "–"


@pytest.mark.parametrize("query", ["span=day&at=1999-01-01", "span=x&at=y&unit=z", "at=%00", "span=month&at=0000-00", "span=year&at=9999"])
def test_any_address_gives_a_page(query: str, sign_in: SignIn) -> None:
    sign_in("asha").get(f"/account/1/usage?{query}")


# ---- recharge -------------------------------------------------------------------------------------------------


@pytest.mark.covers("BYPL-17.2")
def test_amounts_are_checked_and_an_order_gets_the_gateways_reference(street: WebStreet) -> None:
    asha = Person(street.app(), "asha")
    small = asha.post("/account/1/recharge", {"choice": "other", "amount": "99.99"})
    assert (small.status_code, "The smallest recharge is ₹\u00a0100.00." in small.get_data(as_text=True)) == (422, True)
    large = asha.post("/account/1/recharge", {"choice": "other", "amount": "20000.01"})
    assert (large.status_code, "The largest recharge is ₹\u00a020,000.00." in large.get_data(as_text=True)) == (422, True)
    unclear = asha.post("/account/1/recharge", {"choice": "other", "amount": "1,234"})
    assert 'aria-invalid="true"' in unclear.get_data(as_text=True)
    good = asha.post("/account/1/recharge", {"choice": "200", "amount": ""})
    assert good.status_code == 303
    reference = good.headers["Location"].removeprefix("/pay/test/")
    with street.pay.db.read() as conn:
        order = prepay.order_at_gateway(conn, "test", reference)
    assert order is not None
    assert (order.account_no, order.amount_nano, order.gateway_order) == (1, 200 * NANO, reference)


@pytest.mark.covers("BYPL-17.3", "BYPL-18.4")
@pytest.mark.parametrize("choice", CHOICES, ids=lambda c: c.key)
def test_every_way_to_pay_and_to_fail(street: WebStreet, choice) -> None:  # type: ignore[no-untyped-def]
    asha = Person(street.app(), "asha")
    page = asha.post("/account/1/recharge", {"choice": "500"}).headers["Location"]
    assert f'value="{choice.key}"' in asha.get(page)
    back = asha.post(page, {"choice": choice.key}).headers["Location"]
    receipt = asha.client.get(back).headers["Location"]
    said = plain(asha.get(receipt))
    paid = street.pay.balance().pending_nano
    assert ("Your payment has arrived" in said, paid) == ((True, 500 * NANO) if choice.pays else (False, 0))
    assert choice.pays or "Nothing was charged." in said


def test_pay_twice_is_pay_once(street: WebStreet) -> None:
    asha = Person(street.app(), "asha")
    page = asha.post("/account/1/recharge", {"choice": "500"}).headers["Location"]
    form = asha.get(page)
    token = re.search(r'name="csrf_token" value="([^"]+)"', form)
    assert token
    for _ in range(2):
        asha.client.post(page, data={"choice": "card", "csrf_token": token[1]})
    assert street.pay.balance().pending_nano == 500 * NANO
    assert "This order is paid." in plain(asha.get(page))


@pytest.mark.covers("BYPL-17.4")
def test_only_a_signed_webhook_credits_and_only_once(street: WebStreet) -> None:
    app = street.app()
    asha = Person(app, "asha")
    page = asha.post("/account/1/recharge", {"choice": "200"}).headers["Location"]
    reference = page.removeprefix("/pay/test/")
    back = asha.client.get("/pay/return", query_string=GATEWAY.return_fields(reference))
    said = plain(asha.get(back.headers["Location"]))
    assert "Only the bank’s confirmation counts." in said
    assert street.pay.balance().pending_nano == 0, "the return page credits nothing"
    with street.pay.db.write() as conn:
        hook = GATEWAY.choose(conn, reference, "card", street.now_ms)
    bank = app.test_client()
    forged = bank.post("/payments/webhook/test", data=hook.body, headers={SIGNATURE_HEADER: "0" * 64})
    changed = bank.post("/payments/webhook/test", data=hook.body.replace(b"200", b"900"), headers={SIGNATURE_HEADER: hook.signature})
    assert (forged.status_code, changed.status_code) == (401, 401)
    assert street.pay.balance().pending_nano == 0, "a bad signature is refused"
    answers = [bank.post("/payments/webhook/test", data=hook.body, headers={SIGNATURE_HEADER: hook.signature}) for _ in range(2)]
    assert [a.get_json()["outcome"] for a in answers] == ["captured", "repeated"]
    assert street.pay.balance().pending_nano == 200 * NANO, "twice delivered, once credited"
    assert "Thank you. Your payment has arrived." in plain(asha.get(back.headers["Location"]))
    before = street.pay.balance().balance_nano
    street.pay.carry_down()
    street.send_journal()
    assert street.pay.balance().balance_nano == before + 200 * NANO


def test_the_receipt_follows_the_credit_to_the_meter(street: WebStreet) -> None:
    asha = Person(street.app(), "asha")
    page = asha.post("/account/1/recharge", {"choice": "200"}).headers["Location"]
    receipt = asha.client.get(asha.post(page, {"choice": "wallet"}).headers["Location"]).headers["Location"]
    before = street.pay.balance().balance_nano
    assert "Waiting for the meter to confirm" in plain(asha.get(receipt))
    assert f"{amount(200 * NANO)} on its way to your meter" in plain(asha.get("/account/1/"))
    street.pay.carry_down()
    street.send_journal()
    said = plain(asha.get(receipt))
    assert f"Your balance is now {amount(before + 200 * NANO)}." in said
    assert re.search(r"journal entry \d+", said)
    assert "on its way" not in plain(asha.get("/account/1/"))


def test_a_webhook_lost_in_a_restart_is_sent_again(street: WebStreet) -> None:
    order = street.pay.order("200")
    street.pay.choose(order)
    app = street.app()
    with app.app_context():
        assert redeliver() == 1
        assert redeliver() == 0
    assert street.pay.balance().pending_nano == 200 * NANO


def test_somebody_elses_order_can_not_be_seen_or_paid(street: WebStreet) -> None:
    app = street.app()
    page = Person(app, "asha").post("/account/1/recharge", {"choice": "200"}).headers["Location"]
    bilal = Person(app, "bilal")
    bilal.get(page, 404)
    assert bilal.post(page, {"choice": "card"}, form="/account/2/recharge").status_code == 404


def test_without_a_gateway_the_page_says_where_to_pay(street: WebStreet) -> None:
    from dataclasses import replace

    from gridtally_cloud.app import create_app
    from gridtally_cloud.web.site import WebSettings
    from support.web_street import StreetClock

    app = create_app(WebSettings(b"k" * 32), street.pay.db, StreetClock(street.pay), replace(street.pay.payments, gateway=None))
    answer = Person(app, "asha").post("/account/1/recharge", {"choice": "200"})
    assert "Online payment is not set up here. Pay at the desk." in plain(answer.get_data(as_text=True))
    assert app.test_client().post("/payments/webhook/test", data=b"{}").status_code == 404


# ---- bills ----------------------------------------------------------------------------------------------------


@pytest.fixture
def billed(street: WebStreet) -> WebStreet:
    """Four days billed to everybody."""
    street.live(PER_DAY * 5)
    with street.pay.db.write() as conn:
        for home in street.pay.homes:
            billing.issue_bill(conn, home.account_no, START_MS, START_MS + 4 * DAY_MS, street.now_ms, "test")
    return street


@pytest.mark.covers("BYPL-16.4")
def test_a_postpaid_and_a_prepaid_person_see_their_papers(billed: WebStreet) -> None:
    app = billed.app()
    asha, carmen = Person(app, "asha"), Person(app, "carmen")
    for person, account_no, kind in ((asha, 1, "S-"), (carmen, 3, "B-")):
        number = re.search(rf"/account/{account_no}/bills/({kind}\d+)\"", person.get(f"/account/{account_no}/bills"))
        assert number
        pdf = person.client.get(f"/account/{account_no}/bills/{number[1]}.pdf")
        assert pdf.data.startswith(b"%PDF-")
        assert f'filename="{number[1]}.pdf"' in pdf.headers["Content-Disposition"]
        assert number[1] in person.get(f"/account/{account_no}/bills/{number[1]}")
    assert amount(billed.pay.balance().balance_nano) in plain(asha.get("/account/1/"))
    assert amount(600 * NANO) in plain(asha.get("/account/1/history")), "the recharge stands in the history"


def test_a_bill_shows_each_line_and_they_add_up(billed: WebStreet) -> None:
    carmen = Person(billed.app(), "carmen")
    with billed.pay.db.read() as conn:
        row = billing.list_bills(conn, 3)[0]
        view = billing.bill(conn, row.bill_no)
    page = carmen.get(f"/account/3/bills/{row.bill_no}")
    assert page.count("<tr><th scope=\"row\">") == len(view.bill.lines) + 2, "each line, what was before, the total"
    assert sum(line.shown_nano for line in view.bill.lines) + view.bill.opening_shown_nano == view.bill.closing_shown_nano


def test_a_bill_of_another_account_does_not_exist(billed: WebStreet) -> None:
    with billed.pay.db.read() as conn:
        other = billing.list_bills(conn, 2)[0].bill_no
    Person(billed.app(), "asha").get(f"/account/1/bills/{other}", 404)


@pytest.mark.covers_part("BYPL-18.2", "BYPL-18.3", "BYPL-18.5")
def test_a_bill_is_paid_at_the_gateway(billed: WebStreet) -> None:
    carmen = Person(billed.app(), "carmen")
    with billed.pay.db.read() as conn:
        row = billing.list_bills(conn, 3)[0]
        owed = billing.outstanding_nano(conn, 3)
    assert row.due_nano == owed
    path = f"/account/3/bills/{row.bill_no}"
    page = carmen.post(f"{path}/pay", form=path).headers["Location"]
    assert page.startswith("/pay/test/")
    carmen.post(page, {"choice": "netbanking"})
    with billed.pay.db.read() as conn:
        assert billing.outstanding_nano(conn, 3) == 0
        assert billing.list_bills(conn, 3)[0].state.value == "paid"
    assert "Pagada" in plain(carmen.get(path))


# ---- profile and history --------------------------------------------------------------------------------------


def test_the_profile_shows_who_and_where(sign_in: SignIn) -> None:
    said = plain(sign_in("asha").get("/account/1/profile"))
    assert all(text in said for text in ("Asha Rao", "1 Acacia Lane", "10000001", "Prepaid", "This device"))


def test_history_pages_through_the_whole_journal(street: WebStreet) -> None:
    street.live(PER_DAY * 20)
    asha = Person(street.app(), "asha")
    seen, path = [], "/account/1/history"
    while path:
        page = asha.get(path)
        seen += [int(n) for n in re.findall(r'<span class="muted small">#(\d+)</span>', page)]
        older = re.search(r'href="(/account/1/history\?before=[^"]+)"', page)
        path = older[1] if older else ""
    assert seen == list(range(street.pay.balance().seq, 0, -1))
