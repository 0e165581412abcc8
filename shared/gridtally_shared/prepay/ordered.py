"""What a switch order brings along that the rules of an account managed from the cloud led to (safety.md 17).

* It is an ordinary signed command; its cause is PREPAY and its detail a `PrepayOrder`. The concentrator asks of it what it asks of a
  cut of its own: the register in the same exchange, not below what was charged; and presence where the policy wants it.
* What has no such detail, or one that can not be read, is not carried out.
"""

from __future__ import annotations

from gridtally_shared.contract.codec import decode, key
from gridtally_shared.contract.messages import Command
from gridtally_shared.errors import ContractError
from gridtally_shared.records import dataclass

PREPAY = "prepay"


@dataclass(frozen=True, slots=True)
class PrepayOrder:
    """`min_register_wh`: what was charged so far, asked of a cut; `arm`: a close only arms the meter; `evidence`: the decision as it stands
    in the account's journal (`ledger/evidence.py`)."""

    min_register_wh: int | None = key(0, None)
    arm: bool = key(1, False)
    evidence: bytes = key(2, b"")


def prepay_order(command: Command) -> PrepayOrder | None:
    """What the order says beside; None where it can not be read."""
    try:
        return decode(PrepayOrder, command.detail) if command.cause == PREPAY else None
    except ContractError:
        return None
