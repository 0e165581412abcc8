"""Switch orders that want of money led to: what one by the rules of an account that is managed from the cloud brings along (safety.md 17),
and what a cut for nonpayment that the utility orders is.

* It is an ordinary signed command; its cause is PREPAY and its detail a `PrepayOrder`. The concentrator asks of it what it asks of a
  cut of its own: the register in the same exchange, not below what was charged; and presence where the policy wants it.
* What has no such detail, or one that can not be read, is not carried out.
* A cut for NONPAYMENT is the utility's own (a disconnect run). It is refused where there is money by now, and a payment brings the supply
  back as after a cut of the concentrator's own.
"""

from __future__ import annotations

from gridtally_shared.contract.codec import decode, key
from gridtally_shared.contract.messages import Command
from gridtally_shared.errors import ContractError
from gridtally_shared.records import dataclass

PREPAY = "prepay"
NONPAYMENT = "nonpayment"
"""What the cause of such a cut begins with."""


@dataclass(frozen=True, slots=True)
class PrepayOrder:
    """`min_register_wh`: what was charged so far, asked of a cut; `arm`: a close only arms the meter; `evidence`: the decision as it stands
    in the account's journal (`ledger/evidence.py`)."""

    min_register_wh: int | None = key(0, None)
    arm: bool = key(1, False)
    evidence: bytes = key(2, b"")


def is_by_money(cause: str) -> bool:
    """Whether money opened what an order of this cause opened."""
    return cause == PREPAY or cause.startswith(NONPAYMENT)


def prepay_order(command: Command) -> PrepayOrder | None:
    """What the order says beside; None where it can not be read."""
    try:
        return decode(PrepayOrder, command.detail) if command.cause == PREPAY else None
    except ContractError:
        return None
