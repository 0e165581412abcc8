"""New prices at the edge: validated, refused with the type of the error, told before they hold, in force at their instant (ETSI 5.2.12)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gridtally_edge.display.account import view_account
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.codec import encode
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.instruments.details import TariffLoad
from gridtally_shared.ledger.charges import charge_of, lines_of
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.money import nano
from support.prepay_bench import DAY_MS, HOUR_MS, START_MS, Bench, tariff

MINUTE_MS = 60_000
DAY_NIGHT = ({"from": "00:00", "to": "12:00", "period": "morning"}, {"from": "12:00", "to": "24:00", "period": "later"})


def rates(*bands: dict[str, str], notice_days: int = 0, **version: Any) -> str:
    """Two rates, by the hours given: 9 in the morning, 12 later."""
    items = [{"kind": "energy", "code": "energy", "rates": [{"periods": ["morning"], "price": "9"}, {"periods": ["later"], "price": "12"}]}]
    body = {"from": "2026-01-01", "hours": [{"bands": list(bands)}], "items": items, **version}
    return json.dumps({"kind": "tariff", "code": "home", "currency": "INR", "zone": "Asia/Kolkata", "notice_days": notice_days,
                       "versions": [body]})  # fmt: skip


def made(document: str, from_ms: int, version: int = 2, made_ms: int = START_MS) -> m.TariffDocument:
    return m.TariffDocument("home", version, from_ms, document, made_ms)


def send(bench: Bench, *documents: m.TariffDocument) -> None:
    bench.tariffs = (*bench.tariffs, *documents)
    bench.configure()


def events(bench: Bench, name: str) -> list[m.Event]:
    return [e for e in bench.events() if e.code == EVENTS[name].code]


def charged(bench: Bench) -> list[tuple[int, int, dict[str, int]]]:
    """Of each charge of energy: the version, the register before, and the Wh in each register of the tariff."""
    found = []
    for entry in bench.entries():
        record = charge_of(entry) if entry.kind == Kind.ENERGY else None
        if record is not None:
            by_rate = {x.period: x.quantity for x in lines_of(record) if x.code == "energy"}
            found.append((entry.tariff_version, entry.register_before_wh or 0, by_rate))
    return found


SOON = START_MS + HOUR_MS
SEASON = {"seasons": [{"code": "dry", "from": "01-01", "to": "06-30"}, {"code": "wet", "from": "06-30", "to": "12-31"}]}
WRONG = (
    (made(rates(DAY_NIGHT[0], DAY_NIGHT[1] | {"from": "12:30"}), SOON), "not_understood", "a gap before it"),
    (made(rates(DAY_NIGHT[0], DAY_NIGHT[1] | {"from": "11:00"}), SOON), "not_understood", "an overlap before it"),
    (made(rates(*DAY_NIGHT, **SEASON), SOON), "not_understood", "06-30 is in season dry too"),
    (made(rates(*DAY_NIGHT, day_types=[{"code": "week", "weekdays": ["mon", "tue"]}]), SOON), "not_understood", "wed is in no day type"),
    (made(rates(*DAY_NIGHT), START_MS - MINUTE_MS), "past_start", "before it was made"),
    (made("{", SOON), "not_understood", ""),
)


@pytest.mark.covers("ETSI-5.2.12-basic-2")
@pytest.mark.parametrize(("wrong", "fault", "text"), WRONG, ids=[text[:12] or fault for _, fault, text in WRONG])
def test_a_gap_an_overlap_or_a_start_in_the_past_is_refused_and_the_prices_before_go_on(
    tmp_path: Path, wrong: m.TariffDocument, fault: str, text: str
) -> None:
    bench = Bench(tmp_path)
    bench.credit(1, "50")
    send(bench, wrong)
    bench.configure()  # the same version comes again with the next configuration: it is told once
    (event,) = events(bench, "tariff_refused")
    assert (event.meter_no, event.at_ms) == (0, bench.now_ms)
    assert f"tariff=home version=2 error={fault} " in event.detail
    assert text in event.detail
    assert "TARIFF" not in bench.messages()
    bench.wait(2 * HOUR_MS)
    bench.read(1, 1_001_000)
    assert charged(bench) == [(1, 1_000_000, {"": 1_000})]
    assert bench.balance() == nano("50") - nano("8.40")
    send(bench, made(rates(*DAY_NIGHT), bench.now_ms + HOUR_MS, 3))  # a sound one is taken after it
    assert bench.messages().count("TARIFF") == 1


def test_a_version_may_not_begin_before_one_it_follows_or_sooner_than_was_promised(tmp_path: Path) -> None:
    promised = made(rates(*DAY_NIGHT, notice_days=14), SOON)
    bench = Bench(tmp_path, tariffs=(tariff(), promised))
    send(bench, made(tariff().document, START_MS + 30 * MINUTE_MS, 3), made(tariff().document, START_MS + 13 * DAY_MS, 4))
    assert [e.detail.split()[2] for e in events(bench, "tariff_refused")] == ["error=out_of_order", "error=short_notice"]
    send(bench, made(tariff().document, START_MS + 14 * DAY_MS, 5))
    assert len(events(bench, "tariff_refused")) == 2
    assert bench.messages().count("TARIFF") == 1


def test_one_that_was_made_in_time_and_comes_late_begins_when_it_comes(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.wait(2 * HOUR_MS)
    bench.trust()
    bench.read(1, 1_001_000)
    send(bench, made(rates(*DAY_NIGHT), SOON))
    bench.wait(MINUTE_MS)
    bench.read(1, 1_002_000)
    assert events(bench, "tariff_refused") == []
    assert [version for version, _, _ in charged(bench)] == [1, 2]


def test_an_instrument_that_brings_one_is_refused_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for number, document in ((2, "{"), (3, rates(*DAY_NIGHT))):
        load = encode(TariffLoad("home", number, SOON, document))
        bench.credit(1, "0", type=m.InstrumentType.TARIFF_LOAD, detail=load)
    (refused,) = events(bench, "instrument_refused")
    assert refused.detail.endswith("reason=tariff not_understood")
    assert bench.messages().count("TARIFF") == 1


@pytest.mark.covers("ETSI-5.2.12-basic-3")
def test_from_one_rate_to_two_at_the_instant_and_each_watt_hour_in_its_register(tmp_path: Path) -> None:
    """Pre: one rate. 11:10 local; two rates from 11:40 on, the second from 12:00. Post: a movement that crosses both instants stands in
    the registers of its time, and the version is told as in force when its instant has come, not before."""
    bench = Bench(tmp_path)
    bench.credit(1, "50")
    start_ms = START_MS + 30 * MINUTE_MS
    send(bench, made(rates(*DAY_NIGHT), start_ms))
    bench.now_ms = start_ms - MINUTE_MS
    bench.trust()
    bench.wait(0)
    bench.read(1, 1_000_290)
    assert events(bench, "tariff_in_force") == []
    bench.wait(MINUTE_MS)
    (event,) = events(bench, "tariff_in_force")
    assert (event.meter_no, event.at_ms, event.detail) == (1, start_ms, "account=101 tariff=home version=2")
    bench.now_ms = start_ms + 40 * MINUTE_MS
    bench.trust()
    bench.read(1, 1_000_700)  # 410 Wh in 41 minutes: 10 before the instant, 200 until noon, 200 after
    assert charged(bench) == [
        (1, 1_000_000, {"": 290}), (1, 1_000_290, {"": 10}), (2, 1_000_300, {"morning": 200, "later": 200}),
    ]  # fmt: skip
    assert bench.balance() == nano("50") - nano("8.40") * 300 // 1000 - nano("9") // 5 - nano("12") // 5
    bench.restart()
    bench.trust()
    bench.wait(MINUTE_MS)
    assert len(events(bench, "tariff_in_force")) == 1


def test_the_price_to_come_stands_on_the_display_before_it_holds(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.credit(1, "50")
    send(bench, made(rates(*DAY_NIGHT), SOON))
    view = view_account(bench.db, 101, bench.now_ms)
    assert view is not None
    assert [(c.from_ms, c.kwh_nano) for c in view.prices_coming] == [(SOON, nano("12"))]
    (shown,) = [x for x in view.messages if x.code == "TARIFF"]
    assert shown.params == {"d": str(SOON), "tariff": "home", "version": "2"}
    after = view_account(bench.db, 101, SOON)
    assert after is not None
    assert (after.prices_coming, after.price_per_kwh_nano) == ((), nano("12"))


def test_an_account_of_another_tariff_hears_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tariffs=(tariff(), replace(tariff(), tariff_id="shop")))
    send(bench, replace(made(rates(*DAY_NIGHT), SOON), tariff_id="shop"))
    bench.wait(2 * HOUR_MS)
    assert "TARIFF" not in bench.messages()
    assert events(bench, "tariff_in_force") == []
