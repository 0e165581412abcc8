"""Recipients of data: sent on time to every address, tried again with patience, dead in the end, and told of every error."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.exchange import asking, cli, deliveries, recipient_cli, recipients
from gridtally_cloud.exchange.background import SendingOut
from gridtally_cloud.exchange.bringing import Habit, bring
from gridtally_cloud.exchange.deliveries import ErrorType
from gridtally_cloud.exchange.delivering import CLAIM_MS, deliver_due
from gridtally_cloud.exchange.formats import read
from gridtally_cloud.exchange.recipient_tables import delivery_file, recipient_address
from gridtally_cloud.exchange.recipients import DeliveryState, RecipientReason
from gridtally_cloud.exchange.record import Asked
from gridtally_cloud.exchange.sending import send_due
from gridtally_cloud.integrations.patience import RECEIVERS, STEPS_MS
from gridtally_cloud.integrations.stubs.receiver import Receiver
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.tables import reading, usage_point
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR, ManualClock
from gridtally_shared.errors import ConfigError, RefusedCommand
from gridtally_shared.quantities import BY_NAME
from gridtally_shared.signing import KeySigner
from support.cloud_store import Street, new_street
from support.waiting import wait_until


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


RUN_MS = at("2026-02-02T05:00")
"""06:00 in Berlin."""
LSE = "daily_2026-02-01_0001.lse"


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    """Two homes with a day of hourly energy and voltage, and registers read during the day and at its end."""
    street = new_street(tmp_path, installed_ms=at("2026-01-20T00:00"))
    (tmp_path / "out").mkdir()
    (tmp_path / "mdm.toml").write_text('zone = "Europe/Berlin"\n[exchange]\nin_dir = "in"\n')
    text = "usage_point,start,kwh,voltage [V]\n" + "".join(
        f"{point},2026-02-01T{hour:02}:00+00:00,1.{point}01,23{hour % 10}\n" for point in (1, 2) for hour in range(24)
    )
    taken = bring(street.db, text.encode(), "seed", Habit(), "UTC", at("2026-02-10T00:00"), lambda *_: None)
    assert taken.is_taken, taken
    with street.db.write() as conn:
        for meter_no, hour, value in ((1, 11, 5_000), (1, 24, 9_000), (2, 23, 7_000), (2, 30, 7_700)):
            conn.execute(insert(reading).values(shard=0, meter_no=meter_no, quantity=BY_NAME["energy_import_wh"].code,
                                                at_ms=at("2026-02-01T00:00") + hour * MS_PER_HOUR, value=value, quality=0))  # fmt: skip
    yield street
    street.db.close()


@pytest.fixture
def market() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


def typed(street: Street, tmp_path: Path, now_ms: int, *words: str) -> int:
    parser = argparse.ArgumentParser()
    parser.set_defaults(config=tmp_path / "mdm.toml")
    desk = Desk(street.db, Payments(KeySigner.from_seed(b"s" * 32)), ManualClock(now_ms))
    commands = parser.add_subparsers()
    for area in (cli, recipient_cli):
        area.add_parser(commands, lambda options: nullcontext(desk))
    options = parser.parse_args(words)
    code: int = options.run(options)
    return code


def register(street: Street, market: Receiver, *more: str) -> None:
    """`market` in the register, with the receiver's address first."""
    with street.db.write() as conn:
        _, secrets = recipients.add(conn, "market", (market.url, *more), "", at("2026-02-01T12:00"), "test")
    market.secret = secrets[market.url]


def schedule(street: Street, tmp_path: Path, *words: str, form: str = "ndjson", name: str = "daily") -> None:
    given = ("--format", form, "--every", "day", "--at", "06:00", "--zone", "Europe/Berlin", "--to", "market")
    assert typed(street, tmp_path, at("2026-02-01T12:00"), "export", "schedule", name, *given, *words) == 0


def turn(street: Street, now_ms: int) -> int:
    """What a worker does."""
    send_due(street.db, "me", lambda: now_ms)
    return deliver_due(street.db, now_ms)


def states(street: Street) -> list[tuple[str, str, int]]:
    with street.db.read() as conn:
        return [(d.kind.value, d.state.value, d.attempts) for d in reversed(deliveries.deliveries(conn, "market"))]


def errors(street: Street) -> list[tuple[str, int]]:
    with street.db.read() as conn:
        return [(e.type.value, e.at_ms) for e in reversed(deliveries.errors(conn, "market"))]


# ---- who it is -------------------------------------------------------------------------------------------------


@pytest.mark.covers("ETSI-5.2.3-pre1")
def test_nothing_goes_to_a_recipient_nobody_knows_and_every_file_to_both_addresses(
    street: Street, tmp_path: Path, market: Receiver
) -> None:
    with pytest.raises(RefusedCommand, match="there is no recipient 'market': add it first") as refused:
        schedule(street, tmp_path)
    assert refused.value.reason == RecipientReason.UNKNOWN_RECIPIENT
    register(street, market, str(tmp_path / "out"))
    schedule(street, tmp_path)
    assert turn(street, RUN_MS) == 2
    name = "daily_2026-02-01_0001.ndjson"
    assert list(market.files) == [path.name for path in (tmp_path / "out").iterdir()] == [name]
    assert market.files[name] == (tmp_path / "out" / name).read_bytes()
    assert market.unverified == 0


@pytest.mark.parametrize(
    ("name", "to", "told"),
    [
        ("a b", ["/tmp"], "up to 40 letters"), ("x", [], "name an address"), ("x", ["http://far.example.org/"], "https://"),
        ("x", ["https://me:secret@far.example.org/"], "user and password"), ("x", ["/nowhere"], "no such folder"),
    ],
)  # fmt: skip
def test_what_can_not_be_an_address_is_refused_and_nothing_is_kept(street: Street, name: str, to: list[str], told: str) -> None:
    with pytest.raises((RefusedCommand, ConfigError), match=told), street.db.write() as conn:
        recipients.add(conn, name, to, "", 0, "test")
    with street.db.read() as conn:
        assert recipients.recipients(conn) == ()


# ---- what it gets, and when --------------------------------------------------------------------------------------


@pytest.mark.covers("ETSI-5.2.3-pre2")
def test_each_schedule_sends_its_kind_of_data(street: Street, tmp_path: Path, market: Receiver) -> None:
    register(street, market)
    schedule(street, tmp_path, "--kind", "reads", form="csv", name="reads")
    schedule(street, tmp_path, "--kind", "intervals", "--usage-point", "1", name="energy")
    schedule(street, tmp_path, "--kind", "profile", "--usage-point", "2", name="load")
    assert turn(street, RUN_MS) == 3
    reads = list(csv.DictReader(io.StringIO(market.files["reads_2026-02-01_0001.csv"].decode())))
    assert [(r["usage_point"], r["meter"], r["quantity"], r["at"], r["value"]) for r in reads] == [
        ("1", "M-1", "energy_import_wh", "2026-02-02T00:00:00Z", "9000"), ("2", "M-2", "energy_import_wh", "2026-02-01T23:00:00Z", "7000"),
    ]  # fmt: skip
    energy = read(market.files["energy_2026-02-01_0001.ndjson"], Asked("UTC")).series
    assert [(s.point, s.quantity, len(s.rows), s.total) for s in energy] == [("1", "interval_import_wh", 24, 24 * 1_101)]
    load = read(market.files["load_2026-02-01_0001.ndjson"], Asked("UTC")).series
    assert sorted((s.point, s.quantity) for s in load) == [("2", "interval_import_wh"), ("2", "interval_voltage_mv")]
    with pytest.raises(ConfigError, match="nem12 has no place for this"):
        schedule(street, tmp_path, "--kind", "reads", form="nem12", name="other")


@pytest.mark.covers("ETSI-5.2.3-sched-1b")
def test_the_worker_sends_it_on_time(street: Street, tmp_path: Path, market: Receiver) -> None:
    register(street, market)
    schedule(street, tmp_path)
    clock = ManualClock(RUN_MS - 1)
    out = SendingOut(street.db, clock)
    out.start_if_due(clock.now_ms())
    assert not market.files, "a millisecond before"
    clock.advance(1)
    out.start_if_due(clock.now_ms())
    wait_until(lambda: bool(market.files), 10, "the file is there")
    (series, *_) = read(market.files["daily_2026-02-01_0001.ndjson"], Asked("UTC")).series
    assert (series.rows[0].start_ms, len(series.rows), series.total) == (at("2026-02-01T00:00"), 24, 24 * 1_101)
    wait_until(lambda: states(street) == [("data", "taken", 1)], 10, "it is noted")
    assert turn(street, RUN_MS + 1_000) == 0, "once"
    with street.db.read() as conn:
        assert conn.execute(select(delivery_file.c.body)).scalar_one() == b"", "kept no longer than it is needed"


# ---- what goes wrong --------------------------------------------------------------------------------------------


@pytest.mark.covers("ETSI-5.2.3-alt-1c")
def test_a_recipient_that_is_down_is_tried_with_patience_then_its_file_is_dead_and_may_be_sent_again(
    street: Street, tmp_path: Path, market: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    register(street, market)
    schedule(street, tmp_path)
    market.refuse = 1_000
    now_ms, gaps = RUN_MS, []
    send_due(street.db, "me", lambda: now_ms)
    while True:
        deliver_due(street.db, now_ms)
        with street.db.read() as conn:
            (*_, data) = deliveries.deliveries(conn, "market")
        gaps.append(data.next_ms - now_ms)
        now_ms = data.next_ms
        if data.state is not DeliveryState.WAITING:
            break
    assert gaps[:5] == list(STEPS_MS)
    assert set(gaps[5:]) == {STEPS_MS[-1]}
    assert RECEIVERS.life_ms <= now_ms - RUN_MS <= RECEIVERS.life_ms + STEPS_MS[-1]
    assert typed(street, tmp_path, now_ms, "recipient", "deliveries", "market", "--state", "dead") == 1
    assert "daily_2026-02-01_0001.ndjson" in capsys.readouterr().out
    market.refuse = 0
    assert typed(street, tmp_path, now_ms, "recipient", "again", str(data.delivery_no)) == 0
    assert turn(street, now_ms) >= 1
    assert len(market.files["daily_2026-02-01_0001.ndjson"]) == data.size
    assert [kind for kind, _ in errors(street)] == ["not_sent", "given_up"]


def test_who_is_away_hears_of_it_at_its_other_address_at_once_and_at_this_one_when_it_is_back(
    street: Street, tmp_path: Path, market: Receiver
) -> None:
    register(street, market, str(tmp_path / "out"))
    schedule(street, tmp_path)
    here = market.url
    with street.db.write() as conn:
        conn.execute(update(recipient_address).where(recipient_address.c.target == here).values(target="http://127.0.0.1:1/"))
    assert turn(street, RUN_MS) == 2, "the file and the notice, in the folder"
    told = json.loads((tmp_path / "out" / "error_1.json").read_text())
    assert (told["error"], told["at"], told["recipient"]) == ("not_sent", "2026-02-02T05:00:00Z", "market")
    assert "daily_2026-02-01_0001.ndjson to http://127.0.0.1:1/: 127.0.0.1 can not be reached" in told["detail"]
    assert errors(street) == [("not_sent", RUN_MS)]
    assert turn(street, RUN_MS + 4_999) == 0
    assert states(street)[0] == ("data", "waiting", 1), "not before its time"
    with street.db.write() as conn:
        conn.execute(update(recipient_address).where(recipient_address.c.target == "http://127.0.0.1:1/").values(target=here))
    assert turn(street, RUN_MS + 5_000) == 2
    assert sorted(market.files) == ["daily_2026-02-01_0001.ndjson", "error_1.json"]
    assert {state for _, state, _ in states(street)} == {"taken"}
    with street.db.read() as conn:
        assert [a.away_ms for a in recipients.find(conn, "market").addresses] == [None, None]


def test_all_that_waits_for_an_address_waits_together_and_goes_when_it_is_back(street: Street, tmp_path: Path, market: Receiver) -> None:
    register(street, market)
    for name in ("a", "b", "c"):
        schedule(street, tmp_path, name=name)
    here, away = market.url, "http://127.0.0.1:1/"
    with street.db.write() as conn:
        conn.execute(update(recipient_address).values(target=away))
    assert turn(street, RUN_MS) == 0
    assert [row for row in states(street) if row[0] == "data"] == [("data", "waiting", 1), ("data", "waiting", 0), ("data", "waiting", 0)]
    with street.db.write() as conn:
        conn.execute(update(recipient_address).values(target=here))
    assert turn(street, RUN_MS + 5_000) == 4
    assert len(market.files) == 4


@dataclass
class SlowMarket(Receiver):
    """Another worker looks for work while it takes a file."""

    meanwhile: Callable[[], object] = lambda: None
    came: list[str] = field(default_factory=list)

    def take(self, number: int, sealed: str, body: bytes, file: str = "") -> int:
        self.came.append(file)
        if len(self.came) == 1:
            self.meanwhile()
        return super().take(number, sealed, body, file)


def test_what_one_worker_has_in_its_hands_no_other_sends_too(street: Street, tmp_path: Path) -> None:
    """Also where sending takes longer than the claim of it."""
    other = Database(street.db.url)
    with SlowMarket() as market:
        market.meanwhile = lambda: deliver_due(other, RUN_MS + CLAIM_MS)
        register(street, market)
        for name in ("a", "b"):
            schedule(street, tmp_path, name=name)
        assert turn(street, RUN_MS) == 2
        assert market.came == ["a_2026-02-01_0001.ndjson", "b_2026-02-01_0001.ndjson"]
    other.close()


def test_a_run_whose_file_can_not_be_made_is_told_once_and_made_when_it_can(street: Street, tmp_path: Path, market: Receiver) -> None:
    register(street, market)
    schedule(street, tmp_path, "--kind", "intervals", "--by-label", form="lse")
    for label, minutes, states_then in (("a,b", 0, {"error_1.json"}), ("a,b", 10, {"error_1.json"}), ("ab", 20, {"error_1.json", LSE})):
        with street.db.write() as conn:
            conn.execute(update(usage_point).where(usage_point.c.usage_point_no == 1).values(label=label))
        turn(street, RUN_MS + minutes * 60_000)
        assert set(market.files) == states_then
    assert errors(street) == [("missing_day", RUN_MS)]


def test_a_request_is_answered_at_the_addresses_and_one_that_is_not_valid_is_recorded_and_told(
    street: Street, tmp_path: Path, market: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    register(street, market)
    words = ("recipient", "send", "market", "--from", "2026-02-01", "--to", "2026-02-01", "--usage-point")
    assert typed(street, tmp_path, RUN_MS, *words, "2") == 0
    assert "with 24 values on the way to market" in capsys.readouterr().out
    for n, (kind, form, points, first, last, reason) in enumerate((
        ("mood", "csv", ("1",), "2026-02-01", "2026-02-01", "unknown_kind"),
        ("reads", "lse", ("1",), "2026-02-01", "2026-02-01", "unknown_format"),
        ("reads", "csv", ("99",), "2026-02-01", "2026-02-01", "unknown_usage_point"),
        ("reads", "csv", ("1",), "2026-02-02", "2026-02-01", "bad_span"),
        ("reads", "csv", ("1",), "2016-02-02", "2026-02-01", "too_much"),
        ("reads", "csv", ("1",), "2026-01-02", "2026-01-03", "nothing_held"),
    )):  # fmt: skip
        with street.db.write() as conn:
            found = asking.ask(conn, "market", asking.Question(kind, form, points, first, last), RUN_MS + n, "test")
        assert isinstance(found, asking.Refusal)
        assert found.reason == reason
    assert errors(street) == [(ErrorType.NOT_VALID.value, RUN_MS + n) for n in range(6)]
    deliver_due(street.db, RUN_MS + 9)
    assert [json.loads(market.files[f"error_{n}.json"])["detail"].partition(":")[0] for n in (1, 6)] == ["unknown_kind", "nothing_held"]
    with pytest.raises(RefusedCommand, match="there is no recipient"), street.db.write() as conn:
        asking.ask(conn, "nobody", asking.Question("reads", "csv", ("1",), "2026-02-01", "2026-02-01"), RUN_MS, "test")


def test_the_end_of_a_recipient_and_what_the_command_line_shows(
    street: Street, tmp_path: Path, market: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(street, tmp_path, RUN_MS, "recipient", "add", "market", "--to", market.url, "--to", str(tmp_path / "out")) == 0
    assert "shown this once" in capsys.readouterr().out
    schedule(street, tmp_path)
    capsys.readouterr()
    typed(street, tmp_path, RUN_MS, "recipient", "list")
    assert capsys.readouterr().out == f"market: {market.url}, {tmp_path / 'out'}; schedules: daily\n"
    with pytest.raises(RefusedCommand, match="export unschedule daily"):
        typed(street, tmp_path, RUN_MS, "recipient", "end", "market")
    turn(street, RUN_MS)  # its secret is not told: nothing is verified, and the file waits
    typed(street, tmp_path, RUN_MS, "recipient", "errors", "market")
    assert "not_sent" in capsys.readouterr().out
    typed(street, tmp_path, RUN_MS, "export", "unschedule", "daily")
    typed(street, tmp_path, RUN_MS, "recipient", "end", "market")
    assert {state for _, state, _ in states(street)} == {DeliveryState.TAKEN.value, DeliveryState.DEAD.value}
    assert deliver_due(street.db, RUN_MS + MS_PER_DAY) == 0
    with pytest.raises(RefusedCommand, match="was ended"):
        schedule(street, tmp_path)
