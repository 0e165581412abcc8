"""The face of an IS 15959 meter: its prepayment objects, 0.0.94.96.19 to .25 (or 0.0.94.91), and the consumer message of its
display, 0.0.96.13.1: read in one list, written one by one.

* The meter computes no credit: it shows what it is told. Amounts are in the meter's unit, a setting (rupee or paisa), and are
  rounded down to it; times are date-times.
* The message is text in ASCII, since no meter's letters are known. A meter may lack any of these objects.

Source: IS 15959 part 2; IEC 62056-6-1 (consumer message); protocols.md 6.3.
"""

from __future__ import annotations

from typing import Final

from gridtally_edge.drivers.is15959_codec import moment_data, moment_of
from gridtally_edge.drivers.is15959_config import Is15959Settings
from gridtally_edge.drivers.is15959_settings import Write
from gridtally_edge.drivers.model import Face, Recharge
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import Attribute, Result, attribute
from gridtally_edge.protocols.dlms.axdr import Data, Tag
from gridtally_edge.protocols.dlms.cosem_time import ClockRule
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.lifecycle import Reason
from gridtally_shared.records import dataclass

MESSAGE: Final = attribute(1, "0.0.96.13.1.255", 2)
SAME_MOMENT_MS: Final = 1_000
_LIMIT: Final = 1 << 31
_NUMBERS: Final = range(19, 26)


@dataclass(frozen=True, slots=True)
class Prepaid:
    """What the meter shows; None where it has no such object. `payment_mode` 1 is prepaid, 0 postpaid; `text` is its message."""

    metering_mode: int | None
    payment_mode: int | None
    recharge_nano: int | None
    recharged_at_ms: int | None
    total_nano: int | None
    balance_nano: int | None
    balance_at_ms: int | None
    text: str | None = None


def prepaid_objects(settings: Is15959Settings) -> tuple[Attribute, ...]:
    base = settings.balance_family.value
    return (*(attribute(1, f"{base}.{number}.255", 2) for number in _NUMBERS), MESSAGE)


def prepaid_of(outcomes: tuple[Data | Result, ...], settings: Is15959Settings, rule: ClockRule) -> Prepaid:
    """Raises MeterFault for a value of another kind."""
    *values, message = [None if isinstance(outcome, Result) else outcome for outcome in outcomes]
    text = None if message is None else axdr.octets_of(message).decode("ascii", "replace")
    unit = settings.balance_unit_nano
    numbers = [None if v is None or at in (3, 6) else axdr.integer_of(v) for at, v in enumerate(values)]
    times = [moment_of(v, rule) if v is not None and at in (3, 6) else None for at, v in enumerate(values)]
    amounts = [None if n is None else n * unit for n in numbers]
    return Prepaid(numbers[0], numbers[1], amounts[2], times[3], amounts[4], amounts[5], times[6], text)


def balance_writes(amount_nano: int, at_ms: int, settings: Is15959Settings, rule: ClockRule) -> tuple[Write, ...]:
    """The balance and the moment it held. Raises RefusedCommand for an amount the display cannot hold."""
    objects = prepaid_objects(settings)
    return Write(objects[5], _amount(amount_nano, settings)), Write(objects[6], moment_data(at_ms, rule))


def recharge_writes(recharge: Recharge, settings: Is15959Settings, rule: ClockRule) -> tuple[Write, ...]:
    """The last recharge, when it came, and the total there was after it. Raises as `balance_writes`."""
    objects = prepaid_objects(settings)
    return (
        Write(objects[2], _amount(recharge.amount_nano, settings)),
        Write(objects[3], moment_data(recharge.at_ms, rule)),
        Write(objects[4], _amount(recharge.total_nano, settings)),
    )


def text_write(text: str) -> Write:
    return Write(MESSAGE, axdr.octet_string(text.encode("ascii", "replace")))


def difference(seen: Prepaid, face: Face, settings: Is15959Settings) -> str:
    """What a face reads back as where it is not what was written; "" where it is."""
    wanted_nano = _shown_nano(face.balance_nano, settings)
    if seen.balance_nano != wanted_nano or not _is_moment(seen.balance_at_ms, face.at_ms):
        return f"the balance reads back as {seen.balance_nano} of {seen.balance_at_ms}, written were {wanted_nano} of {face.at_ms}"
    if seen.text is not None and seen.text != face.text:
        return f"the line of text reads back as {seen.text!r}, written was {face.text!r}"
    return ""


def shows_recharge(seen: Prepaid, recharge: Recharge, settings: Is15959Settings) -> bool:
    """Whether the meter shows this top-up, or has no object for one."""
    if seen.recharge_nano is None:
        return True
    amounts = tuple(_shown_nano(nano, settings) for nano in (recharge.amount_nano, recharge.total_nano))
    return (seen.recharge_nano, seen.total_nano) == amounts and _is_moment(seen.recharged_at_ms, recharge.at_ms)


def _shown_nano(amount_nano: int, settings: Is15959Settings) -> int:
    return amount_nano // settings.balance_unit_nano * settings.balance_unit_nano


def _is_moment(seen_ms: int | None, at_ms: int) -> bool:
    return seen_ms is not None and abs(seen_ms - at_ms) < SAME_MOMENT_MS


def _amount(amount_nano: int, settings: Is15959Settings) -> Data:
    amount = amount_nano // settings.balance_unit_nano
    if not -_LIMIT <= amount < _LIMIT:
        raise RefusedCommand(Reason.MALFORMED, f"a balance of {amount} does not fit the meter's display")
    return Data(Tag.INT32, amount)
