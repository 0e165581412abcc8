"""What energy and days cost, worked out from the tariff's own text with fractions: none of the code that charges is used."""

from __future__ import annotations

import json
import math
from calendar import monthrange
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from gridtally_cloud.customers.seed import DEMO_TARIFF

NANO = 10**9


def price_nano_per_wh() -> int:
    return int(Fraction(json.loads(DEMO_TARIFF)["energy_per_kwh"]) / 1000 * NANO)


def slow_charge(used_wh: int, days: int) -> int:
    """In nano, tax included; energy and days are taxed each by itself, down to the whole nano."""
    terms = json.loads(DEMO_TARIFF)
    tax = Fraction(terms["tax_percent"]) / 100
    nets = (Fraction(terms["energy_per_kwh"]) / 1000 * used_wh, Fraction(terms["fixed_per_day"]) * days)
    return sum(int(net * NANO) + int(net * tax * NANO) for net in nets)


def midnights(from_ms: int, to_ms: int, zone: str) -> int:
    """Local days that began after the first moment."""
    first, last = (datetime.fromtimestamp(ms / 1000, ZoneInfo(zone)).date() for ms in (from_ms, to_ms))
    return (last - first).days


# ---- any tariff document ------------------------------------------------------------------------------------------
# Written from docs/tariff.md, one sentence after the other, day by day and quarter hour by quarter hour.

QUARTER_MS = 15 * 60_000
Interval = tuple[int, int, int]


@dataclass
class SlowAccount:
    contract_kw: Fraction = Fraction(0)
    flags: tuple[str, ...] = ()
    debts: dict[str, int] = field(default_factory=dict)


def slow_bill(text: str, intervals: list[Interval], first: date, until: date, account: SlowAccount) -> dict[date, int]:
    """Nano of each cycle by its first day. Intervals are (start ms, end ms, Wh) of imported energy in quarter hours."""
    return _Slow(json.loads(text), account, first, until).run(intervals)


class _Slow:
    def __init__(self, terms: dict[str, Any], account: SlowAccount, first: date, until: date) -> None:
        self.terms, self.account, self.first, self.until = terms, account, first, until
        self.zone = ZoneInfo(terms["zone"])
        self.versions = terms["versions"]
        self.left: dict[str, Fraction] = {}
        self.paid: dict[str, int] = {}
        self.peaks_before: dict[str, list[int]] = {}
        self.rest = Fraction(0)
        self.cycles: dict[date, date] = {}

    def run(self, intervals: list[Interval]) -> dict[date, int]:
        used = self._shared_out(intervals)
        peaks = self._peaks(intervals)
        return {cycle: self._cycle(cycle, used, peaks) for cycle in sorted({self._cycle_of(d) for d in self._days(self.first, self.until)})}

    @staticmethod
    def _days(first: date, until: date) -> list[date]:
        return [first + timedelta(days=n) for n in range((until - first).days)]

    def _cycle_of(self, day: date) -> date:
        if day not in self.cycles:
            self.cycles[day] = self._found_cycle(day)
        return self.cycles[day]

    def _found_cycle(self, day: date) -> date:
        cycle = self.terms.get("cycle", {})
        if cycle.get("every") == "bill":
            return self.first
        while True:
            begins = day.day == cycle.get("start_day", 1) and (day.month - cycle.get("first_month", 1)) % cycle.get("months", 1) == 0
            if begins:
                return day
            day -= timedelta(days=1)

    def _version_of(self, day: date) -> int:
        begun = [n for n, v in enumerate(self.versions) if date.fromisoformat(v["from"]) <= day]
        return begun[-1] if begun else 0

    def _place(self, at_ms: int) -> tuple[date, int, str]:
        local = datetime.fromtimestamp(at_ms / 1000, self.zone)
        number = self._version_of(local.date())
        return self._cycle_of(local.date()), number, self._period(self.versions[number], local)

    def _period(self, version: dict[str, Any], local: datetime) -> str:
        if not version.get("hours"):
            return "all"
        clock = f"{local.hour:02d}:{local.minute:02d}"
        for row in version["hours"]:
            season, day_type = self._season(version, local), self._day_type(version, local)
            if season in row.get("seasons", [season]) and day_type in row.get("days", [day_type]):
                return next(str(b["period"]) for b in row["bands"] if b["from"] <= clock < b["to"])
        raise AssertionError("no hours for this day")

    @staticmethod
    def _season(version: dict[str, Any], local: datetime) -> str:
        day = f"{local.month:02d}-{local.day:02d}"
        for s in version.get("seasons", []):
            if s["from"] <= day <= s["to"] or (s["to"] < s["from"] and not s["to"] < day < s["from"]):
                return str(s["code"])
        return ""

    @staticmethod
    def _day_type(version: dict[str, Any], local: datetime) -> str:
        marks = (("dates", local.date().isoformat()), ("yearly", f"{local.month:02d}-{local.day:02d}"),
                 ("weekdays", ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[local.weekday()]))  # fmt: skip
        for kind, mark in marks:
            for t in version.get("day_types", []):
                if mark in t.get(kind, []):
                    return str(t["code"])
        return ""

    def _shared_out(self, intervals: list[Interval]) -> dict[tuple[date, int, str], int]:
        used: dict[tuple[date, int, str], int] = {}
        for start, end, wh in intervals:
            quarters: dict[tuple[date, int, str], int] = {}
            for at in range(start, end, QUARTER_MS):
                place = self._place(at)
                quarters[place] = quarters.get(place, 0) + 1
            exact = {place: Fraction(wh * n, sum(quarters.values())) for place, n in quarters.items()}
            whole = {place: int(x) for place, x in exact.items()}
            for place in sorted(exact, key=lambda p: exact[p] - whole[p], reverse=True)[: wh - sum(whole.values())]:
                whole[place] += 1
            for place, amount in whole.items():
                used[place] = used.get(place, 0) + amount
        return used

    def _peaks(self, intervals: list[Interval]) -> dict[tuple[date, int, str, str], Fraction]:
        """The highest kW by cycle, version, item and period."""
        found: dict[tuple[date, int, str, str], Fraction] = {}
        for n, (start, end, _) in enumerate(intervals):
            cycle, number, period = self._place(start)
            near = intervals[max(0, n - 100) : n + 1]
            for item in (i for i in self.versions[number]["items"] if i["kind"] == "demand"):
                minutes = item.get("window_min", 30)
                midnight = self._midnight(datetime.fromtimestamp(start / 1000, self.zone).date())
                since = end - minutes * 60_000 if item.get("sliding") else start - (start - midnight) % (minutes * 60_000)
                since = max(since, self._midnight(cycle))
                kw = Fraction(sum(w for s, e, w in near if since <= s and e <= end), 1000) * 60 / minutes
                key = (cycle, number, item["code"], period)
                found[key] = max(found.get(key, Fraction(0)), kw)
        return found

    def _midnight(self, day: date) -> int:
        return int(datetime.combine(day, time(), self.zone).timestamp()) * 1000

    def _cycle(self, cycle: date, used: dict[tuple[date, int, str], int], peaks: dict[tuple[date, int, str, str], Fraction]) -> int:
        days = [d for d in self._days(self.first, self.until) if self._cycle_of(d) == cycle]
        total, highest = 0, {}
        for number in sorted({self._version_of(d) for d in days}):
            own = [d for d in days if self._version_of(d) == number]
            use = {period: wh for (c, v, period), wh in used.items() if (c, v) == (cycle, number)}
            tops = {(code, period): kw for (c, v, code, period), kw in peaks.items() if (c, v) == (cycle, number)}
            total += self._part(cycle, number, own, own[0] == days[0], use, tops)
            for (code, _), kw in tops.items():
                highest[code] = max(highest.get(code, 0), int(kw * 1000))
        for code in {i["code"] for n in {self._version_of(d) for d in days} for i in self.versions[n]["items"] if i["kind"] == "demand"}:
            self.peaks_before.setdefault(code, []).insert(0, highest.get(code, 0))
        return self._rounded_total(total)

    def _rounded_total(self, total: int) -> int:
        rule = self.terms.get("round_total")
        if rule is None:
            return total
        due = total + (self.rest if rule.get("carry") else 0)
        paper = _to_places(Fraction(due), rule)
        self.rest = due - paper if rule.get("carry") else Fraction(0)
        return paper

    def _months(self, cycle: date, days: list[date]) -> Fraction:
        rule = self.terms.get("proration", {})
        by, places = rule.get("by", "calendar_months"), rule.get("places")
        shares: list[Fraction] = []
        if by == "thirty_days":
            shares = [Fraction(len(days), 30)]
        elif by == "cycle_days":
            whole = cycle
            while self._cycle_of(whole) == cycle:
                whole += timedelta(days=1)
            shares = [Fraction(len(days) * self.terms.get("cycle", {}).get("months", 1), (whole - cycle).days)]
        else:
            for month in sorted({(d.year, d.month) for d in days}):
                shares.append(Fraction(sum((d.year, d.month) == month for d in days), monthrange(*month)[1]))
        if places is None:
            return sum(shares, Fraction(0))
        return sum((Fraction(math.floor(s * 10**places + Fraction(1, 2)), 10**places) for s in shares), Fraction(0))

    def _part(self, cycle: date, number: int, days: list[date], opens: bool, use: dict[str, int],
              tops: dict[tuple[str, str], Fraction]) -> int:  # fmt: skip
        version = self.versions[number]
        months, done = self._months(cycle, days), {}
        waiting = list(version["items"])
        while waiting:
            item = next(i for i in waiting if not set(i.get("of", [])) & {w["code"] for w in waiting})
            waiting.remove(item)
            done[item["code"]] = self._item(item, version, months, days, opens, use, tops, done)
        return sum(done.values())

    def _item(self, item: dict[str, Any], version: dict[str, Any], months: Fraction, days: list[date], opens: bool, use: dict[str, int],
              tops: dict[tuple[str, str], Fraction], done: dict[str, int]) -> int:  # fmt: skip
        flags = self.account.flags
        if any(n not in flags for n in item.get("needs", [])) or any(n in flags for n in item.get("unless", [])):
            return 0
        kwh, when = Fraction(sum(use.values()), 1000), item.get("when", {})
        if kwh <= Fraction(when.get("over", "0")) * months and "over" in when:
            return 0
        if "up_to" in when and kwh > Fraction(when["up_to"]) * months:
            return 0
        rule = item.get("rounding") or version.get("round_lines")
        base = sum(done[code] for code in item.get("of", []))
        times = {"one": Fraction(1), "kw": self.account.contract_kw, "kw_or_part": Fraction(math.ceil(self.account.contract_kw))}
        times_by = times[item.get("times", "one")]
        lines: list[Fraction] = []
        if item["kind"] == "energy":
            lines = _slow_energy(item, use, months if item.get("per", "month") == "month" else Fraction(len(days)))
        elif item["kind"] == "fixed":
            count = Fraction(len(days)) if item.get("per") == "day" else months
            if item.get("per") != "day" and not item.get("prorate", True):
                count = Fraction(self.terms.get("cycle", {}).get("months", 1) if opens else 0)
            lines = [_slow_price(item, self.account.contract_kw) * NANO * times_by * count]
        elif item["kind"] == "minimum":
            lines = [max(Fraction(0), Fraction(item["amount"]) * NANO * times_by * months - base)]
        elif item["kind"] == "debt":
            count = months if item.get("per") == "month" else Fraction(len(days))
            due = math.floor(Fraction(item["price"]) * NANO * count)
            taken = max(0, min(self.account.debts.get(item["code"], 0) - self.paid.get(item["code"], 0), _to_places(Fraction(due), rule)))
            self.paid[item["code"]] = self.paid.get(item["code"], 0) + taken
            lines = [Fraction(taken)]
        elif item["kind"] == "percent":
            exact = Fraction(item["percent"]) / 100 * base
            if rule is None and "cap" not in item:
                exact += self.left.get(item["code"], Fraction(0))
                self.left[item["code"]] = exact - math.floor(exact)
            lines = [exact]
        else:
            lines = self._demand(item, months, tops)
        amount = sum(_to_places(line, rule) for line in lines)
        if "cap" in item:
            amount = min(amount, math.floor(Fraction(item["cap"]) * NANO * months))
        return -amount if item.get("credit") else amount

    def _demand(self, item: dict[str, Any], months: Fraction, tops: dict[tuple[str, str], Fraction]) -> list[Fraction]:
        mine = [kw for (code, period), kw in tops.items() if code == item["code"] and period in item.get("periods", [period])]
        measured, contract = max(mine, default=Fraction(0)), self.account.contract_kw
        before = max(self.peaks_before.get(item["code"], [])[: item.get("ratchet_cycles", 12)], default=0)
        billed = max(measured, contract * Fraction(item.get("contract_percent", "0")) / 100,
                     Fraction(before, 1000) * Fraction(item.get("ratchet_percent", "0")) / 100)  # fmt: skip
        lines = [kw * price * NANO * months for kw, price in _slow_slabs(item, "to_kw", billed)]
        over = max(Fraction(0), measured - contract) * Fraction(item.get("excess_percent", "0")) / 100
        return [*lines, over * _slow_price(item, Fraction(math.floor(measured * 1000), 1000)) * NANO * months]


def _to_places(amount: Fraction, rule: dict[str, Any] | None) -> int:
    if rule is None:
        return math.floor(amount)
    scaled = amount / 10 ** (9 - rule["places"])
    half = scaled - math.floor(scaled) == Fraction(1, 2)
    mode = rule.get("mode", "half_up")
    whole = {"down": math.floor(scaled), "up": math.ceil(scaled), "half_up": math.floor(scaled + Fraction(1, 2)),
             "half_even": round(scaled) if half else math.floor(scaled + Fraction(1, 2))}[mode]  # fmt: skip
    return int(whole * 10 ** (9 - rule["places"]))


def _slow_price(item: dict[str, Any], kw: Fraction) -> Fraction:
    for slab in item.get("slabs", [{"price": item.get("price")}]):
        if "to_kw" not in slab or kw <= Fraction(slab["to_kw"]):
            return Fraction(slab["price"])
    raise AssertionError("no open slab")


def _slow_slabs(item: dict[str, Any], bound: str, amount: Fraction) -> list[tuple[Fraction, Fraction]]:
    parts, below = [], Fraction(0)
    for slab in item.get("slabs", [{"price": item.get("price")}]):
        top = min(amount, Fraction(slab[bound])) if bound in slab else amount
        if top > below:
            parts.append((top - below, Fraction(slab["price"])))
            below = top
    return parts


def _slow_energy(item: dict[str, Any], use: dict[str, int], widen: Fraction) -> list[Fraction]:
    lines = []
    for rate in item.get("rates", [item]):
        wh = sum(amount for period, amount in use.items() if not rate.get("periods") or period in rate["periods"])
        slabs = [dict(slab) for slab in rate.get("slabs", [{"price": rate.get("price")}])]
        for slab in slabs:
            if "to_kwh" in slab:
                slab["to_kwh"] = Fraction(math.floor(Fraction(slab["to_kwh"]) * 1000 * widen), 1000)
        kwh = Fraction(wh, 1000)
        if item.get("telescopic", True):
            lines += [part * price * NANO for part, price in _slow_slabs({"slabs": slabs}, "to_kwh", kwh)]
        else:
            price = next(s["price"] for s in slabs if "to_kwh" not in s or kwh <= s["to_kwh"])
            lines.append(kwh * Fraction(price) * NANO)
    return lines
