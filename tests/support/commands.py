"""Signed commands to a little street, and what came back."""

from __future__ import annotations

import os

from gridtally_shared.contract import messages as m
from gridtally_shared.lifecycle import COMMAND_RULES, CommandState
from gridtally_shared.meter_settings import Setting
from support.little_street import DCU, LittleStreet

_counters: dict[bytes, int] = {}


def command(
    street: LittleStreet, kind: m.CommandType, meter_no: int = 1, from_ms: int = 0, to_ms: int = 0,
    settings: tuple[Setting, ...] = (), reset: int = 0,
) -> m.Command:  # fmt: skip
    """With the next number of this street's key."""
    now_ms = street.clock.now_ms()
    counter = _counters[street.signer.key_id] = _counters.get(street.signer.key_id, 0) + 1
    safety, priority, ttl_ms = COMMAND_RULES[kind]
    return m.Command(
        1, os.urandom(16), DCU, meter_no, kind, safety, priority, counter, now_ms, now_ms, now_ms + ttl_ms, os.urandom(16),
        from_ms, to_ms, counter, settings=settings, reset=reset,
    )  # fmt: skip


def ready(street: LittleStreet) -> None:
    """A trusted clock, a session, all meters bound and read once."""
    street.say_time()
    street.connect()
    street.configure()
    street.next_quarter()


def last_receipt(street: LittleStreet, order: m.Command) -> m.CommandReceipt:
    receipts = street.entries(m.EntryKind.COMMAND_RECEIPT, m.CommandReceipt)
    found: list[m.CommandReceipt] = [receipt for receipt in receipts if receipt.cmd_id == order.cmd_id]
    return found[-1]


def done(street: LittleStreet, order: m.Command) -> m.CommandReceipt:
    """Send it; its last receipt, which must say done."""
    street.down("command", order)
    last = last_receipt(street, order)
    assert (CommandState(last.state), last.reason) == (CommandState.DONE, "")
    return last
