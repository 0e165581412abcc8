"""Meters added, taken out, replaced and moved while the concentrator runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from gridtally_edge.core_events import MetersChanged
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.registry import MeterChange, Registry
from gridtally_edge.simulators.modbus_slave import ModbusSlave
from gridtally_shared.contract import messages as m
from gridtally_shared.quality import Quality
from support.brokers import running
from support.commands import ready
from support.edge_site import DCU, edge_site, run_dcu
from support.little_cloud import LittleCloud
from support.little_street import LittleStreet, little_street
from support.waiting import wait_until

REGISTER = 1
WH = ("energy_import_wh", 777_777)


def samples(street: LittleStreet, meter_no: int) -> list[tuple[int, int]]:
    """(value, quality) of the energy register as they went up."""
    entries = street.entries(m.EntryKind.READINGS, m.Readings)
    return [(v.value, v.quality) for r in entries for v in r.values if (v.meter_no, v.quantity) == (meter_no, REGISTER)]


def test_a_meter_that_goes_leaves_its_closing_register_once(tmp_path: Path) -> None:
    with little_street(tmp_path, dlms=0, modbus=2) as street:
        ready(street)
        street.wind(1_000)
        change = MeterChange("c1", "remove", "modbus/1", street.clock.now_ms(), "", "20000001", (), (WH,))
        for _ in range(2):
            street.handle(MetersChanged(gone=("modbus/1",), changes=(change,)))
        (event,) = street.events("meter_removed")
        assert event.meter_no == 1
        assert "energy_import_wh=777777" in event.detail
        assert samples(street, 1)[-1] == (777_777, int(Quality.SWAP))
        street.asked.clear()
        street.next_quarter(2)
        assert {key for key, _ in street.asked} == {"modbus/2"}


def test_registers_nobody_read_off_are_the_last_and_the_first_the_meter_gave(tmp_path: Path) -> None:
    with little_street(tmp_path, dlms=0, modbus=1) as street:
        ready(street)
        last_wh = samples(street, 1)[-1][0]
        on_line = street.core.street.meters["modbus/1"].on_line
        change = MeterChange("c2", "replace", "modbus/1", street.clock.now_ms(), "20000001", "20000001")
        street.handle(MetersChanged((replace(on_line, serial="20000001"),), (), (change,)))
        assert f"last read energy_import_wh={last_wh}" in street.events("meter_removed")[0].detail
        assert street.events("meter_added")
        street.next_quarter(2)
        opening, after = samples(street, 1)[-2:]
        assert opening[1] == Quality.SWAP
        assert after[1] == 0


def test_a_poll_that_comes_back_for_a_meter_that_went_harms_nothing(tmp_path: Path) -> None:
    with little_street(tmp_path, dlms=0, modbus=1) as street:
        ready(street)
        street.handle(MetersChanged(gone=("modbus/1",)))
        street.next_quarter()
        assert street.core.street.meters == {}


def test_a_meter_that_answers_elsewhere_keeps_its_number_and_its_place_is_told(tmp_path: Path) -> None:
    with little_street(tmp_path, dlms=0, modbus=2) as street:
        ready(street)
        moved = street.houses["modbus/1"]
        street.slaves["modbus/2"] = ModbusSlave(2, moved)
        street.mute.add("modbus/1")
        street.next_quarter(3)
        meters = street.core.street.meters
        assert (meters["modbus/2"].serial, meters["modbus/2"].meter_no) == (moved.serial, 1)
        assert meters["modbus/1"].serial == ""
        seen = [s for s in street.entries(m.EntryKind.METER_SEEN, m.MeterSeen) if s.serial == moved.serial]
        assert [s.address for s in seen] == ["2"]


def test_the_running_agent_takes_a_change_of_the_registry_in(tmp_path: Path) -> None:
    with running("embedded") as broker:
        cloud = LittleCloud(broker.port, DCU)
        try:
            with edge_site(tmp_path, broker.port, cloud.signer.public, dlms=0, modbus=2, factor=1.0) as site:
                (site.data / "registry.json").unlink()
                site.start_agent()
                wait_until(lambda: site.status(), 20, "the agent runs")
                config = ("--config", str(site.config_file))
                unit = f"unit={site.street.meters[0].address}"
                words = ("--line", site.street.lines[0].name, "--driver", "eastron-sdm230", "--set", unit)
                added = run_dcu("meter", "add", *words, "--opening", "energy_import_wh=12", *config)
                assert added.returncode == 0, added.stderr
                wait_until(lambda: any(row["serial"] for row in site.status()["meters"]), 20, "the new meter answers")
                held = run_dcu("scan", "--line", site.street.lines[0].name, "--protocol", "modbus-rtu", *config)
                assert held.returncode == 3
                assert "holds it" in held.stderr
                key = site.status()["meters"][0]["key"]
                removed = run_dcu("meter", "remove", key, "--closing", "energy_import_wh=99", *config)
                assert removed.returncode == 0, removed.stderr
                wait_until(lambda: site.status() and not site.status()["meters"], 20, "the meter is forgotten")
                assert site.stop_agent() == 0
                rows = site.rows("readings.db", "SELECT detail FROM event WHERE code IN (1046, 1047)")
                assert any("energy_import_wh=12" in row[0] for row in rows)
                assert any("energy_import_wh=99" in row[0] for row in rows)
        finally:
            cloud.close()


def test_a_replacement_from_the_command_line_stands_in_the_registry(tmp_path: Path) -> None:
    (tmp_path / "dcu.toml").write_text('dcu = "d"\n[broker]\nport = 1\n[[line]]\nname = "bus"\ndevice = "/dev/null"\n')
    config = ("--config", str(tmp_path / "dcu.toml"))
    words = ("--line", "bus", "--driver", "eastron-sdm230", "--set", "unit=3", "--serial", "old")
    assert run_dcu("meter", "add", *words, *config).returncode == 0
    done = run_dcu("meter", "replace", "bus/3", "--serial", "new", "--closing", "energy_import_wh=5", *config)
    assert done.returncode == 0, done.stderr
    registry = Registry(next(tmp_path.rglob("registry.json")))
    assert [entry.serial for entry in registry.meters()] == ["new"]
    change = registry.changes()[-1]
    assert (change.action, change.old_serial, change.serial, change.closing) == ("replace", "old", "new", (("energy_import_wh", 5),))
    wrong = run_dcu("meter", "remove", "bus/3", "--closing", "energy=5", *config)
    assert wrong.returncode == 3
    assert "energy_import_wh" in wrong.stderr
    assert json.loads(next(tmp_path.rglob("registry.json")).read_text())["meters"]


def test_switches_stay_as_they_are_when_the_registry_changes(tmp_path: Path) -> None:
    with little_street(tmp_path, dlms=1) as street:
        ready(street)
        on_line = street.core.street.meters["dlms/1"].on_line
        street.handle(MetersChanged((on_line,)))
        street.next_quarter()
        assert street.houses["dlms/1"].switch() is SwitchState.CLOSED
