"""A burst of inquiries goes to the meters at the configured rate, in its order, and none is lost."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from gridtally_cloud.commands import states
from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.inquiry import pace, requests, retailer_cli, service
from gridtally_cloud.inquiry.requests import DataRequest, Kind, State
from gridtally_cloud.inquiry.service import Asker, Question
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.store.tables import channel, command, meter, outbox_down
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import ConfigError
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.quantities import INTERVAL_IMPORT
from gridtally_shared.signing import KeySigner
from support.cloud_store import START_MS, Street, new_street

SIGNER = KeySigner.from_seed(b"p" * 32)
NOW_MS = START_MS + 10 * 3_600_000
BURST, RATE, TURN_MS = 500, 120, 2_000
KINDS = (Kind.POWER_STATUS, Kind.READ)


def ask(street: Street, point: int, kind: Kind, now_ms: int) -> DataRequest:
    with street.db.write() as conn:
        found = service.ask(conn, SIGNER, Asker("", "api:test"), Question(point, kind), now_ms)
    assert isinstance(found, DataRequest), found
    return found


def turn(street: Street, now_ms: int) -> None:
    """What the worker does every two seconds."""
    with street.db.write() as conn:
        pace.release(conn, SIGNER, now_ms)
        requests.follow(conn, now_ms)


@pytest.mark.covers("SMT-R3")
def test_a_burst_of_500_goes_at_the_configured_rate_and_none_is_lost(tmp_path: Path) -> None:
    street = new_street(tmp_path, BURST)
    with street.db.write() as conn:
        conn.execute(insert(channel), [
            {"usage_point_no": n, "quantity": INTERVAL_IMPORT.code, "direction": "import", "unit": "Wh", "exponent": 0, "period_s": 900}
            for n in street.meters
        ])  # fmt: skip
        pace.set_per_minute(conn, RATE, "test", NOW_MS)
        for n in street.meters:
            found = service.ask(conn, SIGNER, Asker("", "api:test"), Question(n, KINDS[n % 10 == 0]), NOW_MS)
            assert isinstance(found, DataRequest)
    with street.db.read() as conn:
        assert pace.queued(conn) == BURST - RATE // 6, "what has room goes at once"
    now_ms = NOW_MS
    with street.db.write() as conn:
        while pace.queued(conn) and now_ms - NOW_MS < 10 * 60_000:
            now_ms += TURN_MS
            pace.release(conn, SIGNER, now_ms)
    with street.db.read() as conn:
        rows = conn.execute(select(command.c.meter_no, command.c.issued_at_ms, command.c.cmd_id)
                            .order_by(command.c.counter)).all()  # fmt: skip
        waits = conn.execute(select(outbox_down.c.ref)).scalars().all()
    assert [row.meter_no for row in rows] == list(street.meters), "all of them, once, in their order"
    assert len(waits) == BURST
    times = [row.issued_at_ms for row in rows]
    assert max(sum(at <= other < at + 60_000 for other in times) for at in set(times)) <= RATE
    assert max(sum(at <= other < at + 10_000 for other in times) for at in set(times)) <= RATE // 6
    assert times[-1] - times[0] <= 1.25 * 60_000 * BURST / RATE, "and not much slower"
    with street.db.write() as conn:
        for row in rows:
            states.advance(conn, bytes(row.cmd_id), CommandState.FAILED, now_ms, "test")
    turn(street, now_ms)
    with street.db.read() as conn:
        assert {r.state for r in requests.recent(conn, BURST)} == {State.GAVE_UP}, "each has its end"


def test_nobody_overtakes_who_waits_and_one_that_can_not_go_is_given_up(tmp_path: Path) -> None:
    street = new_street(tmp_path, 4)
    with street.db.write() as conn:
        pace.set_per_minute(conn, 1, "test", NOW_MS)
    asked = [ask(street, n, Kind.POWER_STATUS, NOW_MS + n) for n in (1, 2, 3)]
    assert [r.state for r in asked] == [State.ASKED, State.QUEUED, State.QUEUED]
    assert ask(street, 4, Kind.POWER_STATUS, NOW_MS + 60_001).state is State.QUEUED, "there is room, but others wait"
    with street.db.write() as conn:
        conn.execute(update(meter).where(meter.c.meter_no == 2).values(dcu=None))
    for at_ms in (60_001, 60_002, 120_001):
        turn(street, NOW_MS + at_ms)
    with street.db.read() as conn:
        found = list(reversed(requests.recent(conn)))
    assert [r.state for r in found] == [State.ASKED, State.GAVE_UP, State.ASKED, State.QUEUED]
    assert found[1].reason == "no DCU serves meter 2"


def test_the_rate_is_set_and_shown_at_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    street = new_street(tmp_path, 1)
    desk = Desk(street.db, Payments(SIGNER), ManualClock(NOW_MS))

    def typed(*words: str) -> str:
        parser = argparse.ArgumentParser()
        retailer_cli.add_parser(parser.add_subparsers(), lambda options: nullcontext(desk))
        options = parser.parse_args(["retailer", *words])
        options.run(options)
        return capsys.readouterr().out

    assert "600 inquiries a minute go to the meters; 0 wait now" in typed("show")
    assert typed("rate", "30") == "30 inquiries a minute go to the meters; 0 wait now\n"
    assert "30 inquiries a minute" in typed("show")
    with pytest.raises(ConfigError, match="every inquiry would wait for ever"):
        typed("rate", "0")
