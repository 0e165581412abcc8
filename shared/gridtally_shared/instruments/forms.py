"""The form of every instrument type: one table, checked on both sides before anything is signed or applied.

* `barrier`: a control instrument. It is applied only when every lower number is; credit may overtake.
* An instrument that does not fit its form is refused whole, with the first reason.

Source: prepayment.md 1.2, 5.3.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Instrument, InstrumentType
from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.errors import ContractError
from gridtally_shared.instruments import details as d
from gridtally_shared.instruments.keypad_code import KEY_BYTES
from gridtally_shared.records import dataclass

T = InstrumentType


class Amount(Enum):
    """Which amounts a type may have."""

    MORE = "more than zero"
    LESS = "less than zero"
    NONE = "zero"
    ANY = "any"

    def fits(self, amount_nano: int) -> bool:
        return {Amount.MORE: amount_nano > 0, Amount.LESS: amount_nano < 0, Amount.NONE: amount_nano == 0, Amount.ANY: True}[self]


@dataclass(frozen=True, slots=True)
class Form:
    amount: Amount
    detail: type | None = None
    barrier: bool = False
    sound: Callable[[Any, Instrument], bool] = lambda detail, instrument: True


def _costs(sold: d.EnergySold | d.TimeSold, instrument: Instrument) -> bool:
    return sold.cost_nano == instrument.amount_nano


def _energy(sold: d.EnergySold, instrument: Instrument) -> bool:
    return sold.energy_wh > 0 and _costs(sold, instrument)


def _time(sold: d.TimeSold, instrument: Instrument) -> bool:
    return sold.hours > 0 and _costs(sold, instrument)


def _limit(order: d.LimitOrder, _: Instrument) -> bool:
    return order.limit_w >= 0 and order.until_ms >= 0


def _hold(order: d.HoldOrder, _: Instrument) -> bool:
    return order.reason in d.REASONS and (order.on or order.reason not in d.LIFTED_ON_SITE)


def _protect(order: d.ProtectOrder, _: Instrument) -> bool:
    return order.reason in d.REASONS and order.until_ms >= 0


def _mode(order: d.ModeOrder, _: Instrument) -> bool:
    return order.mode in AccountMode.__members__.values()


def _debt(debt: d.DebtTaken, _: Instrument) -> bool:
    return debt.by in ("time", "payment")


def _key(change: d.KeyChange, _: Instrument) -> bool:
    return len(change.secret) == KEY_BYTES and change.version > 0


def _correction(correction: d.ChargeCorrection, instrument: Instrument) -> bool:
    return correction.why in d.CORRECTED and 0 <= correction.from_ms < correction.to_ms and instrument.amount_nano != 0


FORMS: dict[InstrumentType, Form] = {
    T.CREDIT: Form(Amount.MORE),
    T.REFUND: Form(Amount.LESS),
    T.OPENING: Form(Amount.ANY),
    T.CREDIT_KWH: Form(Amount.MORE, d.EnergySold, sound=_energy),
    T.CREDIT_TIME: Form(Amount.MORE, d.TimeSold, sound=_time),
    T.DEBT: Form(Amount.LESS, d.DebtTaken, True, _debt),
    T.LEASE: Form(Amount.MORE, d.LeaseGrant),
    T.LEASE_RETURN: Form(Amount.NONE, None, True),
    T.CREDIT_CLEAR: Form(Amount.NONE, None, True),
    T.LIMIT_SET: Form(Amount.NONE, d.LimitOrder, True, _limit),
    T.MODE_SET: Form(Amount.NONE, d.ModeOrder, True, _mode),
    T.HOLD: Form(Amount.NONE, d.HoldOrder, True, _hold),
    T.PROTECT: Form(Amount.NONE, d.ProtectOrder, True, _protect),
    T.TARIFF_LOAD: Form(Amount.NONE, d.TariffLoad, True),
    T.KEY_ROTATE: Form(Amount.NONE, d.KeyChange, True, _key),
    T.TAMPER_CLEAR: Form(Amount.NONE, None, True),
    T.UNBALANCE_SET: Form(Amount.NONE, d.UnbalanceOrder, True, lambda order, _: order.limit_ma >= 0),
    T.TEST: Form(Amount.NONE, None, True),
    T.CORRECTION: Form(Amount.ANY, d.ChargeCorrection, sound=_correction),
}

PAYMENT_TYPES = frozenset({T.CREDIT, T.REFUND, T.CREDIT_KWH, T.CREDIT_TIME})
"""What stands for money somebody paid or was given back."""


def form_of(instrument: Instrument) -> Form | None:
    return FORMS.get(InstrumentType(instrument.type)) if instrument.type in T.__members__.values() else None


def detail_of(instrument: Instrument) -> Any:
    """The typed detail, None where the type has none. Raises ContractError."""
    form = form_of(instrument)
    if form is None or form.detail is None:
        return None
    return decode(form.detail, instrument.detail)


def fault_of(instrument: Instrument) -> str:
    """Why an instrument does not fit its form; '' when it does."""
    form = form_of(instrument)
    if form is None:
        return "unknown type"
    if not form.amount.fits(instrument.amount_nano):
        return "amount"
    if form.detail is None:
        return "detail" if instrument.detail else ""
    try:
        sound = form.sound(decode(form.detail, instrument.detail), instrument)
    except ContractError:
        return "detail"
    return "" if sound else "detail"
