"""What a register reading is good for. Pure.

* The register is a witness: what is charged in all is what it moved since OPEN (prepayment.md I9), whatever the splits.
* A register that went back or jumped beyond what a service can carry is held: nothing is charged until it is plausible
  again or the cloud opens a new epoch. A rollover is followed where the register's modulus is known.
* Journal registers are unwrapped: they go on counting past the rollover.
"""

from __future__ import annotations

from enum import Enum

from gridtally_edge.prepay.events import MeterRead
from gridtally_edge.prepay.switching import UNUSABLE
from gridtally_shared.ledger.register import possible_wh
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.records import dataclass


class Verdict(Enum):
    """What a reading is good for. IGNORE: no usable register value, or an older one than the last charged."""

    IGNORE = "ignore"
    OPEN = "open"
    CHARGE = "charge"
    WENT_BACK = "went_back"
    JUMPED = "jumped"


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    register_wh: int = 0


def judge(state: LedgerState, last_good_ms: int, held: str, held_wh: int | None, read: MeterRead, believed: bool = True) -> Judgement:
    """`last_good_ms`: the newest reading that was charged, moved or not. `held` and `held_wh`: why and at which register
    value this account's charging is held, if it is; a jump without a value was seen by a clock that was not believed, and is
    judged anew once it is (`believed`)."""
    if read.register_wh is None or read.register_wh < 0 or read.quality & UNUSABLE:
        return Judgement(Verdict.IGNORE)
    if state.register_wh is None:
        return Judgement(Verdict.OPEN, read.register_wh)
    if read.at_ms < last_good_ms:
        return Judgement(Verdict.IGNORE)
    register_wh = unwrapped(state.register_wh, read.register_wh, read.register_modulus_wh)
    if register_wh < state.register_wh:
        return Judgement(Verdict.WENT_BACK, register_wh)
    if held == Verdict.JUMPED.value and _is_still_beyond(held_wh, register_wh, believed):
        return Judgement(Verdict.JUMPED, register_wh)
    beyond = register_wh - state.register_wh > possible_wh(read.at_ms - last_good_ms)
    return Judgement(Verdict.JUMPED if beyond else Verdict.CHARGE, register_wh)


def _is_still_beyond(held_wh: int | None, register_wh: int, believed: bool) -> bool:
    return not believed if held_wh is None else register_wh >= held_wh


def unwrapped(base_wh: int, raw_wh: int, modulus_wh: int | None) -> int:
    """The raw register continued past its rollovers, as near to `base_wh` as it can be."""
    if not modulus_wh:
        return raw_wh
    ahead = (raw_wh - base_wh) % modulus_wh
    return base_wh + (ahead if ahead <= modulus_wh // 2 else ahead - modulus_wh)
