"""From measured intervals to what a usage page shows: bars, a table, totals and a sentence. Pure.

* Spans: `day` (every interval), `month` (its days), `year` (its months). `at` names the start: 2026-11-21, 2026-11, 2026.
* A part is estimated as soon as one interval in it is, and missing when no interval of it has a value.
* Money is the energy price of the tariff in force with tax, rounded half-even; standing charges are on the bill.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

from gridtally_cloud.store.days import EPOCH, date_of, day_of, midnight_ms
from gridtally_cloud.web.charts import EMPTY, Axis, Bar, Mark, Stop, bar_chart, highest_of, tick_values
from gridtally_cloud.web.i18n import Language
from gridtally_cloud.web.reads.usage import Interval
from gridtally_shared.money import SYMBOLS
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.quote import Quote
from gridtally_shared.usage_days import DayTotal

SPANS = ("day", "month", "year")
UNITS = ("kwh", "money")


@dataclass(frozen=True, slots=True)
class Window:
    """What a page asks for: local days `first` to `last` (inclusive) of `zone`, called `at` in addresses. Before `since_ms`
    there was no supply and nothing can be missing."""

    span: str
    at: str
    first: date
    last: date
    zone: str
    since_ms: int = 0

    @property
    def from_ms(self) -> int:
        return midnight_ms(_no(self.first), self.zone)

    @property
    def to_ms(self) -> int:
        return midnight_ms(_no(self.last) + 1, self.zone)

    @property
    def first_no(self) -> int:
        return _no(self.first)

    @property
    def last_no(self) -> int:
        return _no(self.last)


@dataclass(frozen=True, slots=True)
class Part:
    """One bar and table row. `key` is the address of the finer view, '' where there is none."""

    label: str
    name: str
    wh: int | None
    mark: Mark
    key: str = ""
    tick: str = ""
    spare: bool = False
    estimated_wh: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    label: str
    kwh_text: str
    money_text: str
    mark: str


@dataclass(frozen=True, slots=True)
class UsageView:
    """Everything the usage card prints. `anchor`, `previous` and `following` are `at` values of links."""

    span: str
    unit: str
    currency: str
    anchor: str
    previous: str
    following: str
    heading: str
    summary: str
    svg: str
    marks: tuple[str, ...]
    rows: tuple[Row, ...]
    total_wh: int
    total_nano: int | None
    highest_text: str
    highest_label: str
    expected: int
    measured: int
    estimated: int
    missing: int

    @property
    def has_data(self) -> bool:
        return self.measured + self.estimated > 0


def _no(day: date) -> int:
    return (day - EPOCH).days


def window(span: str, at: str, now_ms: int, zone: str, since_ms: int = 0) -> Window:
    """Read the address of a usage page; anything unreadable or in the future becomes the present."""
    today = date_of(day_of(now_ms, zone))
    span = span if span in SPANS else "day"
    start = _start(at, today)
    return Window(span, _name(span, start), _first(span, start), _last(span, start), zone, since_ms)


def _start(at: str, today: date) -> date:
    """The day an address stands for: the last one that has begun of a month or year, so that finer views show the newest."""
    try:
        start = date.fromisoformat(at + {4: "-01-01", 7: "-01"}.get(len(at), ""))
    except ValueError:
        return today
    start = max(date(1990, 1, 1), min(start, today))
    return min({4: _last("year", start), 7: _last("month", start)}.get(len(at), start), today)


def _first(span: str, day: date) -> date:
    return {"day": day, "month": day.replace(day=1), "year": day.replace(month=1, day=1)}[span]


def _last(span: str, day: date) -> date:
    if span == "day":
        return day
    month = 12 if span == "year" else day.month
    return (day.replace(month=month, day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


def _name(span: str, day: date) -> str:
    return day.isoformat()[: {"day": 10, "month": 7, "year": 4}[span]]


# ---- parts ----------------------------------------------------------------------------------------------------


def day_parts(intervals: Sequence[Interval], words: Language, now_ms: int, since_ms: int = 0) -> list[Part]:
    """One part an interval; those not over yet are ahead."""
    parts = []
    for i in intervals:
        end_ms = i.start_ms + i.period_s * 1000
        mark = _mark(i.wh, i.estimated, end_ms > now_ms, i.start_ms < since_ms)
        start, hour = words.local(i.start_ms), words.local(i.start_ms).hour
        tick = f"{hour:02d}" if start.minute == 0 and hour % 3 == 0 else ""
        parts.append(Part(words.time(i.start_ms), f"{words.time(i.start_ms)}–{words.time(end_ms)}", i.wh, mark, "", tick,
                          hour % 6 != 0, i.wh or 0 if i.estimated else 0))  # fmt: skip
    return parts


def month_parts(intervals: Sequence[Interval], span: Window, words: Language, now_ms: int) -> list[Part]:
    """One part a local day, out of its intervals."""
    by_day: dict[int, list[Interval]] = {no: [] for no in range(span.first_no, span.last_no + 1)}
    for interval in intervals:
        by_day[day_of(interval.start_ms, span.zone)].append(interval)
    return [_day_part(no, rows, words, span, now_ms) for no, rows in by_day.items()]


def _day_part(no: int, rows: Sequence[Interval], words: Language, span: Window, now_ms: int) -> Part:
    ahead, before = midnight_ms(no, span.zone) >= now_ms, midnight_ms(no + 1, span.zone) <= span.since_ms
    day = date_of(no)
    known = [r.wh for r in rows if r.wh is not None]
    estimated_wh = sum(r.wh or 0 for r in rows if r.estimated)
    mark = _mark(sum(known) if known else None, any(r.estimated for r in rows), ahead, before)
    return Part(words.day_of(day), f"{words.weekday_of(day)} {words.day_of(day)}", sum(known) if known else None, mark,
                day.isoformat(), str(day.day), (day.day - 1) % 7 != 0, estimated_wh)  # fmt: skip


def year_parts(totals: Sequence[DayTotal], span: Window, words: Language, now_ms: int) -> list[Part]:
    """One part a month, out of daily totals."""
    today, began = date_of(day_of(now_ms, span.zone)), date_of(day_of(span.since_ms, span.zone))
    parts = []
    for month in range(1, 13):
        first = span.first.replace(month=month)
        days = [t for t in totals if date_of(t.day).month == month and t.present]
        mark = _mark(1 if days else None, False, first > today, _last("month", first) < began)
        parts.append(Part(words.month_of(first), words.month_of(first), sum(t.wh for t in days) if days else None, mark,
                          first.isoformat()[:7], words.rules.months[month - 1], month % 3 != 1))  # fmt: skip
    return parts


def _mark(wh: int | None, estimated: bool, ahead: bool = False, before: bool = False) -> Mark:
    if wh is None:
        return Mark.AHEAD if ahead else Mark.OUTSIDE if before else Mark.MISSING
    return Mark.ESTIMATED if estimated else Mark.MEASURED


# ---- the view -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counts:
    """Intervals that should be there by now, and what is known of them."""

    expected: int
    measured: int
    estimated: int

    @property
    def missing(self) -> int:
        return max(0, self.expected - self.measured - self.estimated)


def counts_of(intervals: Sequence[Interval], now_ms: int, since_ms: int = 0) -> Counts:
    over = [i for i in intervals if i.wh is not None or since_ms <= i.start_ms <= now_ms - i.period_s * 1000]
    estimated = sum(1 for i in over if i.wh is not None and i.estimated)
    return Counts(len(over), sum(1 for i in over if i.wh is not None) - estimated, estimated)


def counts_of_days(totals: Sequence[DayTotal]) -> Counts:
    return Counts(sum(t.expected for t in totals), sum(t.present for t in totals), 0)


def cost_nano(wh: int, tariff: Quote | None) -> int | None:
    """Energy with tax at a tariff; None where there is no tariff."""
    return tariff.energy_nano(wh) if tariff else None


def view(span: Window, unit: str, parts: Sequence[Part], counts: Counts, tariff: Quote | None, words: Language,
         now_ms: int, link: str = "") -> UsageView:  # fmt: skip
    """`link` is the address of the finer view with `{at}` in it, '' for bars that lead nowhere."""
    currency = tariff.currency if tariff else ""
    unit = unit if unit in UNITS and tariff else "kwh"
    total = sum(p.wh or 0 for p in parts)
    best = max(parts, key=lambda p: p.wh or 0, default=None)
    heading = heading_of(span, words)
    return UsageView(
        span.span, unit, currency, span.at, _step(span, -1, now_ms), _step(span, +1, now_ms), heading,
        summary(parts, counts, words), chart(f"use-{span.span}", heading, parts, unit, tariff, words, link),
        _marks(parts),
        tuple(_row(p, tariff, words) for p in parts if p.mark not in EMPTY), total, cost_nano(total, tariff),
        words.kwh(best.wh or 0) if best else "", best.name if best else "",
        counts.expected, counts.measured, counts.estimated, counts.missing,
    )  # fmt: skip


def _marks(parts: Sequence[Part]) -> tuple[str, ...]:
    """What the legend has to explain."""
    seen = (
        (Mark.MEASURED, any((p.wh or 0) > p.estimated_wh for p in parts)),
        (Mark.ESTIMATED, any(p.mark is Mark.ESTIMATED for p in parts)),
        (Mark.MISSING, any(p.mark is Mark.MISSING for p in parts)),
    )
    return tuple(mark.value for mark, shown in seen if shown)


def heading_of(span: Window, words: Language) -> str:
    if span.span == "day":
        return f"{words.weekday_of(span.first)} {words.day_of(span.first)}"
    return words.month_of(span.first) if span.span == "month" else span.at


def _step(span: Window, direction: int, now_ms: int) -> str:
    """`at` of the neighbour; '' for one that has not begun."""
    day = span.first - timedelta(days=1) if direction < 0 else span.last + timedelta(days=1)
    return "" if midnight_ms(_no(_first(span.span, day)), span.zone) > now_ms else _name(span.span, day)


def summary(parts: Sequence[Part], counts: Counts, words: Language) -> str:
    """The chart in one or two sentences."""
    known = [p for p in parts if p.wh is not None]
    if not known:
        return ""
    top = max(known, key=lambda p: p.wh or 0)
    text = words.t("usage.summary", total=words.kwh(sum(p.wh or 0 for p in known)), top=words.kwh(top.wh or 0), when=top.name)
    gaps = [words.t("usage.estimated_count", n=counts.estimated)] if counts.estimated else []
    gaps += [words.t("usage.missing_count", n=counts.missing)] if counts.missing else []
    return " ".join([text, *(f"{g}." for g in gaps)])


def _row(part: Part, tariff: Quote | None, words: Language) -> Row:
    if part.wh is None:
        return Row(part.name, "–", "–", part.mark.value)
    money = words.money(tariff.energy_nano(part.wh), tariff.currency, True) if tariff else ""
    return Row(part.name, words.number(part.wh, 3), money, part.mark.value)


def chart(chart_id: str, title: str, parts: Sequence[Part], unit: str, tariff: Quote | None, words: Language,
          link: str = "", per_stop: int = 0) -> str:  # fmt: skip
    """The parts as an SVG; more than 48 of them take the focus by the hour."""
    together = per_stop or max(1, len(parts) // 24 if len(parts) > 48 else 1)
    stops = [_stop(parts[i : i + together], unit, tariff, words, link) for i in range(0, len(parts), together)]
    ticks = tick_values(highest_of(stops))
    symbol = SYMBOLS.get(tariff.currency, tariff.currency) if tariff and unit == "money" else "kWh"
    axis = Axis(ticks[-1], tuple((v, _tick_text(v, words)) for v in ticks), symbol)
    return bar_chart(chart_id, title, stops, axis)


def _value(part: Part, unit: str, tariff: Quote | None) -> int | None:
    """Height of a bar: Wh, or thousandths of the currency unit."""
    return None if part.wh is None else _height(part.wh, unit, tariff)


def _height(wh: int, unit: str, tariff: Quote | None) -> int:
    return wh if unit == "kwh" or tariff is None else (tariff.energy_nano(wh) + 500_000) // 1_000_000


def _tick_text(value: int, words: Language) -> str:
    """Axis labels with no more decimals than they need."""
    digits = next(d for d in range(4) if value % 10 ** (3 - d) == 0)
    return words.number(value // 10 ** (3 - digits), digits)


def _said(wh: int | None, unit: str, tariff: Quote | None, words: Language) -> str:
    if wh is None:
        return words.t("chart.missing")
    if unit == "money" and tariff:
        return words.money(tariff.energy_nano(wh), tariff.currency, True)
    return words.kwh(wh, 3 if wh < 1000 else None)


def _stop(parts: Sequence[Part], unit: str, tariff: Quote | None, words: Language, link: str) -> Stop:
    first, known = parts[0], [p.wh for p in parts if p.wh is not None]
    estimated_wh = sum(p.estimated_wh for p in parts)
    name = first.name if len(parts) == 1 else f"{first.name.split('–')[0]}–{parts[-1].name.split('–')[-1]}"
    text = f"{name}: {_said(sum(known) if known else None, unit, tariff, words)}"
    if all(p.mark in EMPTY for p in parts):
        text = f"{name}: {words.t(f'chart.{first.mark.value}')}"
    of_it = _said(estimated_wh, unit, tariff, words)
    spoken = f"{text} ({words.t('chart.part_estimated', part=of_it)})" if estimated_wh else text
    bars = tuple(
        Bar(_value(p, unit, tariff), p.mark, f"{p.name}: {_said(p.wh, unit, tariff, words)}", _height(p.estimated_wh, unit, tariff))
        for p in parts
    )
    href = link.replace("{at}", first.key) if link and first.key and first.mark not in EMPTY else ""
    return Stop(bars, spoken, first.tick, first.spare, href)


def week(first: int, last: int, zone: str, since_ms: int) -> Window:
    """The local days `first` to `last`."""
    return Window("day", date_of(last).isoformat(), date_of(first), date_of(last), zone, since_ms)


def week_view(intervals: Sequence[Interval], span: Window, tariff: Quote | None, words: Language, now_ms: int,
              link: str) -> UsageView:  # fmt: skip
    """Some days as a small chart for the home page, named by weekday."""
    parts = [replace(p, tick=words.weekday_of(date.fromisoformat(p.key)), spare=False)
             for p in month_parts(intervals, span, words, now_ms)]  # fmt: skip
    return view(span, "kwh", parts, counts_of(intervals, now_ms, span.since_ms), tariff, words, now_ms, link)


def days_chart(chart_id: str, title: str, days: Sequence[tuple[str, int | None]], words: Language) -> str:
    """Bars of whole days given as (2026-11-21, Wh), as a bill shows them."""
    parts = [_known_day(date.fromisoformat(day), wh, words) for day, wh in days]
    return chart(chart_id, title, parts, "kwh", None, words, per_stop=1)


def _known_day(day: date, wh: int | None, words: Language) -> Part:
    tick, spare = (str(day.day), (day.day - 1) % 7 != 0)
    return Part(words.day_of(day), words.day_of(day), wh, _mark(wh, False), "", tick, spare)
