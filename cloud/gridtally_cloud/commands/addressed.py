"""Open commands follow a meter to the concentrator that comes in place of a dead one, and a supply to its next meter.

* A command keeps its id, its state and its expiry; it is signed again for the new concentrator, with a counter of that one. What the
  old one still says of it is set aside: it never went to that one.
* What was on its way goes again where doing it twice harms nobody, or where its time has not come. The rest (a cut now, a reset, a test)
  may have been done: nobody does it a second time, and its sender is told at its expiry that no receipt came.
* What never left the house is addressed anew, a schedule for the next meter too. Another order for a meter that is gone ends at once:
  whoever gave it is told to give it again. What is on its way to that meter is refused where it arrives.

Source: prepayment.md 5.8; architecture.md section 3; safety.md 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, or_, select, update

from gridtally_cloud.commands import service, states
from gridtally_cloud.store import outbox
from gridtally_cloud.store.tables import command, outbox_down
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.signing import Signer

S = CommandState
OPEN = tuple(int(s) for s in S if s < S.DONE and s is not S.ANSWERED)
ONCE = frozenset({CommandType.SWITCH_OPEN, CommandType.RESET, CommandType.TEST_SUPPLY})
"""What may not be done twice, or is of no use later."""


def to_edge(conn: Connection, signer: Signer, meter_no: int, dcu: str, now_ms: int, by: str) -> int:
    """A meter is served by another concentrator: its open commands go there. How many."""
    c = command.c
    rows = _held(conn, c.meter_no == meter_no, c.dcu != dcu, c.expires_ms > now_ms)
    going = [row for row in rows if S(row.state) in service.UNSENT or row.type not in ONCE or row.not_before_ms > now_ms]
    for row in going:
        address(conn, signer, row, now_ms, by, dcu=dcu)
    return len(going)


def off_meter(conn: Connection, meter_no: int, now_ms: int, by: str) -> int:
    """A meter is gone: what waits in the house for it ends. How many."""
    rows = _held(conn, command.c.meter_no == meter_no, command.c.state.in_([int(s) for s in service.UNSENT]))
    for row in rows:
        states.advance(conn, bytes(row.cmd_id), S.CANCELLED, now_ms, by, Reason.REPLACED)
    return len(rows)


def these(conn: Connection, cmd_ids: Sequence[bytes], and_changes: bool = False) -> Sequence[Any]:
    """Those of these commands that are open, as they stand once nobody else moves them. `and_changes`: with those that cancel them."""
    c = command.c
    which = c.cmd_id.in_(cmd_ids)
    return _held(conn, or_(which, c.target.in_(cmd_ids)) if and_changes else which) if cmd_ids else ()


def address(conn: Connection, signer: Signer, row: Any, now_ms: int, by: str, **new: Any) -> None:
    """Write another concentrator or meter on an open command; what was signed is signed again, and goes out."""
    cmd_id = bytes(row.cmd_id)
    outbox.hold(conn, "command", cmd_id.hex())
    conn.execute(update(command).where(command.c.cmd_id == cmd_id).values(**new))
    if S(row.state) in service.UNSENT:
        states.note(conn, cmd_id, S(row.state), now_ms, by, Reason.REPLACED)
        return
    o = outbox_down.c
    conn.execute(delete(outbox_down).where(o.channel == "command", o.ref == cmd_id.hex()))
    service.send_down(conn, signer, cmd_id, now_ms, by)


def was_sent(conn: Connection, row: Any) -> bool:
    """Whether it may have left the house. If not, no worker takes it until the end of the transaction."""
    outbox.hold(conn, "command", bytes(row.cmd_id).hex())
    return S(row.state) not in service.UNSENT and outbox.attempts_of(conn, "command", bytes(row.cmd_id).hex()) > 0


def _held(conn: Connection, *where: Any) -> Sequence[Any]:
    return conn.execute(select(command).where(command.c.state.in_(OPEN), *where).order_by(command.c.cmd_id).with_for_update()).all()
