"""A bill as words and bars, ready to be laid out: the same `BillPage` makes the web page and the PDF.

What a line says of itself is in `line_words.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from gridtally_cloud.billing import formats as f
from gridtally_cloud.billing.line_words import LineWords
from gridtally_cloud.billing.model import ADDED_KINDS, CHARGE_KINDS, MONEY_KINDS, BillKind, BillState, BillView, Line, LineKind, Turn
from gridtally_cloud.billing.texts import TEXTS
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.records import dataclass

CHARGED_KINDS = CHARGE_KINDS | ADDED_KINDS | {LineKind.ROUNDING}
"""What the box of the charges counts, so that the boxes add up as the column does."""
SETTLED_STATES = frozenset({BillState.PAID, BillState.CARRIED, BillState.CANCELLED})
"""Nobody has to pay such a bill: what its box said when it was issued would mislead."""


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


class _Writer(LineWords):
    """With everything around the lines."""

    __slots__ = ()

    @property
    def is_statement(self) -> bool:
        return self.bill.kind is BillKind.STATEMENT

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

    def heading(self) -> tuple[tuple[str, str], ...]:
        p = self.bill.party
        period = f"{self.day(self.bill.from_ms)} – {self.day(self.bill.to_ms - 1)}"
        pairs = (("customer", p.customer), ("address", p.address), ("account", str(p.account_no)), ("meter", p.meter_serial),
                 ("tariff", p.tariff_name), ("period", period), ("number", self.view.bill_no),
                 ("issued", self.day(self.view.issued_at_ms)))  # fmt: skip
        return tuple((self.t(name), value) for name, value in pairs if value)

    def boxes(self) -> tuple[Box, ...]:
        b = self.bill
        money_in = self.money_in()
        charges = sum(line.shown_nano for line in b.lines if line.kind in CHARGED_KINDS)
        days = max(1, (b.to_ms - b.from_ms + MS_PER_DAY // 2) // MS_PER_DAY)
        used = Box(self.t("box.used"), f.energy(b.used_wh, self.language),
                   self.t("box.per_day", energy=f.energy(b.used_wh // days, self.language)))  # fmt: skip
        if self.is_statement:
            return (
                Box(self.t("box.opening"), self.money(b.opening_shown_nano)), Box(self.t("box.topups"), self.money(money_in)),
                Box(self.t("box.charges"), self.money(charges)),
                Box(self.t("box.closing"), self.money(b.closing_shown_nano), strong=True), used,
            )  # fmt: skip
        return (
            Box(self.t("box.before"), self.money(b.opening_shown_nano)), Box(self.t("box.payments"), self.money(money_in)),
            Box(self.t("box.new"), self.money(charges), self.taken_back()),
            Box(self.t("box.due"), self.money(b.closing_shown_nano), self.due_note(), strong=True), used,
        )  # fmt: skip

    def money_in(self) -> int:
        return sum(line.shown_nano for line in self.bill.lines if line.kind in MONEY_KINDS)

    @property
    def is_credit(self) -> bool:
        """Whether it gives more than it charges: nobody has paid it, and what was open before is to be paid all the same."""
        return self.bill.closing_shown_nano - self.bill.opening_shown_nano - self.money_in() < 0

    def due_note(self) -> str:
        """Until when it is to be paid, or why it is not."""
        if self.view.state in SETTLED_STATES and not (self.is_credit and self.view.state is BillState.PAID):
            return self.t(f"box.{self.view.state.value}")
        if self.bill.closing_shown_nano <= 0:
            return self.t("box.credit") if self.bill.closing_shown_nano else ""
        return self.due_by(self.view.due_at_ms) if self.view.due_at_ms else ""

    def due_by(self, due_at_ms: int) -> str:
        """With an arrangement what until then, and the rest by instalments."""
        later_nano = sum(part.amount_nano for part in self.bill.arranged.parts if part.day_ms > due_at_ms) if self.bill.arranged else 0
        day, now_nano = self.day(due_at_ms), max(0, self.bill.closing_shown_nano - later_nano)
        return self.t("box.due_arranged", day=day, now=self.money(now_nano)) if later_nano else self.t("box.due_by", day=day)

    def turned(self, turn: Turn) -> str:
        """Where the register went back, to be worked out again."""
        why = self.t(f"note.turn_{turn.how}") if turn.end_wh else ""
        numbers = {"before": turn.before_wh, "after": turn.after_wh, "used": turn.used_wh, "end": turn.end_wh}
        said = {name: f.energy(wh, self.language) for name, wh in numbers.items()}
        return self.t("note.turn_rolled" if turn.end_wh else "note.turn_set_back", before_at=self.moment(turn.before_ms),
                      after_at=self.moment(turn.at_ms), why=why, **said)  # fmt: skip

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
        return f"{f.iso_day(day, self.language)}: {self.use(used_wh)}"

    def chart_alt(self) -> str:
        known = [d for d in self.bill.days if d.used_wh is not None]
        if not known:
            return self.t("chart.missing")
        highest = max(known, key=lambda d: d.used_wh or 0)
        return self.t("chart.alt", energy=f.energy(highest.used_wh or 0, self.language),
                      day=f.iso_day(highest.day, self.language))  # fmt: skip

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
            notes.append(self.t("note.credit" if self.is_credit else "note.paid"))
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
            if b.last.estimated and not b.tail:
                yield self.t("note.estimated")
        yield from map(self.turned, b.turns)
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
