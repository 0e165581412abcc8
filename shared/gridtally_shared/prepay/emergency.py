"""Emergency credit as it is shown: offered, in use, ready for later, and how much. The display and the portal say the same. Pure.

Source: prepayment.md 3.4, 6.4; ETSI 5.2.5 step 5.
"""

from __future__ import annotations

from gridtally_shared.ledger.entries import Pool
from gridtally_shared.ledger.money_order import owed
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.prepay.policy import Policy
from gridtally_shared.records import dataclass

OFFERED, IN_USE, READY, NONE = "offered", "in_use", "ready", "none"
TOLD = {"EC_OFFER": OFFERED, "EC_ON": IN_USE, "CREDIT": ""}
"""What the newest of these messages says of it."""


@dataclass(frozen=True, slots=True)
class EmergencyNow:
    """`state`: 'none', 'offered' (it may be taken now), 'in_use', 'ready' (for when the balance is low); `left_nano` of it."""

    state: str
    left_nano: int = 0
    used_nano: int = 0


def emergency_now(policy: Policy, ledger: LedgerState, known: str = "") -> EmergencyNow:
    """`known`: 'offered' or 'in_use' where that is known; otherwise what is used tells."""
    limit_nano, used_nano = policy.emergency.limit_nano, owed(ledger, Pool.EMERGENCY)
    if not limit_nano:
        return EmergencyNow(NONE)
    return EmergencyNow(known or (IN_USE if used_nano else READY), max(0, limit_nano - used_nano), used_nano)
