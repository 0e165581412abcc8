"""A month of a prepaid home end to end: journal, statement, words in three languages, page and PDF."""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined

import gridtally_cloud.billing as billing_package
from gridtally_cloud.billing import formats, service
from gridtally_cloud.billing.document import from_json, to_json
from gridtally_cloud.billing.fonts import Fonts, find_fonts
from gridtally_cloud.billing.model import BillView, LineKind
from gridtally_cloud.billing.page import bill_page
from gridtally_cloud.billing.pdf import can_print, pdf_of
from gridtally_cloud.billing.store import journal_of
from gridtally_cloud.billing.texts import TEXTS
from gridtally_cloud.customers.seed import Plan
from gridtally_cloud.ingest.measurements import take_intervals
from gridtally_shared.contract.messages import Intervals
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.ledger.entries import Kind, Pool
from gridtally_shared.money import nano
from gridtally_shared.quality import Quality
from support.edge_peer import block
from support.payday import DAY_MS, DCU, HOUR_MS, OPENED_WH, START_MS, Payday

DAYS = 7
LANGUAGES = sorted(TEXTS)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Payday]:
    town = Payday(tmp_path_factory.mktemp("bills"), Plan(DCU, postpaid=1, opening_credit_nano=nano("150")))
    yield town
    town.close()


@pytest.fixture(scope="module")
def view(town: Payday) -> BillView:
    """A week of 4.8 kWh a day; day 3 has an hour missing, day 4 an hour estimated, day 5 nothing at all."""
    town.round()
    town.read(0, OPENED_WH)
    for day in range(DAYS):
        for hour in range(24):
            town.wait(HOUR_MS)
            town.read(0, OPENED_WH + day * 4_800 + (hour + 1) * 200)
        send_intervals(town, day)
        if day == 2:
            town.pay("200")
        town.round()
    town.wait(HOUR_MS)
    town.read(0, OPENED_WH + DAYS * 4_800 + 50)
    town.round()
    with town.db.write() as conn:
        return service.issue_bill(conn, town.account, START_MS, START_MS + DAYS * DAY_MS, town.now_ms, "desk")


def send_intervals(town: Payday, day: int) -> None:
    count = {3: 92, 5: 0}.get(day, 96)
    flags = b"".join((Quality.ESTIMATED if day == 4 and i < 4 else 0).to_bytes(2, "little") for i in range(count))
    if count:
        with town.db.write() as conn:
            sent = block(town.homes[0].meter_no, START_MS + day * DAY_MS, [50] * count, quality=flags)
            take_intervals(town.arrival(conn), Intervals((sent,)))


@pytest.mark.covers_part("C3-N2")
def test_the_statement_is_the_journal(town: Payday, view: BillView) -> None:
    bill = view.bill
    with town.db.read() as conn:
        entries = [e for e in journal_of(conn, town.account) if e.at_ms < START_MS + DAYS * DAY_MS]
    moved = {pool: sum(p.amount_nano for e in entries for p in e.postings if p.pool == pool) for pool in Pool}
    of_kind = {kind: sum(line.amount_nano for line in bill.lines if line.kind is kind) for kind in LineKind}
    assert bill.opening_nano == 0
    assert bill.closing_nano == moved[Pool.PAID]
    assert of_kind[LineKind.TOP_UP] == -moved[Pool.RECEIVED] == nano("350")
    assert of_kind[LineKind.ENERGY] == -moved[Pool.ENERGY]
    assert of_kind[LineKind.FIXED] == -moved[Pool.FIXED]
    assert of_kind[LineKind.TAX_ENERGY] + of_kind[LineKind.TAX_FIXED] == -moved[Pool.TAX]
    assert (bill.journal_from_seq, bill.journal_to_seq) == (entries[0].seq, entries[-1].seq)
    assert [line.reference for line in bill.lines if line.kind is LineKind.TOP_UP] == ["P-1", "P-3"]
    assert any(e.kind == Kind.FIXED for e in entries)


def test_the_data_behind_the_statement_are_cited(view: BillView) -> None:
    quality = view.bill.quality
    assert (quality.measured, quality.estimated, quality.missing) == (96 * 5 + 92 - 4, 4, 96 + 4)
    assert [d.used_wh for d in view.bill.days] == [4_800, 4_800, 4_800, 4_600, 4_800, None, 4_800]
    notes = bill_page(view, "en").notes
    assert notes[0] == "Data of this period: 568 intervals measured, 4 estimated, 100 missing."
    assert bill_page(view, "en").bars[5].height_permille is None


def test_a_line_can_be_followed_by_a_person(view: BillView) -> None:
    rows = {row.what: row for row in bill_page(view, "en").rows}
    energy = rows["Energy"]
    assert energy.how[0].replace("\N{NO-BREAK SPACE}", " ") == "33.400 kWh × ₹ 7.00 per kWh"
    assert energy.how[1].replace("\N{NO-BREAK SPACE}", " ") == (
        "Meter 5,000.000 kWh on 1 Nov 2026, 00:00, 5,033.400 kWh on 7 Nov 2026, 23:00"
    )
    assert energy.amount.replace("\N{NO-BREAK SPACE}", " ") == "−₹ 233.80"
    assert rows["Tax on energy"].how[0].replace("\N{NO-BREAK SPACE}", " ") == "5 % of ₹ 233.80"
    assert rows["Fixed charge"].how[0].replace("\N{NO-BREAK SPACE}", " ") == "7 days × ₹ 2.50"


def test_the_stored_document_is_the_bill(view: BillView) -> None:
    assert from_json(to_json(view.bill)) == view.bill


def test_the_next_statement_begins_where_this_one_ends(town: Payday, view: BillView) -> None:
    town.wait(DAY_MS)
    town.read(0, OPENED_WH + DAYS * 4_800 + 5_000)
    town.round()
    end = START_MS + DAYS * DAY_MS
    with town.db.write() as conn:
        following = service.issue_bill(conn, town.account, end, end + DAY_MS, town.now_ms, "desk").bill
    assert following.opening_nano == view.bill.closing_nano
    assert following.journal_from_seq == view.bill.journal_to_seq + 1


def test_a_statement_is_refused_while_the_journal_is_behind(tmp_path: Path) -> None:
    town = Payday(tmp_path)
    town.read(0, OPENED_WH)
    town.round()
    town.now_ms += 2 * DAY_MS
    with town.db.write() as conn, pytest.raises(RefusedCommand, match="journal_behind"):
        service.issue_bill(conn, town.account, START_MS, START_MS + DAY_MS, town.now_ms, "desk")
    town.close()


def fields_of(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_languages_say_the_same_things(language: str) -> None:
    assert TEXTS[language].keys() == TEXTS["en"].keys()
    for name, text in TEXTS["en"].items():
        assert fields_of(TEXTS[language][name]) == fields_of(text), name


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_web_page_shows_every_line(view: BillView, language: str) -> None:
    folder = Path(billing_package.__path__[0]) / "templates"
    jinja = Environment(loader=FileSystemLoader(folder), undefined=StrictUndefined, autoescape=True)
    page = service.render_context(view, language)
    html = jinja.get_template("bill.html").render(page=page)
    for row in (page.first, *page.rows, page.total):
        assert row.what in html
        assert row.amount in html
    assert html.count('class="bill-bar"') == DAYS - 1
    assert html.count('class="bill-bar-missing"') == 1
    assert f'lang="{language}"' in html


def test_a_name_can_not_break_out_of_the_page(view: BillView) -> None:
    folder = Path(billing_package.__path__[0]) / "templates"
    jinja = Environment(loader=FileSystemLoader(folder), undefined=StrictUndefined, autoescape=True)
    page = bill_page(view, "en")
    assert "<script>" not in jinja.get_template("bill.html").render(page=page.__class__(
        page.language, "<script>", *[getattr(page, n) for n in page.__slots__[2:]]))  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pdf_is_made_and_is_the_same_each_time(view: BillView, language: str) -> None:
    first, again = service.render_pdf(view, language), service.render_pdf(view, language)
    assert first.startswith(b"%PDF-")
    assert first == again
    assert len(first) < 200_000


def test_without_fonts_the_bill_is_still_printed(view: BillView) -> None:
    none = Fonts(None, None)
    assert not can_print("hi", none)
    assert pdf_of(bill_page(view, "es"), none).startswith(b"%PDF-")
    assert find_fonts((Path("/nowhere"),)) == none


NUMBERS = (
    ("en", 1_234_567_890_000_000, "₹ 12,34,567.89"), ("es", 1_234_500_000_000, "1234,50 ₹"),
    ("es", 1_234_567_890_000_000, "1.234.567,89 ₹"),
    ("hi", 1_234_567_890_000_000, "₹ 12,34,567.89"), ("es", -1_500_000_000, "−1,50 ₹"),
)  # fmt: skip


@pytest.mark.parametrize(("language", "amount", "shown"), NUMBERS)
def test_amounts_are_written_as_people_write_them(language: str, amount: int, shown: str) -> None:
    assert formats.money(amount, "INR", language).replace("\N{NO-BREAK SPACE}", " ") == shown


def test_prices_keep_the_decimals_they_need() -> None:
    assert formats.price(275_000_000, "EUR", "en").replace("\N{NO-BREAK SPACE}", " ") == "€ 0.275"
    assert formats.price(7_000_000_000, "EUR", "en").replace("\N{NO-BREAK SPACE}", " ") == "€ 7.00"
    assert formats.percent(75_000, "es").replace("\N{NO-BREAK SPACE}", " ") == "7,5 %"
