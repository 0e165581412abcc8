"""The lines of a bill in words: what each one is, and how its amount comes about.

* quantity x price, the readings at both ends, the base and rate of a tax: whoever reads it can work the amount out again.
* How a kind of line is explained is a table.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable, Iterator

from gridtally_cloud.billing import formats as f
from gridtally_cloud.billing.model import CHARGE_KINDS, Bill, BillView, Correction, Line, LineKind, Reading
from gridtally_cloud.billing.periods import local
from gridtally_cloud.billing.rounding import to_coin
from gridtally_cloud.billing.texts import text
from gridtally_shared.messages.charge_words import PER_THOUSAND, counted, how, item_name
from gridtally_shared.records import dataclass

MOST_DAYS = 6
NUMBERED = frozenset({LineKind.CANCELLED, LineKind.LATE, LineKind.LATE_BACK, LineKind.ASSESSMENT, LineKind.ASSESSMENT_BACK,
                      LineKind.EVENT})  # fmt: skip
"""Lines that name another bill, an assessment or an event."""


@dataclass(frozen=True, slots=True)
class LineWords:
    """The words of one bill in one language."""

    view: BillView
    language: str

    @property
    def bill(self) -> Bill:
        return self.view.bill

    def t(self, name: str, **fields: str) -> str:
        return text(self.language, name, **fields)

    def money(self, amount_nano: int) -> str:
        currency = self.bill.party.currency
        return f.money(to_coin(amount_nano, currency), currency, self.language)

    def day(self, at_ms: int) -> str:
        return f.day(at_ms, self.bill.party.zone, self.language)

    def moment(self, at_ms: int) -> str:
        return f.moment(at_ms, self.bill.party.zone, self.language)

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
        shown = f.energy(reading.shown_wh, self.language)
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
            yield self.t("how.was_now", what=f.iso_day(day.day, self.language), was=self.use(day.was_wh), now=self.use(day.now_wh))
        if len(why.days) > MOST_DAYS:
            yield self.t("how.more_days", count=str(len(why.days) - MOST_DAYS))
        if why.note:
            yield self.t("how.why", note=why.note)

    def use(self, used_wh: int | None) -> str:
        return self.t("chart.missing") if used_wh is None else f.energy(used_wh, self.language)

    def how_debt(self, line: Line) -> tuple[str, ...]:
        return (self.t("how.debt", amount=self.money(line.quantity), at=self.moment(line.from_ms)),)

    def how_debt_taken(self, line: Line) -> tuple[str, ...]:
        amount, at = self.money(line.quantity), self.moment(line.from_ms)
        of = (self.t("how.debt_of", names=line.reference),) if line.reference else ()
        return (self.t("how.debt_taken", amount=amount, at=at), *of)

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

    def span(self, line: Line) -> str:
        """The days of a line; a single one once."""
        first, last = self.day(line.from_ms), self.day(line.to_ms - 1)
        return first if first == last else f"{first} – {last}"

    def how_late(self, line: Line) -> tuple[str, ...]:
        """What was open, rate and days, to be worked out again; which days; what bound the amount, where the three do not make it."""
        rate, days = f"{f.shortest(line.rate, 9, self.language)}\N{NO-BREAK SPACE}%", counted(line.quantity, "day", self.language)
        made = self.t(f"how.late_{line.per}", base=self.money(line.base_nano), rate=rate, days=days, of=str(self.month_days(line)))
        return (made, self.t("how.late_days", span=self.span(line)), *([self.t(f"how.late_{line.form}")] if line.form else []))

    def month_days(self, line: Line) -> int:
        first = local(line.from_ms, self.bill.party.zone)
        return calendar.monthrange(first.year, first.month)[1]

    def how_late_back(self, line: Line) -> tuple[str, ...]:
        return (self.t("how.late_back", span=self.span(line)),)

    def how_assessment(self, line: Line) -> tuple[str, ...]:
        """Wh, price and multiple; which days, and by which rule the Wh were found."""
        priced = self.t("how.assessment", units=f.energy(line.quantity, self.language), times=f.shortest(line.rate_ppm, 6, self.language),
                        price=f.price(line.rate, self.bill.party.currency, self.language))  # fmt: skip
        return (priced, self.span(line), self.t(f"how.assessment_{line.form}"))

    def how_event(self, line: Line) -> tuple[str, ...]:
        """Its number stands in its name."""
        return (self.t("how.money_plain", at=self.moment(line.from_ms)),)

    def how_rounding(self, line: Line) -> tuple[str, ...]:
        return (self.t("how.rounding"),)


_HOW: dict[LineKind, Callable[[LineWords, Line], tuple[str, ...]]] = {
    LineKind.TOP_UP: LineWords.how_money,
    LineKind.REFUND: LineWords.how_money,
    LineKind.PAYMENT: LineWords.how_money,
    LineKind.DEPOSIT: LineWords.how_money,
    LineKind.CORRECTION: LineWords.how_money,
    LineKind.CORRECTION_DEBT: LineWords.how_debt,
    LineKind.DEBT_TAKEN: LineWords.how_debt_taken,
    LineKind.EMERGENCY: LineWords.how_lent,
    LineKind.CONVERSION: LineWords.how_money,
    LineKind.ARREARS: LineWords.how_money,
    LineKind.CANCELLED: LineWords.how_cancelled,
    LineKind.ENERGY: LineWords.how_energy,
    LineKind.FIXED: LineWords.how_fixed,
    LineKind.TAX_ENERGY: LineWords.how_tax,
    LineKind.TAX_FIXED: LineWords.how_tax,
    LineKind.ASSESSMENT: LineWords.how_assessment,
    LineKind.ASSESSMENT_BACK: LineWords.how_assessment,
    LineKind.EVENT: LineWords.how_event,
    LineKind.LATE: LineWords.how_late,
    LineKind.LATE_BACK: LineWords.how_late_back,
    LineKind.ROUNDING: LineWords.how_rounding,
    LineKind.OTHER: LineWords.how_other,
}
