"""Orders at the same time: what was taken back never goes out, no limit is passed, the newest order of a switch stays the newest.

Those with two transactions run with GRIDTALLY_STORE=postgresql, as `make test` does; what a worker has in its hands is asked on any store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from gridtally_cloud.commands import limits, receipts, service, states
from gridtally_cloud.commands.model import CommandRequest, Issued
from gridtally_cloud.publisher import Publisher
from gridtally_cloud.store import outbox
from gridtally_cloud.store.tables import command, outbox_down
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.signing import KeySigner
from support.cloud_store import START_MS, Street, new_street
from support.meanwhile import meanwhile
from support.stores import ON_POSTGRES

two_writers = pytest.mark.skipif(not ON_POSTGRES, reason="nobody writes at the same time on SQLite: GRIDTALLY_STORE=postgresql")

S = CommandState
SIGNER = KeySigner.from_seed(b"\x05" * 32)
LATER_MS = START_MS + 3 * MS_PER_DAY
NEAR_MS = START_MS + MS_PER_HOUR
Change = Callable[[Connection, bytes], object]


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path)
    yield street
    street.db.close()


def _order(conn: Connection, kind: CommandType, by: str = "staff:dora", at_ms: int = 0, key: str | None = None, meter_no: int = 1
           ) -> Issued:  # fmt: skip
    return service.issue(conn, SIGNER, CommandRequest(meter_no, kind, by, "asked", key, at_ms), START_MS)


def _ordered(street: Street, kind: CommandType, by: str = "staff:dora", at_ms: int = 0) -> bytes:
    with street.db.write() as conn:
        return _order(conn, kind, by, at_ms).cmd_id


def _cancel(conn: Connection, cmd_id: bytes) -> object:
    return service.cancel(conn, SIGNER, cmd_id, "staff:emil", START_MS)


def _release(conn: Connection, cmd_id: bytes) -> object:
    return service.release(conn, SIGNER, cmd_id, "staff:emil", START_MS)


def _queue_due(conn: Connection, _cmd_id: bytes) -> object:
    return receipts.queue_due(conn, SIGNER, LATER_MS)


def _resend(conn: Connection, _cmd_id: bytes) -> object:
    return receipts.resend_open(conn, "dcu-test-1", START_MS)


def _state(street: Street, cmd_id: bytes) -> CommandState:
    with street.db.read() as conn:
        found = states.find(conn, cmd_id)
    assert found is not None
    return found.state


def _waiting(street: Street) -> list[str]:
    """What is still to go down."""
    with street.db.read() as conn:
        return list(conn.execute(select(outbox_down.c.ref).where(outbox_down.c.done_ms.is_(None))).scalars())


def _quarantined(street: Street) -> bytes:
    """The first disconnect above what the fleet may lose in an hour."""
    with street.db.write() as conn:
        for n in range(20):
            _order(conn, CommandType.SWITCH_OPEN, f"staff:{n}")
        cmd_id = _order(conn, CommandType.SWITCH_OPEN).cmd_id
        for ref in conn.execute(select(outbox_down.c.ref)).scalars().all():
            outbox.done(conn, "command", ref, START_MS)
    assert _state(street, cmd_id) is S.QUARANTINED
    return cmd_id


# ---- taken back beside on its way -------------------------------------------------------------------------------------


@two_writers
@pytest.mark.parametrize(("made", "other"), [
    (_quarantined, _release),
    (lambda street: _ordered(street, CommandType.SWITCH_CLOSE, at_ms=LATER_MS), _queue_due),
    (lambda street: _ordered(street, CommandType.SWITCH_CLOSE, at_ms=NEAR_MS), _resend),
])  # fmt: skip
def test_what_one_takes_back_the_other_does_not_send(street: Street, made: Callable[[Street], bytes], other: Change) -> None:
    cmd_id = made(street)
    meanwhile(street.db, lambda conn: _cancel(conn, cmd_id), lambda conn: other(conn, cmd_id)).exception()
    assert (_state(street, cmd_id), _waiting(street)) == (S.CANCELLED, [])


@two_writers
@pytest.mark.parametrize(("made", "other"), [
    (_quarantined, _release),
    (lambda street: _ordered(street, CommandType.SWITCH_CLOSE, at_ms=LATER_MS), _queue_due),
])  # fmt: skip
def test_what_is_queued_beside_is_taken_back_before_it_goes(street: Street, made: Callable[[Street], bytes], other: Change) -> None:
    cmd_id = made(street)
    meanwhile(street.db, lambda conn: other(conn, cmd_id), lambda conn: _cancel(conn, cmd_id)).result()
    assert (_state(street, cmd_id), _waiting(street)) == (S.CANCELLED, [])


@two_writers
def test_two_who_let_one_go_are_told_who_was_second(street: Street) -> None:
    cmd_id = _quarantined(street)
    second = meanwhile(street.db, lambda conn: _release(conn, cmd_id), lambda conn: _release(conn, cmd_id))
    with pytest.raises(RefusedCommand, match="queued, not quarantined"):
        second.result()
    assert _waiting(street) == [cmd_id.hex()]


@two_writers
def test_no_worker_takes_what_is_being_taken_back(street: Street) -> None:
    cmd_id = _ordered(street, CommandType.SWITCH_OPEN)
    claimed = meanwhile(street.db, lambda conn: _cancel(conn, cmd_id), lambda conn: outbox.claim(conn, "w", START_MS, 10_000)).result()
    assert (claimed, _state(street, cmd_id)) == ((), S.CANCELLED)


def test_what_a_worker_hands_to_the_broker_just_now_is_not_told_to_be_cancelled(street: Street) -> None:
    """It may be executed: a further command goes after it, and the concentrator says who was first."""
    cmd_id = _ordered(street, CommandType.SWITCH_OPEN)
    answers: list[object] = []

    def publish(_topic: str, _payload: bytes) -> bool:
        with street.db.write() as conn:
            answers.append(_cancel(conn, cmd_id))
        return True

    Publisher(street.db, "w", publish).send_due(START_MS, 1.0)
    assert isinstance(answers[0], Issued)
    assert _state(street, cmd_id) is S.QUEUED
    assert answers[0].cmd_id.hex() in _waiting(street)


def test_what_a_worker_had_in_its_hands_when_it_died_is_not_told_to_be_cancelled(street: Street) -> None:
    """The next one finds the broker away; the first may have handed it over."""
    cmd_id = _ordered(street, CommandType.SWITCH_OPEN)
    with street.db.write() as conn:
        outbox.claim(conn, "dead", START_MS, 10_000)
    Publisher(street.db, "w", lambda _topic, _payload: False).send_due(START_MS + 10_000, 1.0)
    with street.db.write() as conn:
        assert isinstance(_cancel(conn, cmd_id), Issued)


def test_what_a_worker_has_in_its_hands_moves_by_another_command(street: Street) -> None:
    cmd_id = _ordered(street, CommandType.SWITCH_CLOSE, at_ms=NEAR_MS)
    with street.db.write() as conn:
        assert len(outbox.claim(conn, "w", START_MS, 10_000)) == 1
    with street.db.write() as conn:
        moved = service.reschedule(conn, SIGNER, cmd_id, NEAR_MS + MS_PER_HOUR, "staff:dora", START_MS)
    assert moved != cmd_id
    assert cmd_id.hex() in _waiting(street)


@two_writers
def test_what_is_taken_back_beside_is_not_replaced(street: Street) -> None:
    cmd_id = _ordered(street, CommandType.SWITCH_CLOSE, at_ms=LATER_MS)
    request = CommandRequest(1, CommandType.SWITCH_CLOSE, "staff:dora", "asked", None, LATER_MS + 1000)
    second = meanwhile(street.db, lambda conn: _cancel(conn, cmd_id),
                       lambda conn: service.replace_with(conn, SIGNER, cmd_id, request, START_MS))  # fmt: skip
    with pytest.raises(RefusedCommand, match="cancelled: nothing can take its place"):
        second.result()


# ---- limits and keys --------------------------------------------------------------------------------------------------


@two_writers
def test_the_last_disconnect_of_the_hour_is_given_once(street: Street) -> None:
    with street.db.write() as conn:
        for _ in range(limits.STAFF_PER_HOUR - 1):
            _order(conn, CommandType.SWITCH_OPEN)
    first: list[Issued] = []
    second = meanwhile(street.db, lambda conn: first.append(_order(conn, CommandType.SWITCH_OPEN)),
                       lambda conn: _order(conn, CommandType.SWITCH_OPEN, meter_no=2)).result()  # fmt: skip
    assert (first[0].state, second.state, second.reason) == (S.QUEUED, S.REFUSED, Reason.RATE_LIMIT)


@two_writers
def test_one_key_is_one_command(street: Street) -> None:
    first: list[Issued] = []
    second = meanwhile(street.db, lambda conn: first.append(_order(conn, CommandType.READ_SWITCH, key="k")),
                       lambda conn: _order(conn, CommandType.READ_SWITCH, key="k")).result()  # fmt: skip
    assert (second.cmd_id, second.repeated) == (first[0].cmd_id, True)


# ---- numbers ----------------------------------------------------------------------------------------------------------


@two_writers
def test_an_overtaken_order_does_not_come_back_over_a_newer_one(street: Street) -> None:
    """Switched off in the morning, overtaken; switched on now: the supply stays on."""
    old = _ordered(street, CommandType.SWITCH_OPEN)
    with street.db.write() as conn:
        states.advance(conn, old, S.REFUSED, START_MS, "dcu", Reason.OVERTAKEN)
    again = meanwhile(street.db, lambda conn: _order(conn, CommandType.SWITCH_CLOSE),
                      lambda conn: receipts.reissue_overtaken(conn, SIGNER, START_MS)).result()  # fmt: skip
    c = command.c
    with street.db.read() as conn:
        kinds = conn.execute(select(c.type).where(c.switch_counter > 0).order_by(c.switch_counter)).scalars().all()
    assert (again, kinds) == ((), [CommandType.SWITCH_OPEN, CommandType.SWITCH_CLOSE])


@two_writers
def test_two_desks_get_two_numbers(street: Street) -> None:
    meanwhile(street.db, lambda conn: _order(conn, CommandType.SWITCH_OPEN), lambda conn: _order(conn, CommandType.SWITCH_CLOSE)).result()
    c = command.c
    with street.db.read() as conn:
        rows = conn.execute(select(c.type, c.counter, c.switch_counter).order_by(c.counter)).all()
    assert [tuple(row) for row in rows] == [(CommandType.SWITCH_OPEN, 1, 1), (CommandType.SWITCH_CLOSE, 2, 2)]


@two_writers
@pytest.mark.parametrize("receipt_first", [True, False])
def test_a_receipt_beside_the_expiry_ends_a_command_once(street: Street, receipt_first: bool) -> None:
    cmd_id = _ordered(street, CommandType.SWITCH_CLOSE)
    steps = [lambda conn: states.advance(conn, cmd_id, S.DONE, START_MS, "dcu"),
             lambda conn: receipts.expire(conn, START_MS + 30 * MS_PER_DAY)]  # fmt: skip
    first, second = steps if receipt_first else reversed(steps)
    meanwhile(street.db, first, second).result()
    assert _state(street, cmd_id) is (S.DONE if receipt_first else S.EXPIRED)
    with street.db.read() as conn:
        assert len(service.notices(conn, "staff:dora")) == 1
