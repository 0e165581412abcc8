"""Switch orders of other people at a supply that is managed from here: a hold that comes stands above them (safety.md 1).

A concentrator knows the holds of the accounts it runs, and refuses or withdraws what they forbid, also an order that waits for its time. Of
a managed account it holds none: such an order is taken back from here.
"""

from __future__ import annotations

from sqlalchemy import Connection, and_, select

from gridtally_cloud.commands import service as commanding
from gridtally_cloud.commands.receipts import OPEN_STATES
from gridtally_cloud.store.tables import command
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.prepay.holds import holds_against_close, holds_against_cut
from gridtally_shared.signing import Signer

ACTOR = "system:managed"


def withdraw_held(conn: Connection, signer: Signer, meter_no: int, holds: tuple[str, ...], now_ms: int) -> int:
    """Take back what these holds forbid; how many orders. Once taken back they are not taken back again."""
    against_cut, against_close = holds_against_cut(holds), holds_against_close(holds)
    if not (against_cut or against_close):
        return 0
    c = command.c
    kinds = [int(kind) for kind, by in ((CommandType.SWITCH_OPEN, against_cut), (CommandType.SWITCH_CLOSE, against_close)) if by]
    above = and_(c.type == int(CommandType.SWITCH_OPEN), c.cause.in_(sorted(commanding.ABOVE_PROTECTION)))
    waits = and_(c.meter_no == meter_no, c.type.in_(kinds), c.state.in_(OPEN_STATES), ~above)
    found = [bytes(cmd_id) for cmd_id in conn.execute(select(c.cmd_id).where(waits).order_by(c.cmd_id)).scalars()]
    for cmd_id in found:
        commanding.cancel(conn, signer, cmd_id, ACTOR, now_ms)
    return len(found)
