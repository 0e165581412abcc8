"""`gridtally-dcu scan` on real ports: who answers is found with its model, and can be added as it was found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gridtally_edge.registry import Registry
from gridtally_edge.scan.found import meters_heard
from gridtally_edge.simulators.dlms_push import Push, PushKind
from gridtally_edge.simulators.dlms_slave import DlmsSlave
from gridtally_edge.transports.heard import Heard
from support.edge_site import edge_site, run_dcu
from support.little_street import START_MS, little_street

KEY = bytes(32)


@pytest.mark.parametrize(("protocol", "model"), [("modbus-rtu", "eastron-sdm230"), ("dlms-hdlc", "is15959")])
def test_everybody_on_a_line_is_found_and_can_be_added(tmp_path: Path, protocol: str, model: str) -> None:
    kind = protocol.split("-")[0]
    with edge_site(tmp_path, 1, KEY, dlms=2 * (kind == "dlms"), modbus=2 * (kind == "modbus"), factor=1.0) as site:
        (site.data / "registry.json").unlink()
        meters = site.street.meters
        first, last = min(x.address for x in meters), max(x.address for x in meters)
        line = site.street.lines[0].name
        words = ("--line", line, "--protocol", protocol, "--addresses", f"{max(1, first - 1)}-{last + 1}", "--json")
        words += ("--driver", model, "--add")
        done = run_dcu("scan", *words, "--config", str(site.config_file))
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout[: done.stdout.rindex("]") + 1])
        assert {(row["serial"], row["driver"]) for row in found} == {(x.serial, model) for x in meters}
        entries = Registry(site.data / "registry.json").meters()
        assert {(e.line, e.serial) for e in entries} == {(line, x.serial) for x in meters}


def test_a_meter_that_may_be_of_several_models_is_not_added_by_guess(tmp_path: Path) -> None:
    with edge_site(tmp_path, 1, KEY, dlms=0, modbus=1, factor=1.0) as site:
        (site.data / "registry.json").unlink()
        words = ("--line", site.street.lines[0].name, "--protocol", "modbus-rtu", "--addresses", "1-3", "--add")
        done = run_dcu("scan", *words, "--config", str(site.config_file))
        assert "fits as well:" in done.stdout
        assert "eastron-sdm230" in done.stdout
        assert "say which with --driver" in done.stderr
        assert Registry(site.data / "registry.json").meters() == ()


def test_nobody_is_said_with_what_to_look_at(tmp_path: Path) -> None:
    with edge_site(tmp_path, 1, KEY, dlms=0, modbus=1, factor=1.0) as site:
        words = ("--line", site.street.lines[0].name, "--protocol", "modbus-rtu", "--addresses", "200-201")
        done = run_dcu("scan", *words, "--config", str(site.config_file))
        assert done.returncode == 1
        assert "nobody answered" in done.stdout


def test_a_line_that_is_none_is_refused_with_an_example() -> None:
    done = run_dcu("scan", "--line", "gopher://x", "--protocol", "dlms-hdlc")
    assert done.returncode == 3
    assert "serial:///dev/ttyUSB0" in done.stderr


def test_who_sends_unasked_is_named_once(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        slave = street.slaves["dlms/1"]
        assert isinstance(slave, DlmsSlave)
        frames = slave.push(Push(PushKind.INSTANT, repeats=2))
        messages = [Heard("ip", "[fe80::1]:4059", frame, 1.0) for frame in frames] + [Heard("ip", "[fe80::2]:4059", b"\x00noise", 2.0)]
        found = list(meters_heard(messages, START_MS))
        assert [(f.address, f.serial) for f in found] == [("[fe80::1]:4059", "10000001"), ("[fe80::2]:4059", "")]
