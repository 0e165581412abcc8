"""Rule sets as documents, the class that chooses one, and what the store holds beside a channel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, update

from gridtally_cloud.cli import main
from gridtally_cloud.store.close import GRACE_MS, close_days
from gridtally_cloud.store.days import date_of
from gridtally_cloud.store.inbox import store_block
from gridtally_cloud.store.intervals import ChannelRef, read_intervals
from gridtally_cloud.store.tables import channel, reading, usage_point
from gridtally_cloud.vee.classes import BUILT_IN, Point, add_rule_set, point_of, rule_sets, rules_for, set_point
from gridtally_cloud.vee.documents import FIELDS, rule_document, shown
from gridtally_cloud.vee.run import run_pending
from gridtally_shared.errors import ConfigError, RefusedCommand
from support.cloud_store import START_MS, Street, new_street
from support.edge_peer import block

QUARTER_MS, DAY_MS = 900_000, 86_400_000
DAY = START_MS // DAY_MS
DAYLIGHT = [50 + place * (95 - place) // 10 + place % 3 for place in range(96)]


def document(**parts: object) -> str:
    return json.dumps({"class": "shops", "version": 1, "from": "2026-01-01"} | parts)


# ---- the document -------------------------------------------------------------------------------------------------


def test_what_is_not_named_stays_as_built_in() -> None:
    read = rule_document(document(checks={"spike": {"permille": 3000}, "sum": {"steps": 4}}, estimation={"like_days": 5}, off=["stuck"]))
    other = {path: value for path, value in shown(read.rules).items() if shown(BUILT_IN)[path] != value}
    assert other == {"checks.spike.permille": 3000, "checks.sum.steps": 4, "estimation.like_days": 5, "off": ["stuck"]}
    assert (read.rules.name, read.first_day) == ("shops-1", "2026-01-01")


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.path)
def test_each_parameter_arrives_and_has_bounds(field: object) -> None:
    path, low, high = field.path, field.low, field.high  # type: ignore[attr-defined]
    group, *names = path.split(".")

    def with_value(value: object) -> str:
        inner: object = value
        for name in reversed(names):
            inner = {name: inner}
        return document(**{group: inner})

    usable = max(low, 90) if path == "estimation.reach_days" else min(high, 30) if path == "estimation.window_days" else high
    assert shown(rule_document(with_value(usable)).rules)[path] == usable
    for wrong in (low - 1, high + 1, "1", True, 1.5):
        with pytest.raises(ConfigError, match=path.replace(".", r"\.") + f".*from {low} to {high}"):
            rule_document(with_value(wrong))


WRONG = {
    "no JSON": ("{", "document.*no JSON"),
    "no object": ("[]", "document.*an object"),
    "no class": ('{"version": 1, "from": "2026-01-01"}', "class.*missing"),
    "class": (document(**{"class": "a b"}), "class.*letters"),
    "version": (document(version=0), "version.*from 1 up"),
    "version as text": (document(version="1"), "version.*whole number"),
    "day": (document(**{"from": "1 May"}), "from.*2026-12-01"),
    "unknown part": (document(rules={}), "rules.*there is no such part.*checks"),
    "unknown rule": (document(checks={"spikes": {"permille": 1}}), r"checks\.spikes\.permille.*there is no such parameter"),
    "unknown parameter": (document(checks={"spike": {"percent": 1}}), r"checks\.spike\.percent.*checks\.spike\.floor_wh"),
    "no parameters": (document(checks={"spike": 3}), r"checks\.spike = 3.*an object"),
    "off": (document(off=["stuck", "gap"]), r"off\[1\] = 'gap'.*spike"),
    "reach": (document(estimation={"reach_days": 20}), r"estimation\.reach_days.*window_days"),
}


@pytest.mark.parametrize(("text", "says"), WRONG.values(), ids=WRONG)
def test_a_wrong_document_is_refused_with_path_and_remedy(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        rule_document(text)


# ---- the class of a usage point -----------------------------------------------------------------------------------


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path)
    with street.db.write() as conn:
        for no, quantity, unit in ((1, 11, "Wh"), (2, 13, "VAh"), (3, 17, "varh")):
            conn.execute(insert(channel).values(channel_no=no, usage_point_no=1, quantity=quantity, direction="import", unit=unit,
                                                exponent=0, period_s=900))  # fmt: skip
        conn.execute(insert(channel).values(channel_no=4, usage_point_no=2, quantity=11, direction="import", unit="Wh", exponent=0,
                                            period_s=900))  # fmt: skip
    yield street
    street.db.close()


def _load(conn: Connection, text: str, today: int = DAY) -> None:
    add_rule_set(conn, text, today, START_MS, "test")


def _text(day: int) -> str:
    return date_of(day).isoformat()


def test_the_version_in_force_on_the_day_judges_it(street: Street) -> None:
    with street.db.write() as conn:
        _load(conn, document(**{"from": _text(DAY - 400)}))
        _load(conn, document(version=2, checks={"zero": {"run": 96}}, **{"from": _text(DAY + 5)}))
        set_point(conn, 1, Point("shops"), START_MS, "test")
        names = [rules_for(conn, point_of(conn, 1), day).name for day in (DAY - 401, DAY - 400, DAY + 4, DAY + 5)]
        assert names == ["default-1", "shops-1", "shops-1", "shops-2"]
        assert rules_for(conn, point_of(conn, 2), DAY).name == "default-1"
        assert [read.version for read in rule_sets(conn, "shops")] == [1, 2]


def test_irregular_use_has_its_own_rules_until_a_day(street: Street) -> None:
    with street.db.write() as conn:
        with pytest.raises(RefusedCommand, match="irregular"):
            set_point(conn, 1, Point("", None, DAY), START_MS, "test")
        _load(conn, document(**{"class": "irregular"}))
        set_point(conn, 1, Point("", None, DAY), START_MS, "test")
        assert [rules_for(conn, point_of(conn, 1), day).name for day in (DAY, DAY + 1)] == ["irregular-1", "default-1"]


REFUSED = {
    "a version left out": (document(version=3, **{"from": _text(DAY + 9)}), "version.*next version of class shops is 2"),
    "the same again": (document(version=1), "next version of class shops is 2"),
    "the past": (document(version=2, **{"from": _text(DAY - 1)}), "from.*a day to come"),
    "default begins at 2": (document(**{"class": "default"}), "next version of class default is 2"),
}


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED)
def test_a_version_follows_the_one_before(street: Street, text: str, says: str) -> None:
    with street.db.write() as conn:
        _load(conn, document())
        with pytest.raises(ConfigError, match=says):
            _load(conn, text)


@pytest.mark.parametrize(("no", "point"), [(9, Point()), (1, Point("", 9)), (1, Point("", 1)), (1, Point("nobody"))])
def test_what_is_not_there_can_not_be_named(street: Street, no: int, point: Point) -> None:
    with street.db.write() as conn, pytest.raises(RefusedCommand):
        set_point(conn, no, point, START_MS, "test")


def test_rule_sets_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = ["--config", str(tmp_path / "mdm.toml")]
    assert main([*config, "init"]) == 0
    (tmp_path / "shops.json").write_text(document(checks={"spike": {"permille": 4000}}, off=["stuck"]), encoding="utf-8")
    assert main([*config, "vee", "rules", "load", str(tmp_path / "shops.json")]) == 0
    assert main([*config, "vee", "rules", "list"]) == 0
    assert "shops                version 1    from 2026-01-01, without stuck" in capsys.readouterr().out
    assert main([*config, "vee", "rules", "class", "1", "shops"]) == 7
    assert "no usage point 1" in capsys.readouterr().err
    assert main([*config, "vee", "rules", "show", "1"]) == 0
    assert "usage point 1 goes by default-1" in capsys.readouterr().out
    (tmp_path / "shops.json").write_text(document(version=2, checks={"spike": {"permille": 4}}), encoding="utf-8")
    assert main([*config, "vee", "rules", "load", str(tmp_path / "shops.json")]) == 3
    assert "checks.spike.permille = 4: write a whole number from 100 to 100000" in capsys.readouterr().err


# ---- what the store holds beside a channel ------------------------------------------------------------------------


def _closed(street: Street, *channels: tuple[int, str, list[int]]) -> dict[int, tuple[str, set[str]]]:
    """(status, rules that found something) by channel, of one closed day."""
    with street.db.write() as conn:
        for no, unit, values in channels:
            store_block(conn, ChannelRef(no, unit, "UTC"), block(1, START_MS, values), START_MS)
    close_days(street.db, START_MS + DAY_MS + GRACE_MS)
    return {o.channel_no: (o.status, {f.rule for f in o.findings}) for o in run_pending(street.db, START_MS + 2 * DAY_MS)}


def test_the_run_asks_the_other_channels_and_registers_of_the_usage_point(street: Street) -> None:
    last_ms = START_MS + DAY_MS - 60_000
    with street.db.write() as conn:
        for at_ms, reads in ((START_MS, {1: 500, 41: 300, 42: 200}), (last_ms, {1: 900, 41: 400, 42: 300, 27: 20_000})):
            for quantity, value in reads.items():
                conn.execute(insert(reading).values(shard=0, meter_no=1, quantity=quantity, at_ms=at_ms, value=value))
    apparent, reactive = [v // 2 for v in DAYLIGHT], [9 * v for v in DAYLIGHT]
    found = _closed(street, (1, "Wh", DAYLIGHT), (2, "VAh", apparent), (3, "varh", reactive))
    assert {"kvah", "kvarh", "tou_sum", "demand"} <= found[1][1]
    assert found[1][0] == "failed"


def test_a_check_meter_is_compared_and_stands_in_for_what_is_missing(street: Street) -> None:
    with street.db.write() as conn:
        set_point(conn, 1, Point("", 2), START_MS, "test")
    check = [v + 1 for v in DAYLIGHT]
    assert _closed(street, (1, "Wh", DAYLIGHT[:90]), (4, "Wh", check))[1] == ("estimated", {"gap"})
    with street.db.read() as conn:
        assert list(read_intervals(conn, 1, START_MS + 90 * QUARTER_MS, START_MS + DAY_MS).values) == check[90:]
        whole = [*DAYLIGHT[90:95], 450]
    with street.db.write() as conn:
        store_block(conn, ChannelRef(1, "Wh", "UTC"), block(1, START_MS + 90 * QUARTER_MS, whole), START_MS)
    assert _closed(street)[1] == ("failed", {"main_check"})


def test_a_rule_set_of_the_class_judges_the_run(street: Street) -> None:
    with street.db.write() as conn:
        conn.execute(update(usage_point).values(limit_w=400))
        _load(conn, document(**{"from": _text(DAY - 1)}, checks={"limit": {"factor_permille": 2000}}))
        set_point(conn, 1, Point("shops"), START_MS, "test")
    values = [v // 3 for v in DAYLIGHT]
    values[40] = 180
    found = _closed(street, (1, "Wh", values), (4, "Wh", values))
    assert (found[1][0], found[4][0]) == ("validated", "estimated"), "180 Wh in 15 min is above 1.2 and below 2 times 400 W"
