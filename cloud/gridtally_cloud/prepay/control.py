"""Control instruments by their purpose: what staff and services order of an account, signed and in its order.

* Each is issued with its outbox row and a line of audit in the caller's transaction; the edge applies it when every number
  before it is used.
* A hold lifted on site only (safety, work) is refused here, before anything is signed.

Source: prepayment.md 1.2, 5.3; safety.md 1, 6.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Connection

from gridtally_cloud.commands.flow import check_may_limit
from gridtally_cloud.customers.accounts import held, hold
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account
from gridtally_cloud.prepay import keypad
from gridtally_cloud.prepay.handover_tables import is_managed
from gridtally_cloud.prepay.instruments import Source, issue
from gridtally_cloud.prepay.restored import check_may_issue
from gridtally_shared.contract.messages import InstrumentType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments import details as d
from gridtally_shared.signing import Signer

Order = d.LimitOrder | d.ModeOrder | d.HoldOrder | d.ProtectOrder | d.UnbalanceOrder | d.TariffLoad | d.DebtTaken

TYPES: dict[type, InstrumentType] = {
    d.LimitOrder: InstrumentType.LIMIT_SET,
    d.ModeOrder: InstrumentType.MODE_SET,
    d.HoldOrder: InstrumentType.HOLD,
    d.ProtectOrder: InstrumentType.PROTECT,
    d.UnbalanceOrder: InstrumentType.UNBALANCE_SET,
    d.TariffLoad: InstrumentType.TARIFF_LOAD,
    d.DebtTaken: InstrumentType.DEBT,
}


class ControlReason(StrEnum):
    NO_DCU = "no_dcu"
    ON_SITE_ONLY = "on_site_only"
    UNKNOWN_REASON = "unknown_reason"
    NOTHING_TO_CORRECT = "nothing_to_correct"
    NOT_PREPAID = "not_prepaid"
    MANAGED = "managed"


def order(conn: Connection, signer: Signer, account_no: int, detail: Order, at_ms: int, actor: str, owed_nano: int = 0) -> int:
    """Issue what `detail` orders; the instrument's number. `owed_nano`: how much a debt is. Raises RefusedCommand
    (unknown_account, no_dcu, on_site_only, unknown_reason, no_flow_limit, managed)."""
    _check(detail)
    if isinstance(detail, d.LimitOrder) and detail.limit_w:
        check_limit(conn, held(conn, account_no))
    return _issue(conn, signer, account_no, TYPES[type(detail)], at_ms, actor, detail, -owed_nano)


def check_limit(conn: Connection, account: Account) -> None:
    """Raises RefusedCommand (no_flow_limit, managed) where nobody could keep a limit."""
    check_may_limit(conn, account.meter_no)
    if is_managed(conn, account.account_no):
        raise RefusedCommand(ControlReason.MANAGED, f"account {account.account_no} is managed from here, and only a concentrator limits a "
                             "load: give it back to its concentrator first")  # fmt: skip


def correct(conn: Connection, signer: Signer, account_no: int, amount_nano: int, detail: d.ChargeCorrection, at_ms: int,
            actor: str) -> int:  # fmt: skip
    """Correct past charges by `amount_nano` (above zero: given back); the instrument's number. Raises RefusedCommand (unknown_account,
    no_dcu, nothing_to_correct, not_prepaid)."""
    if not amount_nano or detail.from_ms >= detail.to_ms:
        raise RefusedCommand(ControlReason.NOTHING_TO_CORRECT, "a correction has an amount other than zero, and ends after it begins")
    if not held(conn, account_no).is_prepaid:
        raise RefusedCommand(ControlReason.NOT_PREPAID, f"account {account_no} is billed and has no balance at a meter: correct its bill")
    return _issue(conn, signer, account_no, InstrumentType.CORRECTION, at_ms, actor, detail, amount_nano)


def clear_credit(conn: Connection, signer: Signer, account_no: int, at_ms: int, actor: str) -> int:
    """Move an account's credit out, as a transfer in its journal."""
    return _issue(conn, signer, account_no, InstrumentType.CREDIT_CLEAR, at_ms, actor)


def clear_tamper(conn: Connection, signer: Signer, account_no: int, at_ms: int, actor: str) -> int:
    """Reset the tamper counters of the meter behind an account."""
    return _issue(conn, signer, account_no, InstrumentType.TAMPER_CLEAR, at_ms, actor)


def show_test(conn: Connection, signer: Signer, account_no: int, at_ms: int, actor: str) -> int:
    """Show a test message with the balance; moves nothing."""
    return _issue(conn, signer, account_no, InstrumentType.TEST, at_ms, actor)


def rotate_keypad_key(conn: Connection, signer: Signer, account_no: int, at_ms: int, actor: str) -> int:
    """A new key for the account's codes; codes printed before are refused once the edge has it."""
    hold(conn, account_no)
    version, secret = keypad.rotate(conn, account_no, at_ms)
    return _issue(conn, signer, account_no, InstrumentType.KEY_ROTATE, at_ms, actor, d.KeyChange(version, secret))


def _check(detail: Order) -> None:
    if not isinstance(detail, d.HoldOrder | d.ProtectOrder):
        return
    if detail.reason not in d.REASONS:
        raise RefusedCommand(ControlReason.UNKNOWN_REASON, f"{detail.reason!r} is no reason: one of {', '.join(d.REASONS)}")
    if isinstance(detail, d.HoldOrder) and not detail.on and detail.reason in d.LIFTED_ON_SITE:
        raise RefusedCommand(ControlReason.ON_SITE_ONLY, f"a {detail.reason} hold is lifted by a named person on site, not from here")


def _issue(conn: Connection, signer: Signer, account_no: int, kind: InstrumentType, at_ms: int, actor: str,
           detail: d.Detail | None = None, amount_nano: int = 0) -> int:  # fmt: skip
    account = held(conn, account_no)
    if not account.dcu:
        raise RefusedCommand(ControlReason.NO_DCU, f"account {account_no} is served by no concentrator: nothing can be ordered of it")
    check_may_issue(conn, account)
    source = Source(f"{kind.name.lower()}|{actor}|{at_ms}")
    gseq = issue(conn, signer, account, kind, amount_nano, source, at_ms, detail)
    record(conn, at_ms, actor, f"instrument.{kind.name.lower()}", f"account:{account_no}", f"instrument {account.account_epoch}/{gseq}")
    return gseq
