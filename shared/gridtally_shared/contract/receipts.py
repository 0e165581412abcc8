"""What a receipt must say: which message, which meter, and when it was completed (C3-FR15). The cloud takes no other."""

from __future__ import annotations

from collections.abc import Iterator

from gridtally_shared.contract.messages import CommandReceipt
from gridtally_shared.lifecycle import CommandState

ID_BYTES = 16
EARLIEST_MS = 1_000_000_000_000
"""September 2001: a time before is none, but a clock that was never set."""


def receipt_faults(receipt: CommandReceipt) -> Iterator[str]:
    """What is wrong with it, in words; nothing where it is whole."""
    rules = (
        (len(receipt.cmd_id) == ID_BYTES, f"the message id has {len(receipt.cmd_id)} bytes"),
        (receipt.meter_no > 0, f"the meter is {receipt.meter_no}"),
        (receipt.at_ms > EARLIEST_MS, f"the time is {receipt.at_ms}"),
        (receipt.state in CommandState.__members__.values(), f"the state {receipt.state} is not known"),
    )
    yield from (fault for holds, fault in rules if not holds)
