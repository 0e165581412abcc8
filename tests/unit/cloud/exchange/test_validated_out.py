"""The utility sends validated days to a portal as LSE under the market's name; a day that lacks raises an alarm and goes when it stands."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.exchange import cli, recipients
from gridtally_cloud.exchange.background import LateDays
from gridtally_cloud.exchange.bringing import Habit, bring
from gridtally_cloud.exchange.delivering import deliver_due
from gridtally_cloud.exchange.folder_in import Watched
from gridtally_cloud.exchange.folder_in import turn as look
from gridtally_cloud.exchange.formats import read
from gridtally_cloud.exchange.points import channels_of, point_of
from gridtally_cloud.exchange.record import Asked
from gridtally_cloud.exchange.sending import send_due
from gridtally_cloud.exchange.tables import exchange_file
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.store.close import close_days
from gridtally_cloud.store.intervals import read_intervals
from gridtally_cloud.store.tables import reading, usage_point, vee_run
from gridtally_cloud.vee.run import run_pending
from gridtally_shared.clock import MS_PER_DAY, ManualClock
from gridtally_shared.errors import ConfigError
from gridtally_shared.quantities import BY_NAME
from gridtally_shared.signing import KeySigner
from support.cloud_store import Street, new_street

ZONE = "America/Chicago"
QUARTER_MS = 900_000


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1000)


DAY_MS, RUN_MS = at("2026-02-02T00:00-06:00"), at("2026-02-03T06:00-06:00")
NAME = "123456789IntervalData20260203060000001.lse"


@dataclass(frozen=True, slots=True)
class Utility:
    street: Street
    out: Path
    folder: Path

    def fill(self, *points: int, now_ms: int) -> None:
        """Quarters of the day, as a head end brings them."""
        rows = (f"{point},{DAY_MS + n * QUARTER_MS},0.{point}{n % 10}" for point in points for n in range(96))
        lines = ({"usage_point": p, "quantity": "interval_import_wh", "interval_s": 900, "start_ms": int(s), "kwh": float(k)}
                 for p, s, k in (row.split(",") for row in rows))  # fmt: skip
        text = "\n".join(json.dumps(line) for line in lines)
        taken = bring(self.street.db, text.encode(), "seed", Habit(), ZONE, now_ms, lambda *_: None)
        assert taken.is_taken, taken

    def judge(self, now_ms: int) -> None:
        while close_days(self.street.db, now_ms):
            pass
        while run_pending(self.street.db, now_ms):
            pass

    def run(self, now_ms: int) -> None:
        send_due(self.street.db, "me", lambda: now_ms)
        LateDays(self.street.db).start_if_any(now_ms)
        deliver_due(self.street.db, now_ms)

    def typed(self, now_ms: int, *words: str) -> int:
        parser = argparse.ArgumentParser()
        parser.set_defaults(config=self.folder / "mdm.toml")
        desk = Desk(self.street.db, Payments(KeySigner.from_seed(b"s" * 32)), ManualClock(now_ms))
        cli.add_parser(parser.add_subparsers(), lambda options: nullcontext(desk))
        options = parser.parse_args(["export", *words])
        code: int = options.run(options)
        return code

    def schedule(self, *words: str, name: str = "smt", form: str = "lse") -> None:
        given = ("schedule", name, "--format", form, "--every", "day", "--at", "06:00", "--zone", ZONE, "--to", "portal", "--by-label")
        assert self.typed(at("2026-02-02T12:00-06:00"), *given, *words) == 0

    def names(self) -> list[str]:
        return sorted(path.name for path in self.out.iterdir())


@pytest.fixture
def utility(tmp_path: Path) -> Iterator[Utility]:
    street = new_street(tmp_path, zone=ZONE, installed_ms=at("2026-01-20T00:00-06:00"))
    (tmp_path / "out").mkdir()
    (tmp_path / "mdm.toml").write_text("")
    with street.db.write() as conn:
        for number in street.meters:
            conn.execute(update(usage_point).where(usage_point.c.usage_point_no == number).values(label=f"1044372000000000{number}"))
        recipients.add(conn, "portal", (str(tmp_path / "out"),), "", DAY_MS, "test")
    yield Utility(street, tmp_path / "out", tmp_path)
    street.db.close()


VALIDATED = ("--validated", "--sender", "123456789", "--kind", "intervals")


@pytest.mark.covers("SMT-ACT2")
def test_validated_days_go_every_day_under_the_markets_name_and_a_missing_one_raises_an_alarm(
    utility: Utility, capsys: pytest.CaptureFixture[str]
) -> None:
    """Homes 1 and 2 have all of their day; home 3 has nothing. Post: LSE of 1 and 2 on time, an alarm for 3 at the portal and for staff;
    when the day of 3 is there and judged it goes by itself, and the alarm ends."""
    utility.fill(1, 2, now_ms=RUN_MS - 3_600_000)
    utility.judge(RUN_MS)
    utility.schedule(*VALIDATED)
    utility.run(RUN_MS - 1)
    assert utility.names() == []
    utility.run(RUN_MS)
    assert utility.names() == [NAME, "error_1.json"]  # file name
    content = (utility.out / NAME).read_text()
    assert content.startswith("00000001,10443720000000001,4,20260202000000,20260202235959,Y,N\n")
    series = read(content.encode(), Asked(ZONE)).series  # content
    assert [(s.point, s.quantity, len(s.rows), s.rows[0].start_ms) for s in series] == [
        ("10443720000000001", "interval_import_wh", 96, DAY_MS), ("10443720000000002", "interval_import_wh", 96, DAY_MS),
    ]  # fmt: skip
    assert [row.value for row in series[0].rows] == [100 + 10 * (n % 10) for n in range(96)]
    alarm = json.loads((utility.out / "error_1.json").read_text())
    assert (alarm["error"], alarm["at"]) == ("missing_day", "2026-02-03T12:00:00Z")
    assert alarm["detail"] == "no validated data of 2026-02-02 at 1 usage points: 3"
    assert utility.typed(RUN_MS, "schedules") == 1
    assert "MISSING: 2026-02-02 at 1 usage points" in capsys.readouterr().out

    utility.fill(3, now_ms=RUN_MS + 3_600_000)
    utility.run(RUN_MS + 3_600_000)
    assert len(utility.names()) == 2, "it is not judged yet"
    utility.judge(RUN_MS + 2 * MS_PER_DAY)
    late_ms = at("2026-02-03T15:30:10-06:00")
    utility.run(late_ms)
    late = "123456789IntervalData20260203153010999.lse"
    assert utility.names() == [NAME, late, "error_1.json"]
    assert [s.point for s in read((utility.out / late).read_bytes(), Asked(ZONE)).series] == ["10443720000000003"]
    utility.run(late_ms + 60_000)
    assert len(utility.names()) == 3, "once"
    assert utility.typed(late_ms, "schedules") == 0


def test_a_day_vee_does_not_let_stand_does_not_go_and_one_without_a_meter_does_not_lack(utility: Utility) -> None:
    utility.fill(1, 2, now_ms=RUN_MS - 3_600_000)
    utility.judge(RUN_MS)
    with utility.street.db.write() as conn:
        conn.execute(update(vee_run).where(vee_run.c.channel_no == 2).values(status="failed"))
        conn.exec_driver_sql(f"UPDATE meter SET installed_ms = {RUN_MS} WHERE meter_no = 3")
    utility.schedule(*VALIDATED)
    utility.run(RUN_MS)
    assert [s.point for s in read((utility.out / NAME).read_bytes(), Asked(ZONE)).series] == ["10443720000000001"]
    assert json.loads((utility.out / "error_1.json").read_text())["detail"].endswith("at 1 usage points: 2")
    with utility.street.db.write() as conn:
        conn.execute(delete(vee_run).where(vee_run.c.channel_no == 2))
    utility.run(RUN_MS + MS_PER_DAY // 2)
    assert len(utility.names()) == 2


@pytest.mark.covers("SMT-A3", "SMT-pre1")
def test_the_portal_gets_daily_reading_and_quarters_and_takes_its_drop_once(utility: Utility, tmp_path: Path) -> None:
    """Pre: the portal's drop is the folder the utility sends to, and watched. Post: the daily reading came; the validated quarters are
    loaded by one look, and never again."""
    midnight = {"shard": 0, "meter_no": 1, "quantity": BY_NAME["energy_import_wh"].code, "at_ms": DAY_MS + MS_PER_DAY, "value": 7}
    with utility.street.db.write() as conn:
        conn.execute(reading.insert().values(midnight))
    utility.fill(1, 2, now_ms=RUN_MS - 3_600_000)
    utility.judge(RUN_MS)
    utility.schedule(*VALIDATED, "--usage-point", "1", "--usage-point", "2")
    utility.schedule("--kind", "reads", name="daily", form="csv")
    utility.run(RUN_MS)
    assert utility.names() == [NAME, "daily_2026-02-02_0001.csv"]
    daily = utility.out / "daily_2026-02-02_0001.csv"
    assert "10443720000000001,M-1,energy_import_wh,Wh,0,2026-02-03T06:00:00Z,7,0" in daily.read_text()
    daily.unlink()  # read by the portal's own means

    (tmp_path / "portal").mkdir()
    portal = new_street(tmp_path / "portal", zone=ZONE, installed_ms=at("2026-01-20T00:00-06:00"))
    labels = "UPDATE usage_point SET label = '1044372000000000' || usage_point_no"
    with portal.db.write() as conn:
        conn.exec_driver_sql(labels)
    for _ in range(2):
        look(portal.db, Watched(utility.out, 0, ZONE), RUN_MS + 60_000, time.time() + 60)
    with portal.db.read() as conn:
        assert conn.execute(select(exchange_file.c.name, exchange_file.c.state, exchange_file.c.added)).all() == [(NAME, "taken", 192)]
        channels = [channels_of(conn, point_of(conn, f"1044372000000000{n}"))[0].ref.channel_no for n in (1, 2)]
        held = [read_intervals(conn, number, DAY_MS, DAY_MS + MS_PER_DAY) for number in channels]
    assert [list(series.values) for series in held] == [[100 * point + 10 * (n % 10) for n in range(96)] for point in (1, 2)]
    portal.db.close()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--sender", "12345"), "9 or 13 digits"), (("--validated", "--every", "month"), "use --every day"),
        (("--sender", "123456789", "--format", "csv"), "only LSE files"),
        (("--validated", "--kind", "reads", "--format", "csv"), "not --kind"),
    ],
)  # fmt: skip
def test_what_can_not_be_meant_is_refused(utility: Utility, words: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        utility.schedule(*words)
    utility.schedule("--sender", "123456789")
    with pytest.raises(ConfigError, match="smt has this sender"):
        utility.schedule("--sender", "123456789", name="other")
