"""Settings wanted and read back, campaigns, places in the networks, failures that come again: through the real ingest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert

from gridtally_cloud.commands import service
from gridtally_cloud.commands.model import CommandRequest
from gridtally_cloud.ingest.service import Ingest
from gridtally_cloud.meters import failures, settings, topology
from gridtally_cloud.meters.settings import SettingState
from gridtally_cloud.publisher import Publisher
from gridtally_cloud.store.tables import dcu as dcu_table
from gridtally_cloud.store.tables import event
from gridtally_shared import cbor
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.channels import BY_NAME
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.meter_settings import (
    ActivityCalendar,
    AnySetting,
    BillingDate,
    CapturePeriod,
    DayAction,
    DayProfile,
    DemandPeriod,
    Form,
    Season,
    Setting,
    WeekProfile,
    packed,
)
from gridtally_shared.signing import KeySigner, verify1
from support.cloud_store import DCU, START_MS, Street, new_street

SIGNER = KeySigner.from_seed(b"\x05" * 32)
S = CommandState
DAY_MS = 86_400_000
CALENDAR = ActivityCalendar(
    "TOU-1", (Season("S", 1, 1, "W"),), (WeekProfile("W", (1,) * 7),), (DayProfile(1, (DayAction(0, 1), DayAction(600, 2))),),
    START_MS + 7 * DAY_MS,
)  # fmt: skip


class Mdm:
    def __init__(self, street: Street) -> None:
        self.street, self.ingest = street, Ingest(street.db, SIGNER)
        self.down: list[bytes] = []
        self._publisher = Publisher(street.db, "test", lambda topic, payload: self.down.append(payload) or True)
        self._seq: dict[str, int] = {}

    def order(self, meter_no: int, *wanted: AnySetting, key: str | None = None) -> bytes:
        with self.street.db.write() as conn:
            return settings.order(conn, SIGNER, meter_no, wanted, "staff:otto", START_MS, key).cmd_id

    def sent(self) -> list[m.Command]:
        before = len(self.down)
        self._publisher.send_due(START_MS, 1.0)
        return [decode(m.Command, verify1({SIGNER.key_id: SIGNER.public}, "command", p)) for p in self.down[before:]]

    def up(self, kind: m.EntryKind, message: object, dcu: str = DCU) -> None:
        self._seq[dcu] = self._seq.get(dcu, 0) + 1
        entries = (m.Entry(self._seq[dcu], kind, encode(message)),)
        batch = m.Batch(dcu.encode().ljust(16, b"\0"), int(m.Lane.LIVE), entries, START_MS)
        assert self.ingest.handle(BY_NAME["live"].topic(dcu), encode(batch), START_MS)

    def receipt(
        self, cmd_id: bytes, state: CommandState, read_back: tuple[Setting, ...] = (), reason: str = "", at_ms: int = START_MS
    ) -> None:
        result = cbor.dumps({0: [[s.kind, s.body] for s in read_back]}) if read_back else b""
        self.up(m.EntryKind.COMMAND_RECEIPT, m.CommandReceipt(cmd_id, 1, int(state), at_ms, reason, result))

    def states(self, meter_no: int = 1, now_ms: int = START_MS + 1) -> list[SettingState]:
        with self.street.db.read() as conn:
            return [v.state for v in settings.of_meter(conn, meter_no, now_ms)]

    def another_dcu(self, name: str) -> str:
        with self.street.db.write() as conn:
            conn.execute(insert(dcu_table).values(dcu=name, serial=name, state="enrolled", created_ms=START_MS))
        return name

    def node(self, dcu: str, state: m.NodeState, at_ms: int, address: str = "0011", parent: str = "", serial: str = "M-1") -> None:
        self.up(m.EntryKind.NODE, m.NodeReport("plc", "00124B01", int(state), at_ms, address, parent, 1, 200, serial), dcu)

    def places(self) -> list[tuple[str, str, str, bool]]:
        with self.street.db.read() as conn:
            return [(p.dcu, p.address, p.parent, p.to_ms is None) for p in topology.history(conn, "M-1")]


@pytest.fixture
def mdm(tmp_path: Path) -> Iterator[Mdm]:
    street = new_street(tmp_path)
    yield Mdm(street)
    street.db.close()


# ---- settings -------------------------------------------------------------------------------------------------


def test_a_setting_goes_from_queued_to_sent_to_active_when_it_was_read_back(mdm: Mdm) -> None:
    cmd_id = mdm.order(1, BillingDate(5))
    assert mdm.states() == [SettingState.QUEUED]
    [command] = mdm.sent()
    assert command.settings == (packed(BillingDate(5)),)
    mdm.receipt(cmd_id, S.EXECUTING)
    assert mdm.states() == [SettingState.SENT]
    mdm.receipt(cmd_id, S.DONE, (packed(BillingDate(5)),))
    assert mdm.states() == [SettingState.ACTIVE]


def test_a_calendar_is_verified_until_its_day_and_active_from_then_on(mdm: Mdm) -> None:
    cmd_id = mdm.order(1, CALENDAR)
    mdm.sent()
    mdm.receipt(cmd_id, S.EXECUTING)
    mdm.receipt(cmd_id, S.DONE, (packed(CALENDAR),))
    assert mdm.states(now_ms=START_MS + DAY_MS) == [SettingState.VERIFIED]
    assert mdm.states(now_ms=START_MS + 7 * DAY_MS) == [SettingState.ACTIVE]


@pytest.mark.parametrize("end", [S.REFUSED, S.FAILED])
def test_a_command_that_ends_badly_is_a_setting_that_failed_with_its_reason(mdm: Mdm, end: CommandState) -> None:
    cmd_id = mdm.order(1, BillingDate(5))
    mdm.sent()
    mdm.receipt(cmd_id, S.EXECUTING)
    mdm.receipt(cmd_id, end, reason=Reason.NOT_READ_BACK)
    with mdm.street.db.read() as conn:
        [view] = settings.of_meter(conn, 1, START_MS)
    assert (view.state, view.reason) == (SettingState.FAILED, "not_read_back")


def test_done_without_what_was_read_back_is_no_proof(mdm: Mdm) -> None:
    cmd_id = mdm.order(1, BillingDate(5))
    mdm.sent()
    mdm.receipt(cmd_id, S.EXECUTING)
    mdm.receipt(cmd_id, S.DONE)
    assert mdm.states() == [SettingState.FAILED]


def test_a_setting_changed_on_site_shows_as_differing(mdm: Mdm) -> None:
    cmd_id = mdm.order(1, BillingDate(5))
    mdm.sent()
    mdm.receipt(cmd_id, S.EXECUTING)
    mdm.receipt(cmd_id, S.DONE, (packed(BillingDate(5)),))
    with mdm.street.db.write() as conn:
        asked = CommandRequest(1, m.CommandType.READ_SETTINGS, "staff:otto", "audit", settings=(Setting(4),))
        read = service.issue(conn, SIGNER, asked, START_MS + 10).cmd_id
    mdm.receipt(read, S.EXECUTING, at_ms=START_MS + 20)
    mdm.receipt(read, S.DONE, (packed(BillingDate(17)),), at_ms=START_MS + 20)
    assert mdm.states() == [SettingState.DIFFERS]


def test_nonsense_is_refused_with_its_field_before_anything_leaves(mdm: Mdm) -> None:
    with pytest.raises(RefusedCommand, match="day: 1 to 28"):
        mdm.order(1, BillingDate(31))
    with pytest.raises(RefusedCommand, match="never written"):
        mdm.order(1, Form(3, 4))
    assert mdm.sent() == []
    assert mdm.states() == []


def test_the_same_key_orders_once(mdm: Mdm) -> None:
    assert mdm.order(1, BillingDate(5), key="k") == mdm.order(1, BillingDate(5), key="k")
    assert len(mdm.sent()) == 1


def test_a_receipt_whose_settings_can_not_be_read_says_nothing_of_the_meter(mdm: Mdm) -> None:
    cmd_id = mdm.order(1, BillingDate(5))
    mdm.sent()
    mdm.receipt(cmd_id, S.EXECUTING)
    body = m.CommandReceipt(cmd_id, 1, int(S.DONE), START_MS, "", cbor.dumps({0: [[4, b"\xff"]]}))
    mdm.up(m.EntryKind.COMMAND_RECEIPT, body)
    assert mdm.states() == [SettingState.FAILED]


@pytest.mark.covers_part("BYPL-8.3")
def test_a_campaign_shows_each_meter_and_counts_the_states(mdm: Mdm) -> None:
    with mdm.street.db.write() as conn:
        refused = settings.campaign(conn, SIGNER, "spring", (1, 2, 3, 99, 1), (CapturePeriod(900),), "staff:otto", START_MS)
        again = settings.campaign(conn, SIGNER, "spring", (1, 2, 3), (CapturePeriod(900),), "staff:otto", START_MS + 1)
    assert (list(refused), again) == ([99], {})
    sent = mdm.sent()
    assert sorted(c.meter_no for c in sent) == [1, 2, 3]
    one = next(c for c in sent if c.meter_no == 1)
    mdm.receipt(one.cmd_id, S.EXECUTING)
    mdm.receipt(one.cmd_id, S.DONE, (packed(CapturePeriod(900)),))
    with mdm.street.db.read() as conn:
        counts = settings.counts(settings.of_campaign(conn, "spring", START_MS + 2))
    assert (counts[SettingState.ACTIVE], counts[SettingState.QUEUED], counts[SettingState.FAILED]) == (1, 2, 0)


def test_a_later_wish_replaces_an_earlier_one(mdm: Mdm) -> None:
    mdm.order(1, DemandPeriod(900))
    mdm.order(1, DemandPeriod(1_800))
    with mdm.street.db.read() as conn:
        assert [v.wanted for v in settings.of_meter(conn, 1, START_MS)] == [DemandPeriod(1_800)]


def test_a_name_plate_is_kept(mdm: Mdm) -> None:
    with mdm.street.db.write() as conn:
        asked = CommandRequest(1, m.CommandType.READ_NAME_PLATE, "staff:otto", "who")
        cmd_id = service.issue(conn, SIGNER, asked, START_MS).cmd_id
        conn.execute(insert(event).values(shard=0, dcu=DCU, meter_no=1, code=251, at_ms=START_MS, received_ms=START_MS))
    mdm.receipt(cmd_id, S.EXECUTING)
    plate = cbor.dumps({0: {"serial": "M-1", "maker": "Acme", "model": "X1", "firmware": "1.2", "year": "2025"}})
    mdm.up(m.EntryKind.COMMAND_RECEIPT, m.CommandReceipt(cmd_id, 1, int(S.DONE), START_MS, "", plate))
    with mdm.street.db.read() as conn:
        assert [(g.group, g.type.code, g.count) for g in failures.grouped(conn, "maker", 0, START_MS + 1)] == [("Acme", 251, 1)]


# ---- places ---------------------------------------------------------------------------------------------------


@pytest.mark.covers_part("BYPL-11.1", "BYPL-11.2")
def test_a_meter_that_moves_to_another_concentrator_leaves_the_old_parent_and_keeps_its_history(mdm: Mdm) -> None:
    other = mdm.another_dcu("dcu-test-2")
    mdm.node(DCU, m.NodeState.JOINED, START_MS - 1_000)
    mdm.node(other, m.NodeState.JOINED, START_MS, address="0042", parent="00124B77")
    assert mdm.places() == [(other, "0042", "00124B77", True), (DCU, "0011", "", False)]
    with mdm.street.db.read() as conn:
        assert topology.nodes(conn, DCU) == ()
        assert [n.serial for n in topology.nodes(conn, other)] == ["M-1"]


def test_a_node_that_leaves_late_does_not_end_the_place_behind_the_other_concentrator(mdm: Mdm) -> None:
    other = mdm.another_dcu("dcu-test-2")
    mdm.node(DCU, m.NodeState.JOINED, START_MS - 1_000)
    mdm.node(other, m.NodeState.JOINED, START_MS)
    mdm.node(DCU, m.NodeState.LEFT, START_MS - 500)
    assert mdm.places()[0] == (other, "0011", "", True)


def test_the_same_place_again_is_no_new_row_and_a_new_route_is_one(mdm: Mdm) -> None:
    for at_ms in (START_MS - 3_000, START_MS - 2_000):
        mdm.node(DCU, m.NodeState.JOINED, at_ms)
    mdm.node(DCU, m.NodeState.JOINED, START_MS - 1_000, parent="00124B99")
    assert mdm.places() == [(DCU, "0011", "00124B99", True), (DCU, "0011", "", False)]


def test_a_meter_seen_on_a_bus_has_a_place_too(mdm: Mdm) -> None:
    mdm.up(m.EntryKind.METER_SEEN, m.MeterSeen("M-1", "rs485", "is15959", "17", START_MS))
    assert mdm.places() == [(DCU, "17", "", True)]


def test_what_is_older_than_what_is_known_changes_nothing(mdm: Mdm) -> None:
    mdm.node(DCU, m.NodeState.JOINED, START_MS, address="0012")
    mdm.node(DCU, m.NodeState.JOINED, START_MS - 5_000, address="0011")
    assert mdm.places() == [(DCU, "0012", "", True)]


# ---- failures -------------------------------------------------------------------------------------------------


@pytest.mark.covers("I2FR13")
def test_five_repeats_in_thirty_days_are_chronic_and_four_are_not(mdm: Mdm) -> None:
    with mdm.street.db.write() as conn:
        for meter_no, times in ((1, 5), (2, 4)):
            for n in range(times):
                at_ms = START_MS - (n + 1) * 5 * DAY_MS
                conn.execute(insert(event).values(shard=0, dcu=DCU, meter_no=meter_no, code=201, at_ms=at_ms, received_ms=at_ms))
    with mdm.street.db.read() as conn:
        found = failures.chronic(conn, START_MS - 30 * DAY_MS, START_MS)
    assert [(c.meter_no, c.serial, c.count) for c in found] == [(1, "M-1", 5)]
