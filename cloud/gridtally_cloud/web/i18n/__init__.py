"""What a page says and how it writes numbers, money and dates, in English, Spanish and Hindi.

Rules:
* The catalogues are data: `en.json`, `es.json`, `hi.json`, key to sentence with {named} places. A test keeps keys and
  places equal in all languages; an unknown language falls back to English (C3-FR29).
* Plurals are two keys, `key.one` and `key.other`; the number is always the place {n}. Hindi counts zero as one (CLDR).
* Digits stay 0-9. Rupees are grouped by lakh and crore except in Spanish; Spanish groups from five digits on (CLDR).
* Money is rounded down to the coin as `gridtally_shared.money` says; energy is shown in kWh, rounded half up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from gridtally_shared.messages.words import whole_span
from gridtally_shared.money import NANO, SYMBOLS, floor_to_minor, minor_digits, round_half_even
from gridtally_shared.records import dataclass

NBSP = "\u00a0"
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))
DEFAULT = "en"


@dataclass(frozen=True, slots=True)
class Rules:
    """How a language writes. `one` lists the counts that take the singular; `group_from` is the number of digits from
    which thousands are set apart."""

    code: str
    name: str
    decimal: str
    group: str
    group_from: int
    symbol_first: bool
    one: frozenset[int]
    months: tuple[str, ...]
    full_months: tuple[str, ...]
    weekdays: tuple[str, ...]
    day_format: str
    month_format: str


RULES: dict[str, Rules] = {
    "en": Rules(
        "en", "English", ".", ",", 4, True, frozenset({1}),
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
        ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
         "December"),
        ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
        "{day} {month} {year}", "{full} {year}",
    ),
    "es": Rules(
        "es", "Español", ",", ".", 5, False, frozenset({1}),
        ("ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sept", "oct", "nov", "dic"),
        ("enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre",
         "diciembre"),
        ("lun", "mar", "mié", "jue", "vie", "sáb", "dom"),
        "{day} {month} {year}", "{full} de {year}",
    ),
    "hi": Rules(
        "hi", "हिन्दी", ".", ",", 4, True, frozenset({0, 1}),
        ("जन॰", "फ़र॰", "मार्च", "अप्रैल", "मई", "जून", "जुल॰", "अग॰", "सित॰", "अक्तू॰", "नव॰", "दिस॰"),
        ("जनवरी", "फ़रवरी", "मार्च", "अप्रैल", "मई", "जून", "जुलाई", "अगस्त", "सितंबर", "अक्तूबर", "नवंबर", "दिसंबर"),
        ("सोम", "मंगल", "बुध", "गुरु", "शुक्र", "शनि", "रवि"),
        "{day} {month} {year}", "{full} {year}",
    ),
}  # fmt: skip
LANGUAGES: tuple[str, ...] = tuple(RULES)


@cache
def catalogue(code: str) -> Mapping[str, str]:
    """All sentences of a language."""
    text = files(__package__).joinpath(f"{code}.json").read_text(encoding="utf-8")
    return {str(key): str(value) for key, value in json.loads(text).items()}


def places(sentence: str) -> frozenset[str]:
    """Names of the {places} in a sentence."""
    return frozenset(re.findall(r"\{(\w+)\}", sentence))


def best_language(wanted: str) -> str:
    """The language we have for a code or an Accept-Language header; English where we have none."""
    for part in wanted.split(","):
        code = part.split(";")[0].strip().lower().split("-")[0]
        if code in RULES:
            return code
    return DEFAULT


@dataclass(frozen=True, slots=True)
class Language:
    """One language and one time zone: everything a template needs to say something."""

    code: str
    zone: ZoneInfo

    @property
    def rules(self) -> Rules:
        return RULES[self.code]

    def t(self, key: str, **values: object) -> str:
        """The sentence of `key`; with `n`, its singular or plural. A missing key is a defect and raises KeyError."""
        words = catalogue(self.code)
        if "n" in values and key not in words:
            key = f"{key}.one" if values["n"] in self.rules.one else f"{key}.other"
        return words[key].format(**values) if values else words[key]

    def name_of(self, group: str, code: object, otherwise: str = "") -> str:
        """The sentence `group.code`, or `otherwise` for a code this version has no words for."""
        return catalogue(self.code).get(f"{group}.{code}", otherwise or str(code))

    def number(self, units: int, digits: int = 0, lakh: bool = False) -> str:
        """`units` x 10^-digits, grouped: number(123456, 2) is "1,234.56"."""
        whole, fraction = divmod(abs(units), 10**digits)
        sign = "−" if units < 0 else ""
        tail = f"{self.rules.decimal}{fraction:0{digits}d}" if digits else ""
        return f"{sign}{self._grouped(str(whole), lakh)}{tail}"

    def _grouped(self, digits: str, lakh: bool) -> str:
        if len(digits) < self.rules.group_from:
            return digits
        size = 2 if lakh else 3
        head, tail = digits[:-3], digits[-3:]
        parts = [head[max(0, end - size) : end] for end in range(len(head), 0, -size)]
        return self.rules.group.join([*reversed(parts), tail])

    def money(self, amount_nano: int, currency: str, exact: bool = False, whole: bool = False) -> str:
        """A balance rounded down to the coin, or with `exact` a line of a statement rounded half-even. `whole` leaves
        out the decimals of a round amount."""
        digits = 0 if whole and amount_nano % NANO == 0 else minor_digits(currency)
        shown = round_half_even(amount_nano, digits) if exact else floor_to_minor(amount_nano, currency)
        return self._with_symbol(shown, digits, currency)

    def price(self, amount_nano: int, currency: str) -> str:
        """A price with the decimals it needs: those of the coin, at most four."""
        least, most = minor_digits(currency), 4
        digits = next((d for d in range(least, most) if amount_nano % 10 ** (9 - d) == 0), most)
        return self._with_symbol(round_half_even(amount_nano, digits), digits, currency)

    def _with_symbol(self, shown: int, digits: int, currency: str) -> str:
        text = self.number(abs(shown) * 10**digits // NANO, digits, currency == "INR" and self.code != "es")
        symbol = SYMBOLS.get(currency, currency)
        joined = f"{symbol}{NBSP}{text}" if self.rules.symbol_first else f"{text}{NBSP}{symbol}"
        return f"−{joined}" if shown < 0 else joined

    def kwh(self, wh: int, digits: int | None = None) -> str:
        """Wh as kWh: two decimals below 100 kWh, one above, unless told."""
        shown = digits if digits is not None else (2 if abs(wh) < 100_000 else 1)
        step: int = 10 ** (3 - shown)
        units = (abs(wh) + step // 2) // step
        return f"{self.number(-units if wh < 0 else units, shown)}{NBSP}kWh"

    def duration(self, span_ms: int) -> str:
        """A span in its largest whole unit: "3 days"; never less than a minute."""
        seconds = span_ms // 1000
        unit, length = next(((u, n) for u, n in _UNITS if seconds >= n), _UNITS[-1])
        return self.t(f"span.{unit}", n=max(1, seconds // length))

    def whole_span(self, span_ms: int) -> str:
        """Days, hours and minutes, as on the display."""
        return whole_span(span_ms).replace(" ", NBSP)

    def local(self, at_ms: int) -> datetime:
        return datetime.fromtimestamp(at_ms / 1000, self.zone)

    def day(self, at_ms: int) -> str:
        return self.day_of(self.local(at_ms).date())

    def day_of(self, day: date) -> str:
        return self.rules.day_format.format(day=day.day, month=self.rules.months[day.month - 1], year=day.year)

    def weekday_of(self, day: date) -> str:
        return self.rules.weekdays[day.weekday()]

    def month_of(self, day: date) -> str:
        return self.rules.month_format.format(full=self.rules.full_months[day.month - 1], year=day.year)

    def time(self, at_ms: int) -> str:
        return self.local(at_ms).strftime("%H:%M")

    def when(self, at_ms: int) -> str:
        """Day and minute: "21 Nov 2026, 14:05"."""
        return f"{self.day(at_ms)}, {self.time(at_ms)}"

    def ago(self, at_ms: int, now_ms: int) -> str:
        """How long ago in the largest whole unit: "3 minutes ago"."""
        seconds = max(0, now_ms - at_ms) // 1000
        unit, length = next(((u, n) for u, n in _UNITS if seconds >= n), ("now", 1))
        return self.t("ago.now") if unit == "now" else self.t(f"ago.{unit}", n=seconds // length)


def language(code: str, zone: str = "UTC") -> Language:
    """The language of a reader; an unknown one becomes English."""
    return Language(code if code in RULES else DEFAULT, ZoneInfo(zone))
