"""Completeness by day and meter, and what is asked again: exact ranges, states, new versions. On a real store."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.ingest.service import Ingest
from gridtally_cloud.inquiry import completeness_cli, retailer_cli, retailers
from gridtally_cloud.inquiry.completeness import Held, counted, expected_starts
from gridtally_cloud.inquiry.completeness_text import PLAIN, bar
from gridtally_cloud.inquiry.received import Line, report
from gridtally_cloud.inquiry.requests import MOST_TRIES, NOT_HELD, Asked, Kind, State, ask_gaps, follow, recent
from gridtally_cloud.inquiry.watch import ask_missing
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.store.close import close_days
from gridtally_cloud.store.days import EPOCH, day_of, midnight_ms, slots_of
from gridtally_cloud.store.inbox import store_block
from gridtally_cloud.store.intervals import ChannelRef, Slot
from gridtally_cloud.store.tables import channel, command, interval_block
from gridtally_cloud.vee import run as vee
from gridtally_cloud.web.tokens import resolve_token
from gridtally_shared.clock import SystemClock
from gridtally_shared.contract.channels import BY_NAME
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import Batch, CommandReceipt, CommandType, Entry, EntryKind, Intervals, Lane
from gridtally_shared.errors import ConfigError, RefusedCommand
from gridtally_shared.lifecycle import CommandState
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import INTERVAL_IMPORT
from gridtally_shared.signing import KeySigner
from support.cloud_store import START_MS, Street, new_street
from support.edge_peer import block

QUARTER_MS, DAY_MS = 900_000, 86_400_000
SIGNER = KeySigner.from_seed(b"\x06" * 32)
DAY = day_of(START_MS, "UTC")
REF = ChannelRef(1, "Wh", "UTC")
EVENING_MS = START_MS + DAY_MS + 26 * 4 * QUARTER_MS
"""After the grace in which a day waits for what is missing."""


class Evening:
    """The desk's clock."""

    def now_ms(self) -> int:
        return EVENING_MS

    def factor(self) -> float:
        return 1.0


class MdmDay:
    """One meter, one day that was closed with two holes, and what its concentrator answers."""

    def __init__(self, street: Street) -> None:
        self.street, self.db = street, street.db
        self.ingest = Ingest(street.db, SIGNER)
        self.seq = 0
        with self.db.write() as conn:
            conn.execute(insert(channel).values(channel_no=1, usage_point_no=1, quantity=INTERVAL_IMPORT.code, direction="import",
                                                unit="Wh", exponent=0, period_s=900))  # fmt: skip
            for first, n in ((0, 20), (24, 40), (66, 30)):
                store_block(conn, REF, block(1, START_MS + first * QUARTER_MS, [100 + i for i in range(n)]), START_MS + DAY_MS)

    @contextlib.contextmanager
    def desk(self, _options: argparse.Namespace) -> Iterator[Desk]:
        yield Desk(self.db, Payments(SIGNER, None), Evening())

    def close(self, now_ms: int) -> None:
        close_days(self.db, now_ms)
        vee.run_pending(self.db, now_ms)

    def line(self, now_ms: int = EVENING_MS) -> Line:
        with self.db.read() as conn:
            (found,) = report(conn, DAY, DAY, now_ms, 1)
        return found

    def ask(self, now_ms: int = EVENING_MS) -> Asked:
        with self.db.write() as conn:
            follow(conn, now_ms)
            return ask_gaps(conn, SIGNER, report(conn, DAY, DAY, now_ms, 1), "staff:ada", now_ms)

    def receipt(self, cmd_id: bytes, state: CommandState, values: list[int] | None = None, start_ms: int = 0, reason: str = "") -> None:
        """What the edge says of the command, with the intervals it read."""
        blocks = (block(1, start_ms, values),) if values else ()
        result = encode(Intervals(blocks)) if state is CommandState.DONE else b""
        self.seq += 1
        body = encode(CommandReceipt(cmd_id, 1, int(state), EVENING_MS, reason, result))
        batch = Batch(b"\x09" * 16, int(Lane.URGENT), (Entry(self.seq, EntryKind.COMMAND_RECEIPT, body),), EVENING_MS)
        assert self.ingest.handle(BY_NAME["urgent"].topic(self.street.dcu), encode(batch), EVENING_MS)

    def states(self) -> list[State]:
        """Of all requests, oldest first, after a look at their commands."""
        with self.db.write() as conn:
            follow(conn, EVENING_MS)
            return [r.state for r in reversed(recent(conn))]


@pytest.fixture
def day(tmp_path: Path) -> Iterator[MdmDay]:
    street = new_street(tmp_path, meters=1, installed_ms=START_MS)
    yield MdmDay(street)
    street.db.close()


def test_every_interval_is_received_estimated_or_missing_and_ranges_are_exact(day: MdmDay) -> None:
    found = day.line().counted
    assert (found.expected, found.received, found.estimated, found.missing) == (96, 90, 0, 6)
    ranges = [tuple((ms - START_MS) // QUARTER_MS for ms in (g.from_ms, g.to_ms)) for g in found.gaps]
    assert (ranges, [g.n for g in found.gaps]) == ([(20, 24), (64, 66)], [4, 2])
    day.close(EVENING_MS)
    after = day.line().counted
    assert (after.received, after.estimated, after.missing) == (90, 6, 0)
    assert [(g.n, g.estimated) for g in after.gaps] == [(4, 4), (2, 2)], "an estimate does not end the search for the real value"


@pytest.mark.covers("BYPL-6.3")
def test_the_exact_ranges_are_asked_for_and_what_comes_is_a_new_version(day: MdmDay) -> None:
    day.close(EVENING_MS)
    asked = day.ask()
    assert [(r.from_ms, r.to_ms, r.lacking) for r in asked.requests] == [(g.from_ms, g.to_ms, g.n) for g in day.line().counted.gaps]
    with day.db.read() as conn:
        orders = conn.execute(select(command.c.cmd_id, command.c.from_ms, command.c.to_ms, command.c.type)).all()
    assert [(o.from_ms, o.to_ms, o.type) for o in orders] == [
        (r.from_ms, r.to_ms, CommandType.READ_INTERVALS) for r in asked.requests]  # fmt: skip
    assert day.ask().under_way == 2
    first, second = (r.cmd_id or b"" for r in asked.requests)
    day.receipt(first, CommandState.DELIVERED)
    assert day.states() == [State.DELIVERED, State.ASKED]
    day.receipt(first, CommandState.DONE, [501, 502, 503, 504], START_MS + 20 * QUARTER_MS)
    day.receipt(second, CommandState.DONE, [601, 602], START_MS + 64 * QUARTER_MS)
    assert day.states() == [State.MERGED, State.MERGED]
    day.close(EVENING_MS + DAY_MS)
    found = day.line().counted
    assert (found.received, found.estimated, found.missing, found.late, found.gaps) == (96, 0, 0, 6, ())
    with day.db.read() as conn:
        versions = conn.execute(select(interval_block.c.source).order_by(interval_block.c.version)).scalars().all()
        judged = vee.status_of(conn, DAY, 1)
    assert versions[:3] == ["raw", "estimate", "late"]
    assert judged == vee.VALIDATED


def test_a_meter_that_has_nothing_is_asked_three_times_and_no_more(day: MdmDay) -> None:
    for attempt in range(MOST_TRIES):
        for request in day.ask().requests:
            state = CommandState.FAILED if attempt == 0 else CommandState.DONE
            day.receipt(request.cmd_id or b"", state, reason="no_answer" if attempt == 0 else "")
        assert set(day.states()) == {State.GAVE_UP}
    with day.db.read() as conn:
        reasons = [r.reason for r in reversed(recent(conn))]
    assert reasons == ["no_answer"] * 2 + [NOT_HELD] * 4
    last = day.ask()
    assert (last.requests, last.given_up) == ((), 2)


def test_what_is_missing_a_day_later_is_asked_for_by_itself(day: MdmDay) -> None:
    """Not before, not twice within hours, and three times in all."""
    told: list[tuple[int, int]] = []
    for hours in (20, 36, 37, 41, 43, 50, 57):
        asked = ask_missing(day.db, SIGNER, START_MS + DAY_MS + hours * 3_600_000)
        told.append((hours, len(asked.requests)))
        for request in asked.requests:
            day.receipt(request.cmd_id or b"", CommandState.FAILED, reason="no_answer")
        day.states()
    assert [hours for hours, n in told if n] == [36, 43, 50]
    assert {n for _, n in told} == {0, 2}


def test_half_of_what_was_asked_is_merged_and_the_rest_asked_again(day: MdmDay) -> None:
    first, second = day.ask().requests
    day.receipt(first.cmd_id or b"", CommandState.DONE, [501, 502], first.from_ms)
    assert day.states() == [State.MERGED, State.ASKED]
    with day.db.read() as conn:
        assert [(r.filled, r.lacking) for r in recent(conn)] == [(0, 2), (2, 4)]
    (again,) = day.ask().requests
    assert (again.from_ms, again.to_ms) == (first.from_ms + 2 * QUARTER_MS, first.to_ms)
    assert second.to_ms - second.from_ms == 2 * QUARTER_MS


@pytest.mark.parametrize(("name", "expected"), [("2026-03-29", 92), ("2026-10-25", 100), ("2026-11-20", 96)])
def test_a_day_expects_what_its_clock_says(name: str, expected: int) -> None:
    zone = "Europe/Berlin"
    number = (date.fromisoformat(name) - EPOCH).days
    grid = slots_of(number, zone, 900)
    assert len(expected_starts(grid, 0, grid.end_ms)) == expected
    assert len(expected_starts(grid, midnight_ms(number, zone) + 2 * QUARTER_MS, grid.start_ms + 5 * QUARTER_MS + 1)) == 3


def test_marked_estimates_partial_values_and_disbelief() -> None:
    starts = range(0, 4 * QUARTER_MS, QUARTER_MS)
    measured = {0: Slot(5, 0), QUARTER_MS: Slot(6, int(Quality.PARTIAL)), 2 * QUARTER_MS: Slot(900, 0)}
    stands = measured | {2 * QUARTER_MS: Slot(7, int(Quality.ESTIMATED))}
    found = counted(starts, Held(None, measured, stands))
    assert (found.received, found.estimated, found.missing) == (2, 1, 1)
    assert [(g.from_ms // QUARTER_MS, g.n) for g in found.gaps] == [(1, 1), (3, 1)], "a spike is not asked for again"


def test_a_bar_shows_whatever_there_is() -> None:
    assert bar((94, 1, 1), PLAIN, 10) == "########+."
    assert bar((0, 0, 96), PLAIN, 4) == "...."
    assert bar((96, 0, 0), PLAIN, 4) == "####"


def test_the_command_prints_a_table_json_and_csv(day: MdmDay, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> tuple[int, list[str]]:
        parser = argparse.ArgumentParser()
        completeness_cli.add_parser(parser.add_subparsers(), day.desk)
        options = parser.parse_args(["completeness", *words])
        code: int = options.run(options)
        return code, capsys.readouterr().out.splitlines()

    on = "2026-02-02"
    code, table = run("--from", on)
    assert code == 1
    assert table[1].split()[0] == on
    assert table[1].endswith("0 of 1 meters complete")
    assert table[3].strip() == "not measured: 05:00-06:00 (4, missing), 16:00-16:30 (2, missing)"
    _, (row,) = run("--from", on, "--json")
    assert json.loads(row)["ranges"][1] == {"from": "2026-02-02T16:00:00Z", "to": "2026-02-02T16:30:00Z", "intervals": 2, "estimated": 0}
    _, sheet = run("--from", on, "--csv")
    assert sheet[1].endswith("2026-02-02T05:00:00Z/2026-02-02T06:00:00Z 2026-02-02T16:00:00Z/2026-02-02T16:30:00Z")
    with pytest.raises(ConfigError, match="write a date"):
        run("--from", "yesterday")
    _, told = run("--from", on, "--ask")
    assert told[-1] == "asked for 2 ranges, 6 intervals"
    _, shown = run("--requests")
    assert [row[60:].strip() for row in shown[1:]] == [f"0 of {n}  on its way to the meter" for n in (2, 4)]


def test_retailers_are_kept_at_the_command_line(day: MdmDay, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> list[str]:
        parser = argparse.ArgumentParser()
        retailer_cli.add_parser(parser.add_subparsers(), day.desk)
        options = parser.parse_args(["retailer", *words])
        assert options.run(options) == 0
        return capsys.readouterr().out.splitlines()

    with pytest.raises(RefusedCommand, match="there is no retailer"):
        run("assign", "1", "ACME")
    run("add", "ACME", "Acme Energy")
    assert run("assign", "1", "ACME", "--from", "2026-02-01T00:00+00:00") == ["usage point 1 belongs to ACME from 2026-02-01T00:00:00Z on"]
    run("limit", "read", "3", "--usage-point", "1")
    run("limit", "read", "2")
    token, _ = run("token", "ACME")
    with day.db.read() as conn:
        found = resolve_token(conn, token, SystemClock().now_ms())
        assert found is not None
        assert (found.scopes, retailers.of_token(conn, found.token_no)) == (("inquiries:write",), "ACME")
        assert [retailers.of_record(conn, 1, at) for at in (0, START_MS)] == [retailers.UTILITY, "ACME"]
        assert [retailers.per_day(conn, point, Kind.READ) for point in (1, 2)] == [3, 2]
    assert run("show")[:2] == ["ACME         Acme Energy", "usage point 1        ACME         from 2026-02-01T00:00:00Z"]
