"""Words of one language, with the currency and zone of one account: how money, times, spans and loads are written.

* The kind of a parameter is told by its name (KINDS): `a` is an amount to pay (rounded up to the coin), `b` a balance (rounded
  down), `t` a span, `s` and `d` moments (start and end), `w` a load; names of the stored tests end in their unit.
* Figures and units stay together at the end of a line; digits are the same in every language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.messages.catalogue import phrase, places
from gridtally_shared.money import SYMBOLS, decimal_text, display, floor_to_minor, minor_digits, round_half_even
from gridtally_shared.records import dataclass

PRICE_DIGITS = 4
SPANS = ("t", "age_ms", "limit_ms", "over_ms", "uncertainty_ms")
MOMENTS = ("d", "s", "at_ms", "until_ms", "since_ms")
LOADS = ("w", "demand_w", "limit_w", "power_w")
NAMES = ("holds", "flags", "mode")


@dataclass(frozen=True, slots=True)
class Words:
    language: str
    currency: str = ""
    zone: ZoneInfo | None = None

    def say(self, table: str, code: str, params: Mapping[str, str] | None = None) -> str:
        """The sentence of a code; the code itself where there are no words for it, or where a parameter is missing."""
        text = phrase(table, code, self.language)
        given = params or {}
        if text is None or not places(text) <= given.keys():
            return code
        return text.format(**{name: self.value(name, given[name]) for name in places(text)})

    def message(self, code: str, params: Mapping[str, str], text: str = "") -> str:
        """A stored message; `text` is the words of one that brought its own."""
        return self.say("notices", code, {**params, "text": text})

    def value(self, name: str, value: str) -> str:
        """A parameter in words: its kind is told by its name."""
        write = KINDS.get(name)
        if write is not None:
            return write(self, int(value)) if value.lstrip("-").isdigit() and len(value) <= 20 else value
        return self.named(value.split(",")) if name in NAMES else value

    def named(self, codes: Iterable[str]) -> str:
        """Names of holds, protections and modes."""
        return ", ".join(phrase("why", f"name_{c.strip()}", self.language) or c.strip() for c in codes)

    def money(self, amount_nano: int) -> str:
        return _together(display(amount_nano, self.currency))

    def asked(self, amount_nano: int) -> str:
        """An amount to pay, rounded up to the coin: what is asked for is never too little."""
        return self.money(-floor_to_minor(-amount_nano, self.currency))

    def price(self, amount_nano: int) -> str:
        """A price to a ten-thousandth, without needless zeros."""
        whole, _, decimals = decimal_text(round_half_even(amount_nano, PRICE_DIGITS)).partition(".")
        decimals = decimals.ljust(minor_digits(self.currency), "0")
        return _together(f"{SYMBOLS.get(self.currency, self.currency)} {whole}{'.' if decimals else ''}{decimals}")

    def moment(self, at_ms: int) -> str:
        """Local date and time, the same digits in every language."""
        return datetime.fromtimestamp(at_ms // 1000, self.zone).strftime("%d.%m.%Y %H:%M")

    def span(self, ms: int) -> str:
        """The two largest units of days, hours and minutes; rounded down. Seconds below a minute."""
        if 0 < ms < 60_000:
            return _together(f"{ms // 1000} s")
        days, rest = divmod(max(0, ms), MS_PER_DAY)
        hours, rest = divmod(rest, MS_PER_HOUR)
        parts = ((days, "d"), (hours, "h"), (rest // 60_000, "min"))
        first = next((i for i, (count, _) in enumerate(parts) if count), 2)
        return _together(" ".join(f"{count} {unit}" for count, unit in parts[first : first + 2]))

    def whole_span(self, ms: int) -> str:
        return _together(whole_span(ms))

    def kwh(self, wh: int) -> str:
        """Two decimals below 100 kWh, one above, as on the portal."""
        digits = 2 if abs(wh) < 100_000 else 1
        step = int(10 ** (3 - digits))
        units = (abs(wh) + step // 2) // step
        return _together(f"{'-' if wh < 0 else ''}{units // 10**digits}.{units % 10**digits:0{digits}d} kWh")

    def load(self, watts: int) -> str:
        """Below ten kilowatts to the watt."""
        return _together(f"{watts} W" if abs(watts) < 10_000 else f"{decimal_text(watts // 100 * 10**8)} kW")


def whole_span(ms: int) -> str:
    """Days, hours and minutes, rounded down (C3-FR1); no days or hours where there are none."""
    days, rest = divmod(max(0, ms), MS_PER_DAY)
    hours, rest = divmod(rest, MS_PER_HOUR)
    parts = ((days, "d"), (hours, "h"), (rest // 60_000, "min"))
    first = next((i for i, (count, _) in enumerate(parts) if count), 2)
    return " ".join(f"{count} {unit}" for count, unit in parts[first:])


KINDS: dict[str, Callable[[Words, int], str]] = {
    "a": Words.asked,
    "b": Words.money,
    "balance_nano": Words.money,
    **dict.fromkeys(SPANS, Words.span),
    **dict.fromkeys(MOMENTS, Words.moment),
    **dict.fromkeys(LOADS, Words.load),
}


def _together(text: str) -> str:
    """A figure and its unit are not parted at the end of a line."""
    return text.replace(" ", "\u00a0")
