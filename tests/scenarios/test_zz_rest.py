"""What the scenarios of a session leave behind in their shared world. Runs last (its name says so)."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from gridtally_cloud.commands import service as commands
from gridtally_cloud.store.tables import command, sender_notice
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.lifecycle import TERMINAL, CommandState
from support.world import World

pytestmark = pytest.mark.slow
ASKED = (CommandType.READ_INSTANT, CommandType.READ_SWITCH, CommandType.SWITCH_CLOSE)


@pytest.mark.covers_part("ETSI-post-fail")
def test_no_request_of_the_whole_suite_stays_without_a_final_state_and_every_sender_was_told(world: World) -> None:
    """Pre: scenarios have ordered reads, switch actions and messages, some of them against silent meters and away from the network.
    Post: every one has ended, and who asked was told how, also of each failure."""
    for kind in ASKED:  # also when this test runs alone there is a good one and a bad one
        world.order(world.homes[0], kind)
        world.order(world.homes[-1], kind)
    with world.db.write() as conn:  # a message that stands on a display ends when it is taken back
        shown = conn.execute(select(command.c.cmd_id).where(command.c.state == int(CommandState.DISPLAYED))).scalars().all()
        for cmd_id in shown:
            commands.cancel(conn, cmd_id, "staff:test", world.now_ms())

    def still_open() -> int:
        with world.db.read() as conn:
            return commands.open_count(conn)

    world.until(lambda: still_open() == 0, 90, "every command has ended")
    with world.db.read() as conn:
        ended = {bytes(r.cmd_id): CommandState(r.state) for r in conn.execute(select(command.c.cmd_id, command.c.state))}
        told = {bytes(r.cmd_id): CommandState(r.state) for r in conn.execute(select(sender_notice.c.cmd_id, sender_notice.c.state))}
    assert len(ended) >= 2 * len(ASKED)
    assert set(ended.values()) <= TERMINAL
    assert told == ended
    assert {CommandState.DONE, CommandState.REFUSED} <= set(ended.values())
