"""What an instrument holds beside an amount, by type: typed records in `Instrument.detail`.

* kWh and hours are sold at a price that is written down here, so money stays exact: the amount must be what they cost.
* A hold or protection names its reason by the words of `REASONS`; their order is on paper in keypad codes and never changes.
* `until_ms` 0 is "until it is lifted".

Source: prepayment.md 1.2, 5.2; safety.md 1, 6.
"""

from __future__ import annotations

from gridtally_shared.contract.codec import decode, key
from gridtally_shared.errors import ContractError
from gridtally_shared.records import dataclass

REASONS: tuple[str, ...] = (
    "safety", "work", "tamper", "vacant", "customer", "regulator", "disaster", "weather", "medical", "priority", "dispute",
    "conversion", "schedule",
)  # fmt: skip
LIFTED_ON_SITE = frozenset({"safety", "work"})
"""Lifted by a named person on site only, never by an instrument."""
MOST_LIMIT_W = 10_000_000


@dataclass(frozen=True, slots=True)
class EnergySold:
    """Energy bought at a price fixed at the sale."""

    energy_wh: int = key(0)
    per_kwh_nano: int = key(1)
    tariff_id: str = key(2, "")
    tariff_version: int = key(3, 0)

    @property
    def cost_nano(self) -> int:
        return self.energy_wh * self.per_kwh_nano // 1_000


@dataclass(frozen=True, slots=True)
class TimeSold:
    """Hours of supply bought at a price fixed at the sale."""

    hours: int = key(0)
    per_hour_nano: int = key(1)

    @property
    def cost_nano(self) -> int:
        return self.hours * self.per_hour_nano


@dataclass(frozen=True, slots=True)
class DebtTaken:
    """A debt the account takes on: collected by time or out of each payment, at the rates of its policy. `why` is for people."""

    by: str = key(0)
    why: str = key(1, "")


CARRIED_OVER = "carried over"
"""Why of a debt that an account had before, at another concentrator."""
OF_BILLS = "bills"
"""Why of a debt of bills whose numbers it does not name."""


@dataclass(frozen=True, slots=True)
class LeaseGrant:
    """The answer to ask `number` of a shared wallet; 0 was not asked for."""

    wallet_no: int = key(0)
    number: int = key(1)


@dataclass(frozen=True, slots=True)
class LimitOrder:
    """A load limit in watts, 0 lifts it. A step down passes the cut tests before it is programmed (safety.md 5)."""

    limit_w: int = key(0)
    until_ms: int = key(1, 0)
    reason: str = key(2, "")


def limit_of(detail: bytes) -> LimitOrder:
    """The detail of a LIMIT command. Raises ContractError."""
    order = decode(LimitOrder, detail)
    if not (0 <= order.limit_w <= MOST_LIMIT_W and order.until_ms >= 0):
        raise ContractError(f"a limit of {order.limit_w} W until {order.until_ms} is none")
    return order


@dataclass(frozen=True, slots=True)
class ModeOrder:
    """An AccountMode, taken up at the end of a recording interval."""

    mode: int = key(0)


@dataclass(frozen=True, slots=True)
class HoldOrder:
    """Set or lift a hold on the switch."""

    reason: str = key(0)
    on: bool = key(1, True)


@dataclass(frozen=True, slots=True)
class ProtectOrder:
    """No cut for this reason until then."""

    reason: str = key(0)
    on: bool = key(1, True)
    until_ms: int = key(2, 0)


@dataclass(frozen=True, slots=True)
class TariffLoad:
    """A tariff version, as `TariffDocument` has it."""

    tariff_id: str = key(0)
    version: int = key(1)
    from_ms: int = key(2)
    document: str = key(3)


@dataclass(frozen=True, slots=True)
class KeyChange:
    """The new key of an account's keypad codes; the one before is refused from here on."""

    version: int = key(0)
    secret: bytes = key(1)


@dataclass(frozen=True, slots=True)
class UnbalanceOrder:
    """The largest difference between the currents of two phases, in milliampere; 0 lifts it."""

    limit_ma: int = key(0)


CORRECTED = ("clock", "tariff", "reading")


@dataclass(frozen=True, slots=True)
class ChargeCorrection:
    """Past charges were wrong: `why` is one of CORRECTED, from when to when, and a note for people. The amount of the instrument is the
    difference, above zero in the consumer's favour."""

    why: str = key(0)
    from_ms: int = key(1)
    to_ms: int = key(2)
    note: str = key(3, "")


Detail = (
    EnergySold | TimeSold | DebtTaken | LeaseGrant | LimitOrder | ModeOrder | HoldOrder | ProtectOrder | TariffLoad | KeyChange
    | UnbalanceOrder | ChargeCorrection
)  # fmt: skip
