"""What the 20 bits of a keypad code stand for, by type: the instrument and back. One table.

    CREDIT   amount (keypad_code.py)
    HOLD     reason 5 bits, set or lifted 1
    PROTECT  reason 5 bits, set or lifted 1, until 14: the end of a day, counted from the first of 2026 (UTC); 0 until lifted
    MODE     an AccountMode

The instrument of a code carries what a code can: type, number, amount and detail. Payment reference, time of issue and the
hash of the one before come later with the signed copy, which must say the same (`same_order`).

Source: prepayment.md 5.2; safety.md 6 (HOLD and PROTECT travel by code as well).
"""

from __future__ import annotations

from collections.abc import Callable

from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import CONTRACT_VERSION, Instrument, InstrumentType
from gridtally_shared.instruments.details import REASONS, HoldOrder, ModeOrder, ProtectOrder
from gridtally_shared.instruments.forms import fault_of
from gridtally_shared.instruments.keypad_code import VALUE_BITS, CodeContext, CodeType, KeypadCode, amount_of, amount_value
from gridtally_shared.records import dataclass

FIRST_DAY_MS = 1_767_225_600_000  # 2026-01-01
REASON_BITS, DAY_BITS = 5, 14
ON = 1 << REASON_BITS


@dataclass(frozen=True, slots=True)
class Content:
    """`write` gives the value of an instrument, None where a code can not say it; `read` amount and detail of a value."""

    type: InstrumentType
    write: Callable[[Instrument], int | None]
    read: Callable[[int, str], tuple[int, bytes] | None]


def _hold_value(instrument: Instrument) -> int | None:
    order = decode(HoldOrder, instrument.detail)
    return REASONS.index(order.reason) | (ON if order.on else 0)


def _protect_value(instrument: Instrument) -> int | None:
    order = decode(ProtectOrder, instrument.detail)
    days, rest = divmod(order.until_ms - FIRST_DAY_MS, MS_PER_DAY) if order.until_ms else (0, 0)
    if rest or not 0 <= days < 1 << DAY_BITS or (order.until_ms and not days):
        return None
    return days << REASON_BITS + 1 | REASONS.index(order.reason) | (ON if order.on else 0)


def _amount(value: int, currency: str) -> tuple[int, bytes] | None:
    amount_nano = amount_of(value, currency)
    return None if amount_nano is None else (amount_nano, b"")


def _reason(value: int) -> str | None:
    index = value & ON - 1
    return REASONS[index] if index < len(REASONS) else None


def _hold(value: int, _: str) -> tuple[int, bytes] | None:
    reason = _reason(value)
    return (0, encode(HoldOrder(reason, bool(value & ON)))) if reason and value < ON << 1 else None


def _protect(value: int, _: str) -> tuple[int, bytes] | None:
    reason, days = _reason(value), value >> REASON_BITS + 1
    until_ms = FIRST_DAY_MS + days * MS_PER_DAY if days else 0
    return (0, encode(ProtectOrder(reason, bool(value & ON), until_ms))) if reason else None


CONTENTS: dict[CodeType, Content] = {
    CodeType.CREDIT: Content(InstrumentType.CREDIT, lambda i: amount_value(i.amount_nano, i.currency), _amount),
    CodeType.HOLD: Content(InstrumentType.HOLD, _hold_value, _hold),
    CodeType.PROTECT: Content(InstrumentType.PROTECT, _protect_value, _protect),
    CodeType.MODE: Content(
        InstrumentType.MODE_SET, lambda i: decode(ModeOrder, i.detail).mode, lambda value, _: (0, encode(ModeOrder(value)))
    ),
}
CODE_TYPES: dict[int, CodeType] = {int(content.type): code for code, content in CONTENTS.items()}


def value_of(instrument: Instrument) -> tuple[CodeType, int] | None:
    """Type and value of the code that stands for a sound instrument; None where no code can."""
    kind = CODE_TYPES.get(instrument.type)
    if kind is None or fault_of(instrument):
        return None
    value = CONTENTS[kind].write(instrument)
    return (kind, value) if value is not None and value < 1 << VALUE_BITS else None


def instrument_of(code: KeypadCode, context: CodeContext, gseq: int) -> Instrument | None:
    """The instrument a sealed code stands for; None for a value that means nothing."""
    content = CONTENTS[code.type]
    said = content.read(code.value, context.currency)
    if said is None:
        return None
    made = Instrument(
        CONTRACT_VERSION, context.dcu, context.account_no, context.epoch, gseq, content.type, said[0], context.currency, b"", 0, b"",
        said[1],
    )  # fmt: skip
    return None if fault_of(made) else made


def same_order(one: Instrument, other: Instrument) -> bool:
    """Whether two instruments say the same, whatever carried them."""
    return _order(one) == _order(other)


def _order(i: Instrument) -> tuple[object, ...]:
    return (i.dcu, i.account_no, i.account_epoch, i.gseq, i.type, i.amount_nano, i.currency, i.detail)
