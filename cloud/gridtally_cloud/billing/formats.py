"""Numbers, money, energy and dates as people of each language write them. Integers in, text out; nothing is rounded here."""

from __future__ import annotations

from datetime import date

from gridtally_cloud.billing.periods import local
from gridtally_shared.money import NANO, SYMBOLS, minor_digits
from gridtally_shared.records import dataclass

MINUS = "−"


@dataclass(frozen=True, slots=True)
class Format:
    """Separators, digit groups (3: thousands; 2: lakh and crore after the first thousand), how many digits are grouped at least, and month
    names. `lakh_of`: currencies written by lakh and crore also where other numbers are not."""

    decimal: str
    group: str
    group_size: int
    group_from: int
    months: tuple[str, ...]
    symbol_first: bool
    lakh_of: frozenset[str] = frozenset()


def _months(names: str) -> tuple[str, ...]:
    return tuple(names.split())


_EN = Format(".", ",", 3, 4, _months("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"), True, frozenset({"INR"}))
_ES = Format(",", ".", 3, 5, _months("ene feb mar abr may jun jul ago sep oct nov dic"), False)
_HI = Format(".", ",", 2, 4, _months("जन फ़र मार्च अप्रैल मई जून जुल अग सित अक्टू नव दिस"), True)
FORMATS: dict[str, Format] = {"en": _EN, "es": _ES, "hi": _HI}


def _grouped(whole: int, form: Format, size: int) -> str:
    digits = str(whole)
    if len(digits) < form.group_from:
        return digits
    head, tail = digits[:-3], digits[-3:]
    parts = [tail]
    while head:
        parts.append(head[-size:])
        head = head[:-size]
    return form.group.join(reversed(parts))


def number(value: int, scale: int, digits: int, language: str, currency: str = "") -> str:
    """value / 10^scale with exactly `digits` decimals, the rest cut off; the caller has rounded before."""
    form = FORMATS[language]
    size = 2 if currency in form.lakh_of else form.group_size
    whole, fraction = divmod(abs(value), 10**scale)
    tail = f"{fraction:0{scale}d}"[:digits] if scale else ""
    sign = MINUS if value < 0 else ""
    return f"{sign}{_grouped(whole, form, size)}{form.decimal if tail else ''}{tail}"


def money(amount_nano: int, currency: str, language: str) -> str:
    """An amount already rounded to the coin."""
    return _with_symbol(number(amount_nano, 9, minor_digits(currency), language, currency), currency, language)


def price(amount_nano: int, currency: str, language: str) -> str:
    """A price with as many decimals as it needs, at least those of the coin."""
    needed = len(f"{abs(amount_nano) % NANO:09d}".rstrip("0"))
    return _with_symbol(number(amount_nano, 9, max(needed, minor_digits(currency)), language, currency), currency, language)


def _with_symbol(text: str, currency: str, language: str) -> str:
    symbol = SYMBOLS.get(currency, currency)
    sign, digits = (MINUS, text[1:]) if text.startswith(MINUS) else ("", text)
    return f"{sign}{symbol}\N{NO-BREAK SPACE}{digits}" if FORMATS[language].symbol_first else f"{text}\N{NO-BREAK SPACE}{symbol}"


def energy(wh: int, language: str, unit: str = "kWh") -> str:
    """Watt-hours as kWh (VAh as kVAh) with three decimals: exact."""
    return f"{number(wh, 3, 3, language)}\N{NO-BREAK SPACE}{unit}"


def percent(ppm: int, language: str) -> str:
    """A rate in parts per million with the decimals it needs."""
    return f"{shortest(ppm, 4, language)}\N{NO-BREAK SPACE}%"


def day(at_ms: int, zone: str, language: str) -> str:
    """21 Nov 2026"""
    return iso_day(f"{local(at_ms, zone):%Y-%m-%d}", language)


def iso_day(text: str, language: str) -> str:
    """The same of a local day written 2026-11-21."""
    when = date.fromisoformat(text)
    return f"{when.day} {FORMATS[language].months[when.month - 1]} {when.year}"


def shortest(value: int, scale: int, language: str) -> str:
    """value / 10^scale with the decimals it needs."""
    return number(value, scale, len(f"{abs(value) % 10**scale:0{scale}d}".rstrip("0")), language)


def moment(at_ms: int, zone: str, language: str) -> str:
    """21 Nov 2026, 14:05"""
    return f"{day(at_ms, zone, language)}, {local(at_ms, zone):%H:%M}"
