"""A bill as words and bars, ready to be laid out: the same `BillPage` makes the web page and the PDF.

Every line says how its amount comes about: quantity x price, the readings at both ends, the base and rate of a tax.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gridtally_cloud.billing import formats as f
from gridtally_cloud.billing.model import (
    ADDED_KINDS,
    CHARGE_KINDS,
    MONEY_KINDS,
    Bill,
    BillKind,
    BillState,
    BillView,
    Correction,
    Line,
    LineKind,
    Reading,
)
from gridtally_cloud.billing.rounding import to_coin
from gridtally_cloud.billing.texts import TEXTS, text
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.messages.charge_words import PER_THOUSAND, counted, how, item_name
from gridtally_shared.money import NANO
from gridtally_shared.records import dataclass

MOST_DAYS = 6
NUMBERED = frozenset({LineKind.CANCELLED, LineKind.LATE, LineKind.LATE_BACK, LineKind.ASSESSMENT, LineKind.ASSESSMENT_BACK,
                      LineKind.EVENT})  # fmt: skip
"""Lines that name another bill, an assessment or an event."""


@dataclass(frozen=True, slots=True)
class Box:
    """One figure of the summary; `strong` is the one to look at first."""

    label: str
    value: str
    note: str = ""
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """One day of the chart: height in thousandths of the highest day; None draws a hatched gap."""

    label: str
    tip: str
    height_permille: int | None


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    how: tuple[str, ...]
    amount: str


@dataclass(frozen=True, slots=True)
class BillPage:
    language: str
    title: str
    bill_no: str
    heading: tuple[tuple[str, str], ...]
    boxes: tuple[Box, ...]
    chart_title: str
    chart_alt: str
    bars: tuple[Bar, ...]
    columns: tuple[str, str, str]
    first: Row
    rows: tuple[Row, ...]
    total: Row
    notes: tuple[str, ...]


def bill_page(view: BillView, language: str = "") -> BillPage:
    """Words of a bill in a language (its own where none or an unknown one is given)."""
    language = language if language in TEXTS else view.bill.party.language if view.bill.party.language in TEXTS else "en"
    return _Writer(view, language).page()


@dataclass(frozen=True, slots=True)
class _Writer:
    view: BillView
    language: str

    @property
    def bill(self) -> Bill:
        return self.view.bill

    @property
    def is_statement(self) -> bool:
        return self.bill.kind is BillKind.STATEMENT

    def t(self, name: str, **fields: str) -> str:
        return text(self.language, name, **fields)

    def money(self, amount_nano: int) -> str:
        currency = self.bill.party.currency
        return f.money(to_coin(amount_nano, currency), currency, self.language)

    def day(self, at_ms: int) -> str:
        return f.day(at_ms, self.bill.party.zone, self.language)

    def moment(self, at_ms: int) -> str:
        return f.moment(at_ms, self.bill.party.zone, self.language)

    def page(self) -> BillPage:
        first, total = ("opening", "closing") if self.is_statement else ("before", "due")
        title = "corrected" if self.bill.corrects else "estimated" if self.bill.tail else self.bill.kind.value
        opens_ms = self.view.issued_at_ms if self.bill.corrects else self.bill.from_ms
        return BillPage(
            self.language, self.t(f"title.{title}"), self.view.bill_no, self.heading(), self.boxes(),
            self.t("chart.title"), self.chart_alt(), self.bars(),
            (self.t("col.what"), self.t("col.how"), self.t("col.amount")),
            Row(self.t(f"total.{first}"), (self.moment(opens_ms),), self.money(self.bill.opening_shown_nano)),
            tuple(self.row(line) for line in self.bill.lines),
            Row(self.t(f"total.{total}"), (), self.money(self.bill.closing_shown_nano)), self.notes(),
        )  # fmt: skip

    def row(self, line: Line) -> Row:
        return Row(self.what(line), self.how(line), self.money(line.shown_nano))

    def what(self, line: Line) -> str:
        """An item of the tariff goes by its name there, with period and step."""
        if line.kind in NUMBERED:
            return self.t(f"line.{line.kind.value}", number=line.reference)
        return self.named(line.kind, line.reference)

    def named(self, kind: LineKind, reference: str) -> str:
        if kind not in CHARGE_KINDS or not reference:
            return self.t(f"line.{kind.value}")
        code, *rest = reference.split(" ")
        slab = int(rest.pop()) if rest and rest[-1].isdigit() else 0
        return item_name(code, " ".join(rest), slab, self.language)

    def heading(self) -> tuple[tuple[str, str], ...]:
        p = self.bill.party
        period = f"{self.day(self.bill.from_ms)} – {self.day(self.bill.to_ms - 1)}"
        pairs = (("customer", p.customer), ("address", p.address), ("account", str(p.account_no)), ("meter", p.meter_serial),
                 ("tariff", p.tariff_name), ("period", period), ("number", self.view.bill_no),
                 ("issued", self.day(self.view.issued_at_ms)))  # fmt: skip
        return tuple((self.t(name), value) for name, value in pairs if value)

    def boxes(self) -> tuple[Box, ...]:
        b = self.bill
        money_in = sum(line.shown_nano for line in b.lines if line.kind in MONEY_KINDS)
        charges = sum(line.shown_nano for line in b.lines if line.kind in CHARGE_KINDS | ADDED_KINDS)
        days = max(1, (b.to_ms - b.from_ms + MS_PER_DAY // 2) // MS_PER_DAY)
        used = Box(self.t("box.used"), f.energy(b.used_wh, self.language),
                   self.t("box.per_day", energy=f.energy(b.used_wh // days, self.language)))  # fmt: skip
        if self.is_statement:
            return (
                Box(self.t("box.opening"), self.money(b.opening_shown_nano)), Box(self.t("box.topups"), self.money(money_in)),
                Box(self.t("box.charges"), self.money(charges)),
                Box(self.t("box.closing"), self.money(b.closing_shown_nano), strong=True), used,
            )  # fmt: skip
        due_by = self.due_by(self.view.due_at_ms) if self.view.due_at_ms else ""
        return (
            Box(self.t("box.before"), self.money(b.opening_shown_nano)), Box(self.t("box.payments"), self.money(money_in)),
            Box(self.t("box.new"), self.money(charges), self.taken_back()),
            Box(self.t("box.due"), self.money(b.closing_shown_nano), due_by, strong=True), used,
        )  # fmt: skip

    def due_by(self, due_at_ms: int) -> str:
        """Until when; with an arrangement what until then, and the rest by instalments."""
        later_nano = sum(part.amount_nano for part in self.bill.arranged.parts if part.day_ms > due_at_ms) if self.bill.arranged else 0
        day, now_nano = self.day(due_at_ms), max(0, self.bill.closing_shown_nano - later_nano)
        return self.t("box.due_arranged", day=day, now=self.money(now_nano)) if later_nano else self.t("box.due_by", day=day)

    def arrangement(self) -> Iterator[str]:
        a = self.bill.arranged
        if a is not None and a.broken_ms is not None:
            yield self.t("note.arrangement_broken", rest=self.money(a.rest_nano), day=self.day(a.broken_ms))
        elif a is not None:
            parts = "; ".join(self.t("note.instalment", amount=self.money(part.amount_nano), day=self.day(part.day_ms)) for part in a.parts)
            yield self.t("note.arrangement", rest=self.money(a.rest_nano), parts=parts)

    def taken_back(self) -> str:
        why = self.bill.corrects
        return self.t("box.taken_back", amount=self.money(why.was_nano), number=why.bill_no) if why else ""

    def bars(self) -> tuple[Bar, ...]:
        highest = max((d.used_wh or 0 for d in self.bill.days), default=0) or 1
        return tuple(
            Bar(d.day[8:].lstrip("0"), self._tip(d.day, d.used_wh), None if d.used_wh is None else d.used_wh * 1000 // highest)
            for d in self.bill.days
        )

    def _tip(self, day: str, used_wh: int | None) -> str:
        return f"{day}: {self.use(used_wh)}"

    def chart_alt(self) -> str:
        known = [d for d in self.bill.days if d.used_wh is not None]
        if not known:
            return self.t("chart.missing")
        highest = max(known, key=lambda d: d.used_wh or 0)
        return self.t("chart.alt", energy=f.energy(highest.used_wh or 0, self.language), day=highest.day)

    def how(self, line: Line) -> tuple[str, ...]:
        return _HOW[line.kind](self, line)

    def how_energy(self, line: Line) -> tuple[str, ...]:
        quantity = f.energy(line.quantity, self.language)
        per_kwh = f.price(line.price_nano * 1000, self.bill.party.currency, self.language)
        priced = self.t("how.energy", quantity=quantity, price=per_kwh) if line.price_nano else self.t(
            "how.energy_plain", quantity=quantity)  # fmt: skip
        read = (self.readings(line.first, line.last),) if line.first and line.last else ()
        return (priced, *read)

    def readings(self, first: Reading, last: Reading) -> str:
        return self.t("how.readings", first=self.reading(first), first_at=self.moment(first.at_ms), last=self.reading(last),
                      last_at=self.moment(last.at_ms))  # fmt: skip

    def reading(self, reading: Reading) -> str:
        shown = f.energy(reading.register_wh, self.language)
        return f"{shown} {self.t('how.estimated')}" if reading.estimated else shown

    def how_fixed(self, line: Line) -> tuple[str, ...]:
        days = str(line.quantity)
        if not line.price_nano:
            return (self.t("how.fixed_plain", days=days), *self.priced(line))
        return (self.t("how.fixed", days=days, price=f.price(line.price_nano, self.bill.party.currency, self.language)),)

    def how_tax(self, line: Line) -> tuple[str, ...]:
        base = self.money(line.quantity)
        return (self.t("how.tax", rate=f.percent(line.rate_ppm, self.language), base=base) if line.rate_ppm
                else self.t("how.tax_plain", base=base),)  # fmt: skip

    def how_money(self, line: Line) -> tuple[str, ...]:
        at = self.moment(line.from_ms)
        return (self.t("how.money", at=at, reference=line.reference) if line.reference else self.t("how.money_plain", at=at),)

    def how_cancelled(self, line: Line) -> tuple[str, ...]:
        why = self.bill.corrects
        return tuple(self.differences(why)) if why else ()

    def differences(self, why: Correction) -> Iterator[str]:
        """Charges and days that are other ones than on the cancelled bill."""
        yield self.t("how.cancelled", was=self.money(why.was_nano), now=self.money(why.now_nano))
        for moved in why.lines:
            yield self.t("how.was_now", what=self.named(moved.kind, moved.reference), was=self.money(moved.was_nano),
                         now=self.money(moved.now_nano))  # fmt: skip
        for day in why.days[:MOST_DAYS]:
            yield self.t("how.was_now", what=day.day, was=self.use(day.was_wh), now=self.use(day.now_wh))
        if len(why.days) > MOST_DAYS:
            yield self.t("how.more_days", count=str(len(why.days) - MOST_DAYS))
        if why.note:
            yield self.t("how.why", note=why.note)

    def use(self, used_wh: int | None) -> str:
        return self.t("chart.missing") if used_wh is None else f.energy(used_wh, self.language)

    def how_debt(self, line: Line) -> tuple[str, ...]:
        return (self.t("how.debt", amount=self.money(line.quantity), at=self.moment(line.from_ms)),)

    def how_lent(self, line: Line) -> tuple[str, ...]:
        return (self.t("how.lent"),)

    def how_other(self, line: Line) -> tuple[str, ...]:
        return self.priced(line, self.counted(line))

    def priced(self, line: Line, quantity: str = "") -> tuple[str, ...]:
        """Quantity and price of an item that is no plain energy, day or tax; nothing on bills from before they were kept."""
        if not line.form:
            return ()
        rate = f.percent(line.rate, self.language) if line.per == "%" else f.price(
            line.rate * (1000 if line.per in PER_THOUSAND else 1), self.bill.party.currency, self.language)  # fmt: skip
        return (how(line.form, self.language, quantity, rate.removesuffix("%").rstrip(), line.per),)

    def counted(self, line: Line) -> str:
        if not line.quantity:
            return ""
        if line.unit == "money":
            return self.money(line.quantity)
        if line.unit in ("Wh", "VAh"):
            return f.energy(line.quantity, self.language, f"k{line.unit}")
        return counted(line.quantity, line.unit, self.language)

    def how_late(self, line: Line) -> tuple[str, ...]:
        """Days, rate and what was open; what bound the amount, where the three do not make it."""
        rate = f"{f.number(line.rate, 9, len(f'{line.rate % NANO:09d}'.rstrip('0')), self.language)}\N{NO-BREAK SPACE}%"
        made = self.t(f"how.late_{line.per}", days=str(line.quantity), first=self.day(line.from_ms), last=self.day(line.to_ms - 1),
                      rate=rate, base=self.money(line.base_nano))  # fmt: skip
        return (made, self.t(f"how.late_{line.form}")) if line.form else (made,)

    def how_late_back(self, line: Line) -> tuple[str, ...]:
        return (self.t("how.late_back", first=self.day(line.from_ms), last=self.day(line.to_ms - 1)),)

    def how_assessment(self, line: Line) -> tuple[str, ...]:
        """Wh, price and multiple; by which rule they were found."""
        times = f.number(line.rate_ppm, 6, max(1, len(f"{line.rate_ppm % 10**6:06d}".rstrip("0"))), self.language)
        priced = self.t("how.assessment", units=f.energy(line.quantity, self.language), first=self.day(line.from_ms), times=times,
                        last=self.day(line.to_ms - 1), price=f.price(line.rate, self.bill.party.currency, self.language))  # fmt: skip
        return (priced, self.t(f"how.assessment_{line.form}"))

    def how_rounding(self, line: Line) -> tuple[str, ...]:
        return (self.t("how.rounding"),)

    def notes(self) -> tuple[str, ...]:
        b, q = self.bill, self.bill.quality
        notes = [self.t("note.quality", measured=str(q.measured), estimated=str(q.estimated), missing=str(q.missing)), *self.doubts()]
        if self.view.state is BillState.CANCELLED:
            notes.append(self.t("note.cancelled", number=self.view.cancelled_by))
        elif self.is_statement:
            if b.journal_from_seq:
                notes.append(self.t("note.journal", first=str(b.journal_from_seq), last=str(b.journal_to_seq)))
            notes.append(self.t("note.exact", exact=f.price(b.closing_nano, b.party.currency, self.language)))
        elif self.view.state is BillState.PAID:
            notes.append(self.t("note.paid"))
        elif self.view.state is BillState.CARRIED:
            notes.append(self.t("note.carried"))
        elif self.view.state is BillState.PART_PAID:
            notes.append(self.t("note.part", due=self.money(self.view.due_nano)))
        return (*notes, self.t("note.rounding"))

    def doubts(self) -> Iterator[str]:
        """What a consumer should know of the data, of a deposit and of an arrangement, before paying."""
        b, q = self.bill, self.bill.quality
        counted = (("note.edited", q.edited), ("note.untrusted", q.untrusted))
        yield from (self.t(name, count=str(count)) for name, count in counted if count)
        if b.first and b.last:
            if not any(line.first for line in b.lines):
                yield self.readings(b.first, b.last)
            moved_wh = b.last.register_wh - b.first.register_wh
            if moved_wh != b.used_wh:
                yield self.t("note.register", moved=f.energy(moved_wh, self.language), used=f.energy(b.used_wh, self.language))
            if b.last.estimated:
                yield self.t("note.estimated")
        if b.tail:
            used, share = f.energy(b.tail.used_wh, self.language), f.percent(b.tail.permille(b.used_wh) * 1000, self.language)
            yield self.t(f"note.tail_{b.tail.method}", at=self.moment(b.tail.from_ms), used=used, share=share)
        yield from self.arrangement()
        if b.deposit:
            yield self.t("note.deposit", held=self.money(b.deposit.held_nano))
            if b.deposit.interest_nano:
                yield self.t("note.deposit_interest", interest=self.money(b.deposit.interest_nano))
        if b.corrects:
            yield self.t("note.replaces", number=b.corrects.bill_no)


_HOW: dict[LineKind, Callable[[_Writer, Line], tuple[str, ...]]] = {
    LineKind.TOP_UP: _Writer.how_money,
    LineKind.REFUND: _Writer.how_money,
    LineKind.PAYMENT: _Writer.how_money,
    LineKind.DEPOSIT: _Writer.how_money,
    LineKind.CORRECTION: _Writer.how_money,
    LineKind.CORRECTION_DEBT: _Writer.how_debt,
    LineKind.EMERGENCY: _Writer.how_lent,
    LineKind.CONVERSION: _Writer.how_money,
    LineKind.ARREARS: _Writer.how_money,
    LineKind.CANCELLED: _Writer.how_cancelled,
    LineKind.ENERGY: _Writer.how_energy,
    LineKind.FIXED: _Writer.how_fixed,
    LineKind.TAX_ENERGY: _Writer.how_tax,
    LineKind.TAX_FIXED: _Writer.how_tax,
    LineKind.ASSESSMENT: _Writer.how_assessment,
    LineKind.ASSESSMENT_BACK: _Writer.how_assessment,
    LineKind.EVENT: _Writer.how_money,
    LineKind.LATE: _Writer.how_late,
    LineKind.LATE_BACK: _Writer.how_late_back,
    LineKind.ROUNDING: _Writer.how_rounding,
    LineKind.OTHER: _Writer.how_other,
}
