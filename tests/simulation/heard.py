"""What a box wrote and the MDM says it has is there: nothing is dropped because its number was taken before.

Reads raw rows of both stores and raw CBOR.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import cbor2

if TYPE_CHECKING:
    from simulation.world import World

EVENT = 3
RECEIPTED = """SELECT body FROM outbox_entry e JOIN outbox_lane l USING (lane), outbox_stream s
    WHERE kind = ? AND (e.stream_id <> s.stream_id OR e.seq <= l.receipted)"""
METER_NO, CODE, AT_MS, DETAIL = range(4)


def events(world: World) -> Iterator[str]:
    """Every event that has its receipt is in the MDM's store, or was set aside there for a person."""
    eye = world.cloud.eye
    there = set(eye.execute("SELECT meter_no, code, at_ms, detail FROM event").fetchall())
    aside = {bytes(payload) for (payload,) in eye.execute("SELECT payload FROM poison").fetchall()}
    for (body,) in world.edge.db.execute(RECEIPTED, (EVENT,)).fetchall():
        said = cbor2.loads(body)
        found = (said[METER_NO], said[CODE], said[AT_MS], said.get(DETAIL, ""))
        if found not in there and bytes(body) not in aside:
            yield f"the event {found} has its receipt, and the MDM has it not"
