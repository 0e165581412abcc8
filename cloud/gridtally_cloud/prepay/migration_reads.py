"""What a migration reads at the meter before and after the change: each a command of its own, in rounds.

* Momentary values, intervals and events, and before the change the credit the meter holds; after it the way of paying is written first.
* A read that fails opens an order; when that is closed the reads are asked anew.

Source: BYPL-13.7, 13.8, BYPL-14.2, 14.3, 14.8, 14.9.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from gridtally_cloud.commands import service as commanding
from gridtally_cloud.commands import states
from gridtally_cloud.commands.model import CommandRequest, CommandView
from gridtally_cloud.customers import accounts
from gridtally_cloud.customers.model import Account, Mode
from gridtally_cloud.prepay.held_credit import ASKED
from gridtally_cloud.prepay.migration_rows import ACTOR, Migration, S
from gridtally_cloud.store.tables import command
from gridtally_cloud.workorders.service import OrderKind, open_order, orders
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.meter_settings import Payment, PaymentMode, packed
from gridtally_shared.signing import Signer

READS = (CommandType.READ_INSTANT, CommandType.READ_INTERVALS, CommandType.READ_EVENTS)
SETTINGS = (CommandType.WRITE_SETTINGS, CommandType.READ_SETTINGS)
INTERVAL_MS = 900_000


def ask_reads(conn: Connection, signer: Signer, found: Migration, account: Account, now_ms: int) -> None:
    """Momentary values, the intervals of the last day and the events since; no old command of the round is repeated. After the change
    the meter is told the way of paying first, and read back; before it, the credit it holds is read. A meter may have neither."""
    to_ms = now_ms - now_ms % INTERVAL_MS
    if _phase(found) == "after":
        mode = PaymentMode(Payment.PREPAID if found.wish.to_mode is Mode.PREPAID else Payment.POSTPAID)
        told = CommandRequest(account.meter_no, CommandType.WRITE_SETTINGS, ACTOR, f"migration {found.migration_no}",
                              _key(conn, found, CommandType.WRITE_SETTINGS), settings=(packed(mode),))  # fmt: skip
        commanding.issue(conn, signer, told, now_ms)
    else:
        holds = CommandRequest(account.meter_no, CommandType.READ_SETTINGS, ACTOR, f"migration {found.migration_no}",
                               _key(conn, found, CommandType.READ_SETTINGS), settings=ASKED)  # fmt: skip
        commanding.issue(conn, signer, holds, now_ms)
    for kind in READS:
        request = CommandRequest(account.meter_no, kind, ACTOR, f"migration {found.migration_no}", _key(conn, found, kind),
                                 from_ms=to_ms - MS_PER_DAY, to_ms=to_ms)  # fmt: skip
        commanding.issue(conn, signer, request, now_ms)


def reads_of(conn: Connection, found: Migration, phase: str = "") -> tuple[CommandView, ...]:
    """The newest reads of a migration, as far as they were asked; `phase`: those 'before' or 'after' the change, else of now."""
    keys = [_key(conn, found, kind, phase) for kind in (*READS, *SETTINGS)]
    rows = conn.execute(select(command.c.cmd_id).where(command.c.idempotency_key.in_(keys))).scalars()
    return tuple(view for cmd_id in rows if (view := states.find(conn, bytes(cmd_id))) is not None)


def reads_are_done(conn: Connection, signer: Signer, found: Migration, now_ms: int) -> bool:
    """Whether all of the round have come; one that failed opens an order, and a new round begins when that is closed."""
    reads = reads_of(conn, found)
    if len(reads) < len(READS):  # an order was closed: a new round
        ask_reads(conn, signer, found, accounts.account(conn, found.wish.account_no), now_ms)
        return False
    lost = next((r for r in reads if r.ended and not _is_good(r)), None)
    if lost is not None:
        ref = f"migration {found.migration_no} reads {_round(conn, found)}"
        text = states.end_text(lost.type, lost.meter_no, lost.state, lost.reason)
        open_order(conn, OrderKind.MIGRATION_REVIEW, found.wish.account_no, ref, "reads_failed", now_ms, ACTOR, text)
    return all(_is_good(r) for r in reads)


def _is_good(view: CommandView) -> bool:
    shows_none = view.type in SETTINGS and view.reason == Reason.UNSUPPORTED
    return view.state is CommandState.DONE or shows_none


def _key(conn: Connection, found: Migration, kind: CommandType, phase: str = "") -> str:
    return f"migration:{found.migration_no}:{phase or _phase(found)}:{kind.name}:{_round(conn, found)}"


def _phase(found: Migration) -> str:
    return "before" if found.state in (S.ASKED, S.READING, S.CHECKING) else "after"


def _round(conn: Connection, found: Migration) -> int:
    """How often a person has looked at reads that failed."""
    mine, prefix = orders(conn, account_no=found.wish.account_no), f"migration {found.migration_no} reads "
    return sum(o.kind is OrderKind.MIGRATION_REVIEW and not o.is_open and o.ref.startswith(prefix) for o in mine)
