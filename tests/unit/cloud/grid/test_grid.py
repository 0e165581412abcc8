"""The network register and what an operator asks of it: readings, power quality, the load report, a bulk export with its figures."""

from __future__ import annotations

import argparse
import json
from array import array
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import insert
from werkzeug.test import TestResponse

from gridtally_cloud.app import create_app
from gridtally_cloud.customers.desk import Desk
from gridtally_cloud.exchange import recipients
from gridtally_cloud.exchange.bringing import Habit, bring
from gridtally_cloud.exchange.delivering import deliver_due
from gridtally_cloud.exchange.formats import read
from gridtally_cloud.exchange.record import Asked
from gridtally_cloud.grid import cli, load, register
from gridtally_cloud.grid.load import Overload, Part
from gridtally_cloud.grid.register import Transformer
from gridtally_cloud.integrations.stubs.receiver import Receiver
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.store.intervals import IntervalSeries
from gridtally_cloud.store.tables import event, reading
from gridtally_cloud.web.site import WebSettings
from gridtally_cloud.web.tokens import create_token, list_tokens
from gridtally_cloud.workorders.service import OrderKind, open_order
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR, ManualClock, SystemClock
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_NAME
from gridtally_shared.signing import KeySigner
from support.cloud_store import Street, new_street

SIGNER = KeySigner.from_seed(b"g" * 32)
QUARTER_MS = 900_000


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


DAY_MS = at("2026-02-02T00:00")
NOW_MS = DAY_MS + 30 * MS_PER_HOUR


# ---- the report, worked by hand --------------------------------------------------------------------------------


def series(values: list[int | None], period_s: int = 900, start_ms: int = DAY_MS, words: dict[int, int] | None = None) -> IntervalSeries:
    present = bytes(value is not None for value in values)
    quality = array("H", [(words or {}).get(n, 0) for n in range(len(values))])
    return IntervalSeries(start_ms, period_s, array("q", [value or 0 for value in values]), quality, present)


def test_the_report_equals_one_worked_by_hand() -> None:
    """Two homes by quarters, one by half hours, a roof that gives back, and the transformer's own meter over two hours."""
    a = series([500, 500, 500, 500, 1000, 1000, None, 500], words={1: int(Quality.ESTIMATED)})
    b = series([1000] * 8, words={0: int(Quality.CLOCK_UNCERTAIN)})
    c = series([1000, 1000, 4000, 1000], 1800)
    roof = series([0, 0, 500, 500, 0, 0, 0, 0])
    own = series([4200, 3150, 7350, 4000], 1800)
    found = load.report([Part(a), Part(b), Part(c), Part(roof, -1)], own, 12_000, DAY_MS, DAY_MS + 2 * MS_PER_HOUR)
    assert (found.step_s, found.all_steps, found.steps) == (1800, 4, 3)  # the last half hour lacks a quarter
    assert found.energy_wh == 4000 + 3000 + 8000
    assert (found.peak_w, found.peak_at_ms) == (16_000, DAY_MS + MS_PER_HOUR)
    assert found.mean_w == 10_000  # 15 kWh in an hour and a half
    assert (found.load_factor_permille, found.used_permille) == (625, 1333)
    assert found.overloads == (Overload(DAY_MS + MS_PER_HOUR, DAY_MS + MS_PER_HOUR + 1_800_000, 16_000),)
    assert found.balance is not None
    assert (found.balance.steps, found.balance.supplied_wh, found.balance.delivered_wh) == (3, 14_700, 15_000)
    assert (found.balance.loss_wh, found.balance.loss_permille) == (-300, -20)
    f = found.figures
    assert (f.expected, f.received, f.estimated, f.missing, f.doubtful, f.completeness_permille) == (28, 26, 1, 1, 1, 928)


def test_overloads_that_follow_each_other_are_one_and_nothing_at_all_is_no_zero() -> None:
    found = load.report([Part(series([300, 300, 100, -300]))], None, 1_000, DAY_MS, DAY_MS + MS_PER_HOUR)
    assert [(o.from_ms - DAY_MS, o.to_ms - DAY_MS, o.peak_w) for o in found.overloads] == [
        (0, 2 * QUARTER_MS, 1_200), (3 * QUARTER_MS, MS_PER_HOUR, 1_200)]  # fmt: skip
    empty = load.report([Part(series([None] * 4))], None, 1_000, DAY_MS, DAY_MS + MS_PER_HOUR)
    assert (empty.steps, empty.peak_w, empty.mean_w, empty.load_factor_permille, empty.balance) == (0, None, None, None, None)


# ---- the network -------------------------------------------------------------------------------------------------


@dataclass
class Network:
    """DT-1 (feeder north) with homes 1 and 2, and home 4 its own meter; DT-2 (south) with home 3."""

    street: Street
    app: Flask
    folder: Path

    def token(self, *feeders: str, scopes: tuple[str, ...] = ("grid:read", "grid:export")) -> str:
        with self.street.db.write() as conn:
            text = create_token(conn, "dno", scopes, SystemClock().now_ms(), "test")
            register.bind_token(conn, list_tokens(conn)[0].token_no, feeders)
            return text

    def send(self, method: str, path: str, token: str, **more: Any) -> TestResponse:
        return self.app.test_client().open(f"/api/v1/grid{path}", method=method, headers={"Authorization": f"Bearer {token}"}, **more)

    def get(self, path: str, token: str, **query: Any) -> Any:
        within = {"from": "2026-02-02T00:00:00Z", "to": "2026-02-03T00:00:00Z"}
        answer = self.send("GET", path, token, query_string=within | query)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return answer.get_json()

    def typed(self, *words: str) -> int:
        parser = argparse.ArgumentParser()
        desk = Desk(self.street.db, Payments(SIGNER), ManualClock(NOW_MS))
        cli.add_parser(parser.add_subparsers(), lambda options: nullcontext(desk))
        options = parser.parse_args(["grid", *words])
        code: int = options.run(options)
        return code


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    street = new_street(tmp_path, 4)
    db, since = street.db, DAY_MS - MS_PER_DAY
    lines = [f"{point},{datetime.fromtimestamp((DAY_MS + n * QUARTER_MS) / 1000, UTC).isoformat()},{wh / 1000}"
             for point, wh in ((1, 1_000), (2, 500), (3, 100), (4, 1_600)) for n in range(96) if (point, n) != (2, 5)]  # fmt: skip
    text = "usage_point,start,kwh\n" + "\n".join(lines) + "\n"
    assert bring(db, text.encode(), "seed", Habit(), "UTC", NOW_MS, lambda *_: None).is_taken
    with db.write() as conn:
        register.put(conn, Transformer("DT-1", "north", 5_500, 4), since, "test")
        register.put(conn, Transformer("DT-2", "south", 1_000), since, "test")
        for point, name in ((1, "DT-1"), (2, "DT-1"), (3, "DT-2")):
            register.place(conn, point, name, since, "test", since)
        told = ((1, "energy_import_wh", 1, 7_000), (1, "voltage_mv", 2, 231_000), (2, "energy_import_wh", 1, 9_000),
                (3, "energy_import_wh", 1, 5))  # fmt: skip
        for meter_no, name, hour, value in told:
            conn.execute(insert(reading).values(shard=0, meter_no=meter_no, quantity=BY_NAME[name].code, value=value, quality=0,
                                                at_ms=DAY_MS + hour * MS_PER_HOUR))  # fmt: skip
        for name, minute in (("low_voltage", 60), ("low_voltage_ended", 65)):
            conn.execute(insert(event).values(dcu=street.dcu, meter_no=1, code=EVENTS[name].code, at_ms=DAY_MS + minute * 60_000,
                                              received_ms=NOW_MS))  # fmt: skip
    app = create_app(WebSettings(b"a secret key of the grid tests,", False, "UTC"), db, ManualClock(NOW_MS), Payments(SIGNER))
    yield Network(street, app, tmp_path)
    db.close()


@pytest.mark.covers("ETSI-5.2.10-basic-1", "ETSI-5.2.10-basic-2")
def test_an_operator_asks_for_readings_and_power_quality_of_a_feeder_or_transformer_in_its_scope(network: Network) -> None:
    everything, north = network.token(), network.token("north")
    both = [("1", 7_000), ("2", 9_000)]
    for path in ("/transformers/DT-1", "/feeders/north"):
        found = network.get(f"{path}/readings", north)
        assert [(str(r["meter_no"]), r["value"]) for r in found["items"]] == both
        assert found["figures"]["completeness_permille"] == 994
        first, second = network.get(f"{path}/power-quality", north)["items"]
        assert [(v["quantity"], v["value"]) for v in first["items"]] == [("voltage_mv", 231_000)]
        assert [(d["kind"], d["from"], d["to"]) for d in first["disturbances"]] == [("sag", "2026-02-02T01:00:00Z", "2026-02-02T01:05:00Z")]
        assert (second["items"], second["disturbances"]) == ([], [])
    page = network.get("/feeders/north/readings", north, limit=1)
    assert [r["value"] for r in network.get("/feeders/north/readings", north, limit=1, cursor=page["next"])["items"]] == [9_000]
    assert [r["value"] for r in network.get("/feeders/south/readings", everything)["items"]] == [5]
    assert [t["transformer"] for t in network.get("", north)["items"]] == ["DT-1"]
    assert [(t["transformer"], t["usage_points"]) for t in network.get("", everything)["items"]] == [("DT-1", 2), ("DT-2", 1)]


@pytest.mark.covers("ETSI-5.2.10-alt2")
def test_what_is_not_valid_is_answered_with_its_type_and_instant(network: Network) -> None:
    north, other = network.token("north"), network.token(scopes=("readings:read",))
    body = {"recipient": "nobody", "from": "2026-02-02T00:00:00Z", "to": "2026-02-03T00:00:00Z"}
    turned = {"from": "2026-02-03T00:00:00Z", "to": "2026-02-02T00:00:00Z"}
    long = {"from": "2016-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}
    cases: tuple[tuple[str, str, str, dict[str, Any], int, str], ...] = (
        ("GET", "/feeders/south/readings", north, {}, 403, "not-your-feeder"),
        ("GET", "/transformers/DT-2/load", north, {}, 403, "not-your-feeder"),
        ("GET", "/transformers/DT-1/load", other, {}, 403, "scope-missing"),
        ("GET", "/transformers/DT-9/load", north, {}, 404, "unknown-transformer"),
        ("GET", "/feeders/west/power-quality", north, {}, 404, "unknown-feeder"),
        ("GET", "/streets/north/load", north, {}, 404, "not-found"),
        ("GET", "/feeders/north/load", north, {"query_string": turned}, 400, "bad-span"),
        ("GET", "/feeders/north/load", north, {"query_string": {"from": "soon"}}, 400, "bad-time"),
        ("POST", "/feeders/north/exports", north, {"json": body}, 404, "unknown-recipient"),
    )  # fmt: skip
    for method, path, token, more, status, kind in cases:
        answer = network.send(method, path, token, **more)
        said = answer.get_json()
        assert (answer.status_code, said["type"].rsplit("/", 1)[1], said["at"]) == (status, kind, "2026-02-03T06:00:00Z"), path
        assert said["detail"]
    with network.street.db.write() as conn:
        register.place(conn, 1, "DT-1", at("2016-01-01T00:00"), "test", NOW_MS)
    answer = network.send("GET", "/feeders/north/load", north, query_string=long)
    assert (answer.status_code, answer.get_json()["type"].rsplit("/", 1)[1]) == (422, "too-much")


@pytest.mark.covers("ETSI-5.2.10-basic-3", "ETSI-5.2.10-basic-4", "ETSI-5.2.10-alt4")
def test_an_export_goes_with_figures_to_judge_it_and_one_that_fails_is_flagged_and_sent_again(network: Network) -> None:
    """Pre: home 2 lacks a quarter. Post: the operator has the data and figures that say so; while it was away the failure was flagged."""
    db, north = network.street.db, network.token("north")
    with Receiver() as operator:
        with db.write() as conn:
            _, secrets = recipients.add(conn, "dno", (operator.url,), "", NOW_MS, "test")
        operator.secret, operator.refuse = secrets[operator.url], 2
        asked = {"recipient": "dno", "format": "ndjson", "from": "2026-02-02T00:00:00Z", "to": "2026-02-03T00:00:00Z"}
        answer = network.send("POST", "/feeders/north/exports", north, json=asked)
        assert answer.status_code == 202
        data, figures = answer.get_json()["files"]
        deliver_due(db, NOW_MS)
        client = network.token(scopes=("recipients:write",))

        def about(what: str) -> list[dict[str, Any]]:
            answer = network.app.test_client().get(f"/api/v1/recipients/dno/{what}", headers={"Authorization": f"Bearer {client}"})
            items: list[dict[str, Any]] = answer.get_json()["items"]
            return items

        flagged = [e for e in about("errors") if e["type"] == "not_sent"]
        assert len(flagged) == 2
        assert {d["state"] for d in about("deliveries") if d["kind"] == "data"} == {"waiting"}
        for delivery in about("deliveries"):
            if delivery["kind"] == "data":
                again = network.app.test_client().post(f"/api/v1/deliveries/{delivery['delivery_no']}/send",
                                                       headers={"Authorization": f"Bearer {client}"})  # fmt: skip
                assert again.status_code == 202
        deliver_due(db, NOW_MS)
    held = read(operator.files[data], Asked("UTC")).series
    assert [(s.point, s.total, sum(r.value is not None for r in s.rows)) for s in held] == [("1", 96_000, 96), ("2", 47_500, 95)]
    said = json.loads(operator.files[figures])
    assert (said["asked"], said["files"], said["values"]) == ("feeders/north", [data], 191)
    assert said["intervals"] == {"expected": 192, "received": 191, "estimated": 0, "missing": 1, "doubtful": 0,
                                 "completeness_permille": 994}  # fmt: skip


@pytest.mark.covers("ETSI-5.2.10-basic-5")
def test_the_load_report_says_peak_load_factor_overloads_and_loss(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    """DT-1 carries 6 kW all day at a rating of 5.5 kVA and its own meter counts 6.4 kW: 6.25 % is lost on the way."""
    found = network.get("/transformers/DT-1/load", network.token("north"))
    assert (found["whole_steps"], found["all_steps"], found["energy_wh"]) == (95, 96, 95 * 1_500)
    assert (found["peak_w"], found["mean_w"], found["load_factor_permille"], found["used_permille"]) == (6_000, 6_000, 1_000, 1_090)
    lacks = DAY_MS + 5 * QUARTER_MS
    assert [(at(o["from"][:-1]), at(o["to"][:-1]), o["peak_w"]) for o in found["overloads"]] == [
        (DAY_MS, lacks, 6_000), (lacks + QUARTER_MS, DAY_MS + MS_PER_DAY, 6_000)]  # fmt: skip
    assert found["balance"] == {"steps": 95, "supplied_wh": 95 * 1_600, "delivered_wh": 95 * 1_500, "loss_wh": 95 * 100,
                                "loss_permille": 62}  # fmt: skip
    south = network.get("/feeders/south/load", network.token())
    assert (south["peak_w"], south["rating_va"], south["overloads"], south["balance"]) == (400, 1_000, [], None)
    assert network.typed("load", "DT-1", "--from", "2026-02-02", "--to", "2026-02-02") == 0
    told = capsys.readouterr().out
    assert "peak 6000 W at 2026-02-02T00:00:00Z, mean 6000 W, load factor 100.0 %" in told
    assert "gave 152000 Wh, arrived 142500 Wh, loss 9500 Wh (6.2 %)" in told


def test_who_is_moved_counts_behind_each_transformer_for_its_own_time(network: Network) -> None:
    noon_ms = DAY_MS + 12 * MS_PER_HOUR
    with network.street.db.write() as conn:
        register.place(conn, 1, "DT-2", noon_ms, "test", noon_ms)
    everything = network.token()
    one, two = (network.get(f"/transformers/DT-{n}/load", everything) for n in (1, 2))
    assert one["energy_wh"] == 47 * 1_500 + 48 * 500
    assert two["energy_wh"] == 96 * 100 + 48 * 1_000
    assert two["peak_at"] == "2026-02-02T12:00:00Z"


def test_the_register_at_the_command_line(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    assert network.typed("transformer", "DT-3", "south", "--rating-kva", "63") == 0
    assert network.typed("show") == 0
    assert "63 kVA           0 usage points" in capsys.readouterr().out
    assert network.typed("load", "DT-3", "--from", "2026-02-02", "--to", "2026-02-02", "--json") == 0
    nothing = json.loads(capsys.readouterr().out)
    assert (nothing["whole_steps"], nothing["peak_w"], nothing["figures"]["expected"]) == (0, None, 0)
    assert network.get("/feeders/south/readings", network.token())["figures"]["expected"] == 96
    assert network.typed("place", "4", "DT-3") == 0
    assert network.typed("token", "dno", "--feeder", "south") == 0
    token = capsys.readouterr().out.splitlines()[-1]
    assert [t["transformer"] for t in network.get("", token)["items"]] == ["DT-2", "DT-3"]
    network.typed("show")
    assert capsys.readouterr().out.splitlines()[-1].split() == ["south", "DT-3", "63", "kVA", "1", "usage", "points"]


# ---- where it comes from ----------------------------------------------------------------------------------------


@pytest.mark.covers("BYPL-12.3", "BYPL-13.4")
def test_an_installation_report_hangs_the_home_behind_its_transformer_and_an_unknown_one_is_refused(network: Network) -> None:
    """The field team closes its order. Pre: home 4 hangs nowhere. Post: meter, transformer, feeder and first register stand; a transformer
    that is not in the register, or on another feeder, leaves the order open and nothing stored."""
    with network.street.db.write() as conn:
        order_no = open_order(conn, OrderKind.INSTALL_PREPAID, 4, "test", "migration", NOW_MS, "test").order_no
    team = {"Authorization": f"Bearer {network.token(scopes=('orders:write', 'orders:read'))}"}
    client, report = network.app.test_client(), {"meter_serial": "M-4", "transformer": "DT-2", "feeder": "south", "register_wh": 12_345}
    for wrong, kind in (({"transformer": "DT-7"}, "unknown-transformer"), ({"feeder": "north"}, "wrong-feeder")):
        answer = client.post(f"/api/v1/orders/{order_no}/close", headers=team, json={"result": report | wrong})
        assert (answer.status_code, answer.get_json()["type"].rsplit("/", 1)[1]) == (422, kind), answer.get_data(as_text=True)
    with network.street.db.read() as conn:
        assert register.place_of(conn, 4) is None
    assert client.post(f"/api/v1/orders/{order_no}/close", headers=team, json={"result": report}).status_code == 200
    with network.street.db.read() as conn:
        assert register.place_of(conn, 4) == register.Place(4, "DT-2", NOW_MS, "M-4", 12_345)
    found = {t["transformer"]: t["usage_points"] for t in network.get("", network.token("south"))["items"]}
    assert found == {"DT-2": 2}


def test_until_ratings_are_entered_transformers_come_with_the_reports(tmp_path: Path) -> None:
    street = new_street(tmp_path, 2)
    report = {"meter_serial": "M-1", "transformer": "DT-1", "feeder": "north", "register_wh": 0}
    with street.db.write() as conn:
        register.take_report(conn, 1, report, NOW_MS, "test")
        register.take_report(conn, 2, report | {"transformer": "DT-2"}, NOW_MS, "test")
        assert [t.name for t in register.transformers(conn, "north")] == ["DT-1", "DT-2"]
        register.put(conn, Transformer("DT-1", "north", 63_000), NOW_MS, "test")
        with pytest.raises(RefusedCommand, match="'DT-3' is not in the register"):
            register.take_report(conn, 1, report | {"transformer": "DT-3"}, NOW_MS + 1, "test")
