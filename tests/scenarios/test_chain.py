"""The whole chain once: a reading leaves a meter as serial bytes and ends as a line on a bill and a balance on a page.

Three homes on real serial lines (two DLMS meters with a supply switch, one Modbus meter without), one evening of virtual
time, on either broker. One home runs out while the uplink is away; it is cut on the spot, the cloud learns of it later, and a
payment on the consumer's page brings the supply back. What the meters had counted is asked of their twins (support/twin.py);
money is worked out here once more from the tariff's text, without the code that charges. The evening is lived once for all of
it, so it stays one module.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from demo import street as acacia
from gridtally_cloud.assets import silence
from gridtally_cloud.ingest import poison
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.store.report import interval_counts
from gridtally_cloud.store.tables import command, event, journal_entry, outbox_down, reading
from gridtally_cloud.web.tokens import SCOPES, create_token
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.simulators.house_log import Act, Operation
from gridtally_shared.clock import MS_PER_HOUR, SystemClock
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import CommandType, EntryKind, Event
from gridtally_shared.events import BY_NAME as EVENT_CODES
from gridtally_shared.ledger.entries import Kind, LedgerEntry, Pool, entry_from
from gridtally_shared.ledger.evidence import DecisionEvidence, SwitchEvidence, evidence_of
from gridtally_shared.lifecycle import CommandState as State
from gridtally_shared.money import nano
from gridtally_shared.prepay.cut_tests import CUT_TESTS
from gridtally_shared.quantities import INTERVAL_IMPORT
from support.brokers import KINDS
from support.slow_tariff import midnights, price_nano_per_wh, slow_charge
from support.twin import operations
from support.visitor import Visitor
from support.waiting import wait_until
from support.world import Home, World, running_world

QUARTER_MS = 900_000
ZONE = ZoneInfo(acacia.ZONE)
EARLY_MS = 2 * MS_PER_HOUR
FACTOR = 480.0
OPENING = "2.50"
PAID = "100"
OPEN, CLOSED = 0, 1
DARK_MS = 30 * 60_000
REGISTER = "energy_import_wh"
HALF_A_COIN_NANO = 5_000_000
TRAVEL_MS = 5 * 60_000
EVENTS_QUEUED = f"SELECT body FROM outbox_entry WHERE kind = {int(EntryKind.EVENT)}"
AMOUNT = re.compile(r"(−?)₹[\s\u00a0]([\d,]+\.\d\d)")

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@dataclass(frozen=True, slots=True)
class Shown:
    """One balance at one moment, wherever it is shown; money as exact text or as it stands on a page."""

    edge_nano: int
    mirror_nano: int | None
    consumer_page: str
    display_page: str


@dataclass(frozen=True, slots=True)
class Evening:
    """What was done and seen. `poor` runs out, `rich` paid in time, `plain` has a meter without a switch and gets a bill."""

    world: World
    api_token: str
    poor: Home
    rich: Home
    plain: Home
    before: Shown
    cut_uplink_ms: int
    mended_ms: int
    switch_before_mend: int
    receipt_page: str
    after: Shown
    end_ms: int

    @property
    def after_nano(self) -> dict[Home, int]:
        """Balances at the edge at the end."""
        return {home: self.world.edge_balance_nano(home) for home in (self.poor, self.rich)}

    @property
    def homes(self) -> tuple[Home, ...]:
        return (self.poor, self.rich, self.plain)


@pytest.fixture(scope="module", params=KINDS)
def evening(request: pytest.FixtureRequest) -> Iterator[Evening]:
    """Live one evening; the world stays up, with time almost standing still, to be looked at."""
    plan = {"opening_credit": OPENING, "early_ms": EARLY_MS}
    with running_world(request.param, dlms=2, modbus=1, factor=FACTOR, **plan) as world:
        yield live(world)


def live(world: World) -> Evening:
    poor, rich, plain = world.homes
    asha = Visitor(world.deployment.mdm_url)
    asha.sign_in(acacia.CONSUMER_LOGIN, world.deployment.password)
    world.slow()
    world.pay(rich, PAID)
    world.until(lambda: world.edge_balance_nano(rich) > nano(PAID), 60, "the first payment reaches the box")
    world.go_on()
    world.pass_hours(0.5)
    world.stand_still()
    before = look(world, poor, asha)
    world.go_on()
    with world.offline():
        cut_uplink_ms = world.now_ms()
        world.until(lambda: Act.OPENED in acts(world, poor), 60, "the home is cut on the spot")
        world.pass_hours(DARK_MS / MS_PER_HOUR)
        switch_before_mend = world.switch_of(poor)
        mended_ms = world.now_ms()
    world.until(lambda: world.switch_of(poor) == OPEN, 60, "the cloud knows of the cut")
    receipt_path = recharge(asha, poor)
    world.until(lambda: Act.CLOSED in acts(world, poor), 60, "the payment restores the supply")
    world.until(lambda: world.switch_of(poor) == CLOSED, 60, "the cloud knows of the supply")
    read = world.order(plain, CommandType.READ_INSTANT)
    assert world.ended(read).state is State.DONE
    end_ms = max(world.now_ms(), local_midnight_ms(world) + QUARTER_MS) + 2 * QUARTER_MS
    world.until(lambda: world.now_ms() >= end_ms, 60, "the night goes on")
    world.stand_still()
    return Evening(
        world, token(world), poor, rich, plain, before, cut_uplink_ms, mended_ms, switch_before_mend,
        asha.get(receipt_path)[1], look(world, poor, asha), world.now_ms(),
    )  # fmt: skip


def acts(world: World, home: Home) -> list[Act]:
    return [o.act for o in operations(world.deployment, home.serial)]


def local_midnight_ms(world: World) -> int:
    return world.deployment.start_ms + EARLY_MS


def recharge(asha: Visitor, home: Home) -> str:
    """Pay on the portal through the test gateway, as a person does; the path of the receipt."""
    asha.post(f"account/{home.account_no}/recharge", {"choice": "other", "amount": PAID})
    status, text = asha.post(asha.at, {"choice": "card"})
    assert status == 200, text[:500]
    return asha.at


def look(world: World, home: Home, asha: Visitor) -> Shown:
    """The balance at the edge, in the mirror, on the portal and on the local page, all of a moment in which nothing was charged."""
    seen: list[Shown] = []

    def nothing_moved() -> bool:
        before = (world.edge_balance_nano(home), world.balance_nano(home))
        seen.append(Shown(*before, consumer_page=on_portal(home, asha), display_page=on_display(world, home)))
        return before == (world.edge_balance_nano(home), world.balance_nano(home)) and before[0] == before[1]

    wait_until(nothing_moved, 30, "edge and mirror stand still at one balance")
    return seen[-1]


def on_portal(home: Home, asha: Visitor) -> str:
    portal = asha.get(f"account/{home.account_no}/")[1]
    figure = re.search(r'class="figure">([^<]+)<', portal)
    assert figure, portal
    return amount_on(figure[1])


def on_display(world: World, home: Home) -> str:
    local = Visitor(world.deployment.display_url).post("open", {"account": str(home.account_no), "pin": world.deployment.pin})[1]
    amount = re.search(r'class="amount">([^<]+)<', local)
    assert amount, local
    return amount_on(amount[1])


def amount_on(text: str) -> str:
    found = AMOUNT.search(text)
    assert found, text
    return ("-" if found[1] else "") + found[2].replace(",", "")


def token(world: World) -> str:
    with world.db.write() as conn:
        return create_token(conn, "test", SCOPES, SystemClock().now_ms(), "test")


# ---- what the cloud holds --------------------------------------------------------------------------------------


def cloud_intervals(evening: Evening, home: Home, from_ms: int, to_ms: int) -> dict[int, int | None]:
    """start -> Wh, through the API as another program would read it."""
    visitor = Visitor(evening.world.deployment.mdm_url)
    path = f"api/v1/meters/{home.meter_no}/intervals?from={utc(from_ms)}&to={utc(to_ms)}&limit=1000"
    return {at(row["start"]): row["wh"] for row in visitor.api(path, evening.api_token)["items"]}


def cloud_readings(evening: Evening, home: Home) -> dict[int, dict[str, int]]:
    """at -> quantity -> value, every stored register sample and momentary value, through the API."""
    visitor = Visitor(evening.world.deployment.mdm_url)
    path, cursor, found = f"api/v1/meters/{home.meter_no}/readings", "", {}  # type: str, str | None, dict[int, dict[str, int]]
    span = f"from={utc(evening.world.deployment.start_ms)}&to={utc(evening.end_ms)}&limit=1000"
    while cursor is not None:
        answer = visitor.api(f"{path}?{span}" + (f"&cursor={cursor}" if cursor else ""), evening.api_token)
        for row in answer["items"]:
            found.setdefault(at(row["at"]), {})[row["quantity"]] = row["value"]
        cursor = answer["next"]
    return found


def utc(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def at(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))


def journal(world: World, home: Home) -> list[LedgerEntry]:
    """The mirrored journal of a home's account."""
    query = select(journal_entry.c.body).where(journal_entry.c.account_no == home.account_no).order_by(journal_entry.c.seq)
    with world.db.read() as conn:
        return [entry_from(bytes(body)) for body in conn.execute(query).scalars()]


def paid_in(entry: LedgerEntry) -> int:
    return sum(p.amount_nano for p in entry.postings if p.pool == Pool.PAID)


def span_of(evening: Evening) -> tuple[int, int]:
    """Whole quarters after every meter had been read once and before the last sweep."""
    start_ms, end_ms = evening.world.deployment.start_ms, evening.end_ms
    return start_ms // QUARTER_MS * QUARTER_MS + 2 * QUARTER_MS, end_ms // QUARTER_MS * QUARTER_MS - QUARTER_MS


# ---- readings --------------------------------------------------------------------------------------------------


def test_every_interval_of_a_load_profile_is_the_meters_own(evening: Evening) -> None:
    from_ms, to_ms = span_of(evening)
    for home in (evening.poor, evening.rich):
        own = evening.world.house(home, evening.end_ms).profile(from_ms + QUARTER_MS, to_ms)
        assert len(own) == (to_ms - from_ms) // QUARTER_MS
        stored = cloud_intervals(evening, home, from_ms, to_ms)
        assert stored == {row.end_ms - QUARTER_MS: row.import_wh for row in own}


def test_a_meter_without_a_profile_gets_its_intervals_from_its_register(evening: Evening) -> None:
    """Between two samples the register is a straight line, rounded down at each quarter."""
    from_ms, to_ms = span_of(evening)
    samples = sorted((when, values[REGISTER]) for when, values in cloud_readings(evening, evening.plain).items() if REGISTER in values)

    def line(mark_ms: int) -> int:
        (t0, v0), (t1, v1) = next(pair for pair in pairwise(samples) if pair[0][0] <= mark_ms <= pair[1][0])
        return v0 + (v1 - v0) * (mark_ms - t0) // (t1 - t0)

    stored = cloud_intervals(evening, evening.plain, from_ms, to_ms)
    assert stored == {start: line(start + QUARTER_MS) - line(start) for start in range(from_ms, to_ms, QUARTER_MS)}


def test_no_interval_is_missing_doubled_or_contradicted(evening: Evening) -> None:
    with evening.world.db.read() as conn:
        counts = interval_counts(conn, *span_of(evening), INTERVAL_IMPORT.code)
    assert sorted(c.meter_no for c in counts) == [home.meter_no for home in evening.homes]
    assert [(c.missing, c.duplicates, c.conflicts) for c in counts] == [(0, 0, 0)] * 3


@pytest.mark.covers_part("BYPL-1.3")
def test_every_register_sample_is_what_the_meter_had_counted(evening: Evening) -> None:
    """Read over the line within the last minutes before the time written beside it: virtual time runs on while bytes travel."""
    for home in evening.homes:
        meter, checked = evening.world.house(home, evening.end_ms), 0
        for when, values in cloud_readings(evening, home).items():
            least, most = (meter.registers_at(ms) for ms in (when - TRAVEL_MS, when))
            for place, name in enumerate((REGISTER, "energy_export_wh")):
                if name in values:
                    assert least[place] <= values[name] <= most[place]
                    checked += 1
        assert checked >= 2 * (evening.end_ms - evening.world.deployment.start_ms) // QUARTER_MS


@pytest.mark.covers("C3-FR12")
def test_both_ends_hold_the_same_readings_events_and_receipts(evening: Evening) -> None:
    world = evening.world
    if not world.is_drained():  # time did not stop quite: what the box said since has to travel
        world.go_on()
        world.stand_still()
    here, there = box_holds(world), cloud_holds(world)
    assert there.samples == here.samples
    assert len(there.samples) > 100
    assert there.events == here.events
    assert {code for _, code, *_ in there.events} >= {EVENT_CODES["supply_disconnected"].code, EVENT_CODES["supply_connected"].code}
    assert there.commands == here.commands
    assert len(there.commands) == 1
    with world.db.read() as conn:
        assert poison.waiting(conn) == ()


class Held(NamedTuple):
    """What one end holds, in an order of its own making."""

    samples: list[tuple[Any, ...]]
    events: list[tuple[Any, ...]]
    commands: list[tuple[Any, ...]]


def box_holds(world: World) -> Held:
    queued = [body for store in ("readings.db", "money.db") for (body,) in world.edge(store, EVENTS_QUEUED)]
    events = [decode(Event, bytes(body)) for body in queued]
    return Held(
        sorted(world.edge("readings.db", "SELECT meter_no, quantity, at_ms, value, quality FROM sample")),
        sorted((ev.meter_no, ev.code, ev.at_ms, ev.detail) for ev in events),
        sorted(world.edge("money.db", "SELECT hex(cmd_id), state, result FROM command")),
    )


def cloud_holds(world: World) -> Held:
    """What came from the box: how long it was not heard is the cloud's own word."""
    r, c, e = reading.c, command.c, event.c
    with world.db.read() as conn:
        samples = conn.execute(select(r.meter_no, r.quantity, r.at_ms, r.value, r.quality))
        events = conn.execute(select(e.meter_no, e.code, e.at_ms, e.detail).where(e.code.not_in((silence.SILENT, silence.BACK))))
        commands = conn.execute(select(c.cmd_id, c.state, c.result))
        return Held(
            sorted(map(tuple, samples)),
            sorted(map(tuple, events)),
            sorted((cmd_id.hex().upper(), state, bytes(result)) for cmd_id, state, result in commands),
        )


def counted_wh(evening: Evening, home: Home, *moments_ms: int) -> list[int]:
    """The import register of the meter itself at some moments."""
    meter = evening.world.house(home, evening.end_ms)
    return [meter.registers_at(at_ms)[0] for at_ms in moments_ms]


# ---- money -----------------------------------------------------------------------------------------------------


@pytest.mark.covers_part("BYPL-1.4")
def test_what_is_charged_is_the_movement_of_the_register_at_the_tariff(evening: Evening) -> None:
    for home in (evening.poor, evening.rich):
        entries = journal(evening.world, home)
        counted = [e for e in entries if e.register_after_wh is not None]
        days = [e for e in entries if e.kind == Kind.FIXED]
        assert counted[0].kind == Kind.OPEN
        moved_wh = (counted[-1].register_after_wh or 0) - (counted[0].register_after_wh or 0)
        charged_nano = -sum(paid_in(e) for e in entries if e.kind in (Kind.ENERGY, Kind.FIXED))
        assert moved_wh > 300
        assert len(days) == midnights(counted[0].at_ms, evening.end_ms, acacia.ZONE) == 1
        assert charged_nano == slow_charge(moved_wh, len(days))
        assert evening.after_nano[home] == nano(OPENING) + nano(PAID) - charged_nano


def test_the_register_charged_is_the_meters_own(evening: Evening) -> None:
    for home in (evening.poor, evening.rich):
        entries = [e for e in journal(evening.world, home) if e.register_after_wh is not None]
        least = counted_wh(evening, home, *(e.at_ms - TRAVEL_MS for e in entries))
        most = counted_wh(evening, home, *(e.at_ms for e in entries))
        assert all(low <= (e.register_after_wh or 0) <= high for low, e, high in zip(least, entries, most, strict=True))


@pytest.mark.covers_part("C3-S1.12")
def test_one_balance_at_the_edge_in_the_mirror_and_on_both_pages(evening: Evening) -> None:
    for shown in (evening.before, evening.after):
        coins = shown.edge_nano // 10_000_000
        assert shown.edge_nano > 0
        assert shown.mirror_nano == shown.edge_nano
        assert shown.consumer_page == f"{coins // 100}.{coins % 100:02d}"
        assert shown.display_page == shown.consumer_page
    assert evening.after.edge_nano == evening.after_nano[evening.poor]


def test_the_books_of_both_sides_agree_to_the_nano(evening: Evening) -> None:
    assert evening.world.mismatches() == []


# ---- the supply ------------------------------------------------------------------------------------------------


def operation(evening: Evening, act: Act) -> Operation:
    """The one operation of that kind of the poor home's meter."""
    [found] = [o for o in operations(evening.world.deployment, evening.poor.serial) if o.act is act]
    return found


def switched(evening: Evening, close: bool) -> tuple[LedgerEntry, DecisionEvidence, LedgerEntry, SwitchEvidence]:
    """The decision and the switch action of the poor home, as the cloud holds them."""
    entries = journal(evening.world, evening.poor)
    [switch] = [(e, x) for e in entries if isinstance(x := evidence_of(e), SwitchEvidence) and x.close is close]
    [decision] = [(e, x) for e in entries if isinstance(x := evidence_of(e), DecisionEvidence) and e.cause == switch[0].cause]
    return *decision, *switch


@pytest.mark.covers("BYPL-3.4")
def test_the_meter_opened_and_counted_no_more(evening: Evening) -> None:
    opened, closed = operation(evening, Act.OPENED), operation(evening, Act.CLOSED)
    assert evening.cut_uplink_ms < opened.at_ms < evening.mended_ms
    assert closed.at_ms - opened.at_ms >= DARK_MS
    assert evening.world.house(evening.poor, closed.at_ms - 1).switch() is SwitchState.OPEN
    readings = cloud_readings(evening, evening.poor).items()
    dark = [v[REGISTER] for ms, v in readings if opened.at_ms < ms < closed.at_ms and REGISTER in v]
    assert len(dark) >= 2
    assert set(dark) == set(counted_wh(evening, evening.poor, opened.at_ms))
    dark_quarters = range(opened.at_ms // QUARTER_MS * QUARTER_MS + QUARTER_MS, closed.at_ms // QUARTER_MS * QUARTER_MS, QUARTER_MS)
    used = cloud_intervals(evening, evening.poor, dark_quarters.start, dark_quarters.stop)
    assert used == dict.fromkeys(dark_quarters, 0)


@pytest.mark.covers("C3-A2.7")
def test_the_first_reading_after_the_credit_was_used_up_found_it_without_the_uplink(evening: Evening) -> None:
    decision, _, _, _ = switched(evening, close=False)
    opening = next(e for e in journal(evening.world, evening.poor) if e.kind == Kind.OPEN)
    before_ms, after_ms = opening.at_ms, decision.at_ms
    meter = evening.world.house(evening.poor, evening.end_ms)
    while after_ms - before_ms > 1:  # the moment the register passed what the credit could pay
        middle_ms = (before_ms + after_ms) // 2
        used_wh = meter.registers_at(middle_ms)[0] - (opening.register_after_wh or 0)
        before_ms, after_ms = (before_ms, middle_ms) if slow_charge(used_wh, 0) >= nano(OPENING) else (middle_ms, after_ms)
    assert evening.cut_uplink_ms < after_ms < decision.at_ms
    readings = sorted(ms for ms, v in cloud_readings(evening, evening.poor).items() if ms >= after_ms + TRAVEL_MS and REGISTER in v)
    assert decision.at_ms < readings[1]


@pytest.mark.covers_part("C3-A2.8b")
def test_it_was_cut_only_after_every_test_held_and_the_evidence_is_in_the_cloud(evening: Evening) -> None:
    decision, evidence, switch, _ = switched(evening, close=False)
    assert evidence.verdict == "cut"
    assert {t.name for t in evidence.tests if t.holds} == {name for name, _ in CUT_TESTS}
    assert decision.at_ms <= operation(evening, Act.OPENED).at_ms <= switch.at_ms
    assert decision.seq < switch.seq


@pytest.mark.covers_part("BYPL-3.5", "BYPL-3.6")
def test_the_state_was_read_back_and_reached_the_cloud_after_the_uplink_returned(evening: Evening) -> None:
    _, _, _, evidence = switched(evening, close=False)
    assert (evidence.result, evidence.serial, evidence.origin) == ("done", evening.poor.serial, "local")
    assert evidence.state_after == OPEN
    assert evening.switch_before_mend == CLOSED
    assert EVENT_CODES["supply_disconnected"].code in [code for code, _ in evening.world.events(evening.poor)]


@pytest.mark.covers("BYPL-4.1", "BYPL-4.4")
@pytest.mark.covers_part("BYPL-4.3", "BYPL-4.5", "C3-S1.8")
def test_the_payment_on_the_portal_brought_the_supply_back(evening: Evening, record_property: Any) -> None:
    decision, evidence, switch, outcome = switched(evening, close=True)
    credit = credited(evening)
    assert evidence.verdict == "restore"
    assert (decision.seq, decision.at_ms) > (credit.seq, evening.mended_ms)
    assert (outcome.result, outcome.state_after, outcome.origin) == ("done", CLOSED, "local")
    assert switch.at_ms >= operation(evening, Act.CLOSED).at_ms
    assert evening.world.house(evening.poor, evening.end_ms).switch() is SwitchState.CLOSED
    assert evening.world.switch_of(evening.poor) == CLOSED
    at_close_wh, at_end_wh = counted_wh(evening, evening.poor, operation(evening, Act.CLOSED).at_ms, evening.end_ms)
    assert at_end_wh > at_close_wh
    with evening.world.db.read() as conn:
        paid_ms = max(p.captured_at_ms for p in prepay.payments(conn, evening.poor.account_no, 5))
    record_property("seconds from payment to closed relay, virtual", (switch.at_ms - paid_ms) / 1000)
    assert switch.at_ms - paid_ms < QUARTER_MS


def credited(evening: Evening) -> LedgerEntry:
    """The entry that used the portal's payment."""
    [entry] = [e for e in journal(evening.world, evening.poor) if e.kind == Kind.CREDIT and paid_in(e) == nano(PAID)]
    return entry


@pytest.mark.covers("C3-S1.7")
def test_both_ends_have_logged_the_credit_with_its_number_and_time(evening: Evening) -> None:
    credit, o = credited(evening), outbox_down.c
    number = f"{credit.account_no}/{credit.epoch}/{credit.gseq}"
    query = f"SELECT account_no || '/' || epoch || '/' || gseq, state, at_ms FROM instrument WHERE gseq = {credit.gseq}"
    rows = [row for row in evening.world.edge("money.db", query) if row[0] == number]
    with evening.world.db.read() as conn:
        sent = conn.execute(select(o.last_sent_ms, o.done_ms).where(o.channel == "instrument", o.ref == number)).one()
    assert len(rows) == 1
    assert evening.mended_ms < sent.last_sent_ms <= rows[0][2] <= sent.done_ms


@pytest.mark.covers("C3-S1.11")
def test_the_receipt_page_shows_the_credit_applied_with_entry_and_time(evening: Evening) -> None:
    credit = credited(evening)
    applied = datetime.fromtimestamp(credit.at_ms / 1000, ZONE)
    shown = f"{applied.day} {applied:%b %Y, %H:%M}, journal entry {credit.seq}"
    assert shown in evening.receipt_page
    assert "Added to your balance at the meter" in evening.receipt_page


@pytest.mark.covers_part("C3-S1.10")
def test_the_api_shows_the_credit(evening: Evening) -> None:
    credit = credited(evening)
    path = f"api/v1/accounts/{evening.poor.account_no}/ledger"
    rows = Visitor(evening.world.deployment.mdm_url).api(path, evening.api_token)["items"]
    [row] = [row for row in rows if row["seq"] == credit.seq]
    assert (row["kind"], row["amount"], at(row["at"])) == ("credit", PAID, credit.at_ms)


# ---- the bill --------------------------------------------------------------------------------------------------


def bill_of(evening: Evening, home: Home) -> dict[str, Any]:
    """The bill of the day that ended at midnight, issued by the MDM's own command."""
    midnight = datetime.fromtimestamp(local_midnight_ms(evening.world) / 1000, ZONE)
    days = ((midnight - timedelta(days=1)).date().isoformat(), midnight.date().isoformat())
    text = evening.world.deployment.mdm_tool("bill", str(home.account_no), "--from", days[0], "--to", days[1], "--json")
    made: dict[str, Any] = json.loads(text)["bill"]
    return made


@pytest.fixture(scope="module")
def bills(evening: Evening) -> dict[str, dict[str, Any]]:
    """Issued once: the statement of the home that ran out, and the bill of the one without a switch."""
    return {home.serial: bill_of(evening, home) for home in (evening.poor, evening.plain)}


def test_a_bill_charges_the_difference_of_two_readings_of_the_meter(evening: Evening, bills: dict[str, dict[str, Any]]) -> None:
    for home in (evening.poor, evening.plain):
        bill = bills[home.serial]
        [line] = [row for row in bill["lines"] if row["kind"] == "energy"]
        first, last = line["first"], line["last"]
        assert bill["party"]["meter_serial"] == home.serial
        assert line["quantity"] == last["register_wh"] - first["register_wh"] > 100
        assert abs(line["amount_nano"]) == price_nano_per_wh() * line["quantity"]
        for point in (first, last):
            least, most = counted_wh(evening, home, point["at_ms"] - TRAVEL_MS, point["at_ms"] + TRAVEL_MS)
            assert least <= point["register_wh"] <= most
        rest_nano = bill["opening_nano"] + sum(row["amount_nano"] for row in bill["lines"]) - bill["closing_nano"]
        assert abs(rest_nano) <= (HALF_A_COIN_NANO if bill["kind"] == "bill" else 0)


def test_the_consumer_finds_the_statement_on_the_portal(evening: Evening, bills: dict[str, dict[str, Any]]) -> None:
    asha = Visitor(evening.world.deployment.mdm_url)
    asha.sign_in(acacia.CONSUMER_LOGIN, evening.world.deployment.password)
    page = asha.get(f"account/{evening.poor.account_no}/bills")[1]
    link = re.search(rf'href="(/account/{evening.poor.account_no}/bills/[^"./]+)"', page)
    assert link
    status, text = asha.get(link[1])
    assert status == 200
    assert f"{bills[evening.poor.serial]['used_wh'] / 1000:.3f}" in text
