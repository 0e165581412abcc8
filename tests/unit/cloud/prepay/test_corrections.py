"""Past charges corrected by a signed difference: from the command line to the journal, and what people read of it (safety.md 16)."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update

from gridtally_cloud.billing.model import BillView, LineKind
from gridtally_cloud.billing.page import bill_page
from gridtally_cloud.billing.service import issue_bill
from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.prepay import correction_cli
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.replay_view import replayed
from gridtally_cloud.store.tables import journal_entry
from gridtally_cloud.web.i18n import Language
from gridtally_cloud.web.replay import sentence
from gridtally_edge.prepay.book import entries_of
from gridtally_edge.prepay.rows import MessageRow, some
from gridtally_shared.clock import ManualClock
from gridtally_shared.contract.codec import decode
from gridtally_shared.errors import ConfigError, RefusedCommand
from gridtally_shared.instruments.details import ChargeCorrection
from gridtally_shared.ledger.entries import Kind, LedgerEntry, Pool, Posting
from gridtally_shared.messages.words import Words
from gridtally_shared.money import nano
from support.payday import DAY_MS, OPENED_WH, START_MS, Payday

WEEK = ("--from", "2026-11-01", "--to", "2026-11-08")


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    town = Payday(tmp_path)
    town.read(0, OPENED_WH)
    town.pay("100")
    town.round()
    yield town
    town.close()


def correct(town: Payday, amount: str, account_no: int = 0, why: str = "reading", days: tuple[str, ...] = WEEK) -> int:
    """As somebody at the desk would type it."""
    parser = argparse.ArgumentParser()
    desk = Desk(town.db, town.payments, ManualClock(town.now_ms))
    correction_cli.add_parser(parser.add_subparsers(), lambda options: nullcontext(desk))
    options = parser.parse_args(["correct", str(account_no or town.account), amount, *days, "--why", why, "--note", "restated week"])
    code: int = options.run(options)
    return code


def entry_of(town: Payday) -> LedgerEntry:
    (entry,) = [e for e in entries_of(town.money, town.account, 1) if e.kind == Kind.CORRECTION]
    return entry


def books(town: Payday) -> list[str]:
    with town.db.read() as conn:
        return [m.text for m in prepay.reconcile(conn, town.account)]


def told(town: Payday) -> list[str]:
    return [m.code for m in some(town.money, MessageRow, "WHERE account_no = ? ORDER BY rowid", town.account)]


def test_what_was_charged_too_much_is_given_back(town: Payday, capsys: pytest.CaptureFixture[str]) -> None:
    before = town.balance().balance_nano
    assert correct(town, "12.50") == 0
    assert "correction 2 of account 1 is signed: ₹ 12.50 is given back" in capsys.readouterr().out.replace("\u00a0", " ")
    town.round()
    assert town.balance().balance_nano == before + nano("12.50")
    assert town.balance().debt_nano == 0
    assert told(town)[-1] == "CORRECTED"
    assert books(town) == []


def test_what_was_charged_too_little_is_a_debt_collected_later_and_nobody_is_cut(town: Payday) -> None:
    """More than the whole balance: it stays as it is, no decision about the supply is taken."""
    before = town.balance().balance_nano
    correct(town, "-250")
    assert town.balance().pending_nano == 0, "a debt on its way is no money on its way"
    town.round()
    town.wait(DAY_MS)
    town.carry_up()
    assert town.balance().balance_nano <= before
    (entry,) = (e for e in entries_of(town.money, town.account, 1) if e.kind == Kind.CORRECTION)
    assert {x.pool: x.amount_nano for x in entry.postings} == {Pool.DEBT_PAYMENT: -nano("250"), Pool.ENERGY: nano("250")}
    assert [e for e in entries_of(town.money, town.account, 1) if e.kind in (Kind.DECISION, Kind.SWITCH)] == []
    assert town.balance().debt_nano == nano("250")
    assert "CORRECTED_DEBT" in told(town)
    assert books(town) == []


def test_it_is_used_once_and_names_what_it_corrects(town: Payday) -> None:
    correct(town, "-3")
    town.round()
    town.round()
    town.round()
    found = decode(ChargeCorrection, entry_of(town).detail)
    assert (found.why, found.note) == ("reading", "restated week")
    assert (found.from_ms, found.to_ms) == (1_793_491_200_000, 1_794_096_000_000)
    assert town.balance().debt_nano == nano("3")


def test_what_can_not_be_read_or_makes_no_sense_is_refused_and_nothing_is_signed(town: Payday) -> None:
    same_day = ("--from", "2026-11-08", "--to", "2026-11-08")
    with pytest.raises(ConfigError, match="amount"):
        correct(town, "much")
    with pytest.raises(ConfigError, match="write a day"):
        correct(town, "1", days=("--from", "soon", "--to", "2026-11-08"))
    with pytest.raises(RefusedCommand, match="other than zero"):
        correct(town, "0")
    with pytest.raises(RefusedCommand, match="ends after it begins"):
        correct(town, "1", days=same_day)
    with pytest.raises(RefusedCommand, match="no account 999"):
        correct(town, "1", 999)
    with pytest.raises(RefusedCommand, match="correct its bill"):
        correct(town, "1", town.postpaid_account)
    with pytest.raises(SystemExit):
        correct(town, "1", why="mood")
    assert len(town.instruments()) == 1


def test_an_edge_that_corrects_by_another_amount_is_found(town: Payday) -> None:
    """The mirror is rewritten by hand as a forger would: an entry that gives back more than was signed."""
    correct(town, "12.50")
    town.round()
    entry = entry_of(town)
    forged = replace(entry, postings=tuple(Posting(x.pool, 2 * x.amount_nano) for x in entry.postings))
    with town.db.write() as conn:
        mine = (journal_entry.c.account_no == town.account, journal_entry.c.seq == entry.seq)
        conn.execute(update(journal_entry).where(*mine).values(body=forged.to_bytes()))
    assert any("corrected by another amount than instrument 1/2" in text for text in books(town))


# ---- what people read of it


SAID = {
    "en": ("too little: now owed", "too much: given back", "owed as a debt", "12.50 given back", "Earlier charges corrected"),
    "es": ("de menos", "de más: devueltos", "quedan como deuda", "devueltos", "Corrección de cargos anteriores"),
    "hi": ("कम लिया गया", "अधिक लिया गया", "अब बकाया है", "लौटाया गया", "पहले के शुल्क में सुधार"),
}


def test_message_replay_and_statement_say_it_in_words(town: Payday) -> None:
    correct(town, "12.50")
    correct(town, "-7.25")
    town.round()
    stored = some(town.money, MessageRow, "WHERE code LIKE 'CORRECTED%' ORDER BY rowid")
    with town.db.read() as conn:
        lines = [x for x in replayed(conn, town.account).lines if x.kind == "correction"]
    view = statement_of(town)
    for language, (low, high, debt, back, line) in SAID.items():
        texts = [Words(language, "INR").message(m.code, json.loads(m.params)) for m in stored]
        said = [sentence(x, Language(language, ZoneInfo("Asia/Kolkata")), "INR") for x in lines]
        (row,) = [row for row in bill_page(view, language).rows if row.what == line]
        assert (high in texts[0], low in texts[1], back in said[0], debt in said[1]) == (True, True, True, True)
        assert all("7.25" in text.replace(",", ".") for text in (texts[1], said[1], row.how[0]))


def statement_of(town: Payday) -> BillView:
    """The statement of the first two days."""
    town.wait(2 * DAY_MS)
    town.read(0, OPENED_WH + 1_000)
    town.carry_up()
    with town.db.write() as conn:
        view = issue_bill(conn, town.account, START_MS, START_MS + 2 * DAY_MS, town.now_ms, "desk")
    kinds = [line.kind for line in view.bill.lines]
    assert (kinds.count(LineKind.CORRECTION), kinds.count(LineKind.CORRECTION_DEBT)) == (1, 1)
    assert view.bill.opening_nano + sum(line.amount_nano for line in view.bill.lines) == view.bill.closing_nano
    return view
