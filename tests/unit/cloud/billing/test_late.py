"""Late payment: days x rate of what was open, against a slow oracle; charged once a month, shown on the next bill, taken back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from gridtally_cloud.billing import late_cli, late_run, service
from gridtally_cloud.billing.claims import Books, Claim, rests
from gridtally_cloud.billing.late import CAP, MINIMUM, Overdue, Piece, late_pieces
from gridtally_cloud.billing.model import BillState, BillView, LineKind
from gridtally_cloud.billing.page import bill_page
from gridtally_cloud.billing.receivables import due_of_bills
from gridtally_cloud.billing.rules import Dated, Rule, RuleKind, in_force, rule_of
from gridtally_cloud.billing.tables import receivable
from gridtally_cloud.billing.texts import TEXTS
from gridtally_cloud.customers.audit import audit_rows
from gridtally_cloud.store.days import midnight_ms
from gridtally_shared.errors import ConfigError, GridtallyError, RefusedCommand
from gridtally_shared.money import nano
from gridtally_shared.tariff.terms import Places, Rounding
from support.payday import DAY_MS, HOUR_MS, OPENED_WH, START_MS, Payday
from support.typed import typed

ZONE = "Asia/Kolkata"
NOVEMBER = range(20_758, 20_788)  # 2026-11-01 to 2026-11-30
LATE = Rule(RuleKind.LATE, "INR", nano("1.5"), "month")
RULE = {"kind": "late_payment", "currency": "INR", "percent": "1.5", "per": "month", "grace_days": 5}


def dated(rule: Rule, from_day: int = 0, number: int = 1) -> Dated:
    return Dated(number, "", from_day, rule)


def pieces(books: Books, bill: Overdue, *rules: Dated, places: Places | None = None) -> tuple[Piece, ...]:
    return late_pieces(books, (bill,), NOVEMBER, rules, ZONE, places)


# ---- pure -----------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 10**15), st.lists(st.tuples(st.integers(-3, 40), st.integers(1, 10**15)), max_size=4), st.integers(-10, 35),
    st.integers(0, 9), st.integers(1, 10**11), st.sampled_from(["month", "day"]), st.integers(-5, 40),
)  # fmt: skip
def test_each_day_costs_its_share_of_what_was_open_when_it_began(
    amount: int, paid: list[tuple[int, int]], due: int, grace: int, percent: int, per: str, second_from: int
) -> None:
    first, second = Rule(RuleKind.LATE, "INR", percent, per, grace), Rule(RuleKind.LATE, "INR", percent // 2 + 1, "day", 0)
    noon = DAY_MS // 2
    moves = tuple((midnight_ms(NOVEMBER.start + day, ZONE) + noon, -x) for day, x in paid)
    books = Books((Claim("B-1", 0, amount),), moves)
    found = pieces(books, Overdue("B-1", NOVEMBER.start + due, amount), dated(first), dated(second, NOVEMBER.start + second_from, 2))
    exact = Fraction(0)
    for day in NOVEMBER:  # the slow way: every day by itself
        rule = second if day >= NOVEMBER.start + second_from else first
        still = max(0, amount - sum(x for on, x in paid if NOVEMBER.start + on < day))
        if day > NOVEMBER.start + due + rule.grace_days:
            exact += Fraction(still * rule.percent, 10**11 * (30 if rule.per == "month" else 1))
    charged = sum(piece.amount_nano for piece in found)
    assert charged <= exact < charged + 40
    days = [day for piece in found for day in range(piece.first_day, piece.until_day)]
    assert len(days) == len(set(days)), "no day twice"


BILL = Overdue("B-1", NOVEMBER.start - 1, nano("1000"))
OWED = Books((Claim("B-1", 0, nano("1000")),))


def test_minimum_and_cap_make_the_amount_and_say_so() -> None:
    assert [p.amount_nano for p in pieces(OWED, BILL, dated(LATE))] == [nano("15")]
    (least,) = pieces(OWED, BILL, dated(replace(LATE, minimum_nano=nano("20"))))
    assert (least.amount_nano, least.bound) == (nano("20"), MINIMUM)
    capped = dated(replace(LATE, cap_percent=nano("2")))
    (most,) = pieces(OWED, replace(BILL, so_far_nano=nano("12")), capped)
    assert (most.amount_nano, most.bound) == (nano("8"), CAP)
    assert pieces(OWED, replace(BILL, so_far_nano=nano("20")), capped) == ()
    assert pieces(OWED, BILL, dated(replace(LATE, percent=0, minimum_nano=nano("5")))) == (), "a rate of nothing ends a rule"


def test_a_surcharge_bears_none_unless_the_rule_says_so() -> None:
    books = Books((*OWED.claims, Claim("B-1", 0, nano("100"), is_late=True)))
    assert [p.base_nano for p in pieces(books, BILL, dated(LATE))] == [nano("1000")]
    assert [p.base_nano for p in pieces(books, BILL, dated(replace(LATE, on_surcharge=True)))] == [nano("1100")]
    paid = replace(books, moves=((0, -nano("1000")),))
    assert pieces(paid, BILL, dated(LATE)) == (), "payments pay a bill's own charges first"
    assert rests(paid)["B-1"].late_nano == nano("100")


def test_it_is_rounded_as_the_tariff_rounds() -> None:
    third = replace(BILL, own_nano=1), Books((Claim("B-1", 0, nano("33.33")),))
    for mode, amount in ((Rounding.DOWN, "0.49"), (Rounding.UP, "0.5"), (Rounding.HALF_UP, "0.5")):
        (piece,) = pieces(third[1], third[0], dated(LATE), places=Places(2, mode, False))
        assert piece.amount_nano == nano(amount)


def test_a_credit_bill_pays_and_a_tariffs_own_rule_comes_first() -> None:
    books = Books((Claim("B-1", 0, nano("100")), Claim("B-2", 5, -nano("30"))))
    assert [rests(books)[no].own_nano for no in ("B-1", "B-2")] == [nano("70"), 0]
    assert rests(books, 5)["B-1"].own_nano == nano("100")
    own = Dated(2, "home", 10, LATE)
    assert [in_force((dated(LATE), own), day) for day in (9, 10)] == [dated(LATE), own]
    assert in_force((own,), 9) is None


WRONG = (
    ("no json", "{", "no JSON"),
    ("another kind", json.dumps(RULE | {"kind": "gift"}), "late_payment"),
    ("unknown field", json.dumps(RULE | {"graze": 1}), "grace_days"),
    ("no rate", json.dumps({k: v for k, v in RULE.items() if k != "percent"}), "decimal in quotes"),
    ("a float", json.dumps(RULE | {"percent": 1.5}), "decimal in quotes"),
    ("below zero", json.dumps(RULE | {"minimum": "-1"}), "minimum"),
    ("another time", json.dumps(RULE | {"per": "week"}), "month or day"),
    ("too much grace", json.dumps(RULE | {"grace_days": 4000}), "365"),
    ("a flag in words", json.dumps(RULE | {"on_surcharge": "no"}), "true or false"),
)


@pytest.mark.parametrize(("text", "says"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_a_rule_that_is_not_understood_names_the_field(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        rule_of(text)


# ---- the books ------------------------------------------------------------------------------------------------


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Payday]:
    """A bill of 813.75 for November, to be paid by 15 December; time stands at 1 December."""
    town = Payday(tmp_path)
    town.read(2, OPENED_WH)
    town.now_ms += 30 * DAY_MS
    town.read(2, OPENED_WH + 100_000)
    yield town
    town.close()


def rule(town: Payday, **more: object) -> None:
    path = town.folder / "rule.json"
    path.write_text(json.dumps(RULE | more))
    assert typed(town, late_cli, "late", "rule", str(path), "--from", "2026-04-01") == 0


def bill(town: Payday, first: int, until: int) -> BillView:
    with town.db.write() as conn:
        return service.issue_bill(conn, town.postpaid_account, START_MS + first * DAY_MS, START_MS + until * DAY_MS, town.now_ms, "desk")


def at(town: Payday, day: int) -> None:
    """Midday of a day after the first of November."""
    town.now_ms = START_MS + day * DAY_MS + 12 * HOUR_MS


def charged(town: Payday, month: str = "2026-12") -> list[int]:
    return [charge.amount_nano for charge in late_run.run(town.db, town.now_ms, "desk", month)]


def owed(town: Payday) -> int:
    with town.db.read() as conn:
        return service.outstanding_nano(conn, town.postpaid_account)


def test_a_late_bill_is_charged_once_and_the_next_bill_says_what_for(town: Payday, capsys: pytest.CaptureFixture[str]) -> None:
    rule(town)
    first = bill(town, 0, 30)
    at(town, 54)  # 25 December: 15 and five days of grace are over
    town.pay("313.75", town.postpaid_account)
    at(town, 61)
    town.read(2, OPENED_WH + 150_000)
    # 21 to 25 December 813.75, 26 to 31 December 500.00
    parts = [nano("813.75") * 15 * 5 // 31_000, nano("500") * 15 * 6 // 31_000]
    assert charged(town) == parts
    assert charged(town) == [], "once, however often it runs"
    assert owed(town) == nano("500") + sum(parts)
    second = bill(town, 30, 61)
    late = [line for line in second.bill.lines if line.kind is LineKind.LATE]
    assert [(line.amount_nano, line.quantity, line.base_nano, line.reference) for line in late] == [
        (parts[0], 5, nano("813.75"), first.bill_no), (parts[1], 6, nano("500"), first.bill_no)]  # fmt: skip
    assert second.bill.closing_nano == owed(town)
    with town.db.read() as conn:
        due = due_of_bills(conn, town.postpaid_account)
        rows = conn.execute(select(receivable).where(receivable.c.kind == "late")).all()
        assert sum(d.rest_nano for d in due.values()) == owed(town), "paying every bill pays everything"
        assert [row.action for row in audit_rows(conn, limit=10)].count("late.charged") == 2
    assert {(r.debit_account, r.credit_account, r.bill_no) for r in rows} == {("receivable", "surcharge", first.bill_no)}
    for language in TEXTS:
        row = next(row for row in bill_page(second, language).rows if first.bill_no in row.what)
        assert "5" in row.how[0]
        assert ("1,5" if language == "es" else "1.5") in row.how[0]
        assert ("813,75" if language == "es" else "813.75") in row.how[0]
    capsys.readouterr()
    assert typed(town, late_cli, "late", "list", str(town.postpaid_account)) == 0
    assert "5.90625" not in capsys.readouterr().out.split("\n")[-2]
    town.pay("2000", town.postpaid_account)
    with town.db.read() as conn:
        assert service.bill(conn, second.bill_no).state is BillState.PAID


def test_paid_in_time_or_within_the_grace_costs_nothing(town: Payday) -> None:
    rule(town)
    bill(town, 0, 30)
    at(town, 49)  # 20 December
    town.pay("813.75", town.postpaid_account)
    at(town, 62)
    assert charged(town) == []


def test_without_a_rule_nothing_is_charged(town: Payday) -> None:
    bill(town, 0, 30)
    at(town, 62)
    assert charged(town) == []
    with town.db.write() as conn, pytest.raises(RefusedCommand, match="unknown_account"):
        late_run.charge_month(conn, 4711, town.now_ms, "desk")


def test_a_run_that_was_killed_has_charged_nothing_and_the_next_one_all(town: Payday) -> None:
    rule(town)
    bill(town, 0, 30)
    at(town, 62)

    def killed() -> None:
        with town.db.write() as conn:
            assert late_run.charge_month(conn, town.postpaid_account, town.now_ms, "desk", "2026-12")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    assert owed(town) == nano("813.75")
    assert charged(town) == [nano("813.75") * 15 * 11 // 31_000]
    assert charged(town) == []
    at(town, 93)
    assert charged(town, "2027-01") == [nano("813.75") * 15 // 1000], "the surcharge bears none"


def test_a_charge_is_waived_once_with_a_reason(town: Payday, capsys: pytest.CaptureFixture[str]) -> None:
    rule(town, minimum="100")
    bill(town, 0, 30)
    at(town, 62)
    assert charged(town) == [nano("100")]
    assert typed(town, late_cli, "late", "waive", "1", "--note", "the bill came late") == 0
    assert owed(town) == nano("813.75")
    for words, says in ((("1", "--note", "again"), "taken back already"), (("9", "--note", "x"), "no late payment charge")):
        with pytest.raises(RefusedCommand, match=says):
            typed(town, late_cli, "late", "waive", *words)
    town.read(2, OPENED_WH + 150_000)
    shown = {line.kind: line for line in bill(town, 30, 61).bill.lines}
    assert shown[LineKind.LATE].amount_nano == -shown[LineKind.LATE_BACK].amount_nano == nano("100")
    capsys.readouterr()
    assert typed(town, late_cli, "late", "run", "--month", "2026-12") == 0
    assert capsys.readouterr().out.startswith("0 charges")


REFUSED = (
    (("run", "--month", "2027-09"), "not over"), (("run", "--month", "May"), "2026-11"), (("run", "--account", "4711"), "unknown_account"),
    (("rule", "{rule}", "--from", "April"), "2026-04-01"), (("rule", "{rule}", "--from", "2026-05-01", "--tariff", "no"), "no tariff"),
    (("rule", "{rule}", "--from", "2026-04-01"), "begin later"), (("rule", "/nowhere", "--from", "2026-04-01"), "can be read"),
)  # fmt: skip


def test_what_can_not_be_done_is_refused_in_words(town: Payday, capsys: pytest.CaptureFixture[str]) -> None:
    rule(town)
    for words, says in REFUSED:
        with pytest.raises(GridtallyError, match=says):
            typed(town, late_cli, "late", *(word.format(rule=town.folder / "rule.json") for word in words))
    capsys.readouterr()
    assert typed(town, late_cli, "late", "rules") == 0
    assert capsys.readouterr().out == "rule 1: all tariffs in INR from 2026-04-01: 1.5 % a month, 5 days of grace\n"
