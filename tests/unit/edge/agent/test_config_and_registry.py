"""Settings: every row explained, every mistake named with its remedy; the registry survives a torn write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gridtally_edge.config import LINE_SETTINGS, SETTINGS, describe, load_config, read_public_key
from gridtally_edge.registry import MeterEntry, Registry
from gridtally_shared.errors import ConfigError

GOOD = """
dcu = "dcu-1"
[broker]
host = "broker.example"
port = 1883
[[line]]
name = "rs485"
device = "/dev/ttyUSB0"
parity = "E"
[[line]]
name = "plc"
device = "tcp://10.0.0.5:4001"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "dcu.toml"
    path.write_text(text)
    return path


def test_a_good_file(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, GOOD))
    assert (config.dcu, config.broker.host, config.broker.port, config.broker.tls) == ("dcu-1", "broker.example", 1883, None)
    assert config.data_dir == tmp_path / "data"
    assert [(line.name, line.device, line.speed.parity) for line in config.lines] == [
        ("rs485", "/dev/ttyUSB0", "E"),
        ("plc", "tcp://10.0.0.5:4001", "N"),
    ]


@pytest.mark.parametrize(
    ("text", "key", "remedy"),
    [
        ("", "dcu", "it is missing"),
        ('dcu = "a/b"', "dcu", "letters, digits"),
        ("dcu = 5", "dcu", 'text in quotes "..."'),
        ('dcu = "a"\nbaud = 5', "baud", "there is no such setting"),
        ('dcu = "a"\nlog_level = "loud"', "log_level", "debug, info, warning, error"),
        ('dcu = "a"\n[broker]\nport = "x"', "broker.port", "a whole number"),
        ('dcu = "a"\n[broker]\nport = 70000', "broker.port", "from 1 to 65535"),
        ('dcu = "a"\n[broker]\nca_file = "ca.pem"', "broker.certificate_file", "all three files"),
        ('dcu = "a"\n[[line]]\nname = "x"', "line[0].device", "it is missing"),
        ('dcu = "a"\n[[line]]\nname = "x"\ndevice = "d"\nparity = "odd"', "line.parity", "write N, E or O"),
        ('dcu = "a"\n[[line]]\nname = "x"\ndevice = "d"\necho = "maybe"', "line.echo", "auto, on, off"),
        ('dcu = "a"\n[[line]]\nname = "x"\ndevice = "d"\n[[line]]\nname = "x"\ndevice = "e"', "line[1].name", "its own"),
        ('dcu = "a"\nline = "x"', "line", "[[line]]"),
        ("dcu = ", "--config", "not a TOML file"),
    ],
)
def test_each_mistake_names_key_and_remedy(tmp_path: Path, text: str, key: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, text))
    assert caught.value.key == key
    assert remedy in caught.value.remedy


def test_every_setting_has_a_sentence_and_is_shown(tmp_path: Path) -> None:
    assert all(s.sentence.endswith(".") and len(s.sentence) > 5 for s in (*SETTINGS, *LINE_SETTINGS))
    shown = {row[0]: row for row in describe(written(tmp_path, GOOD))}
    assert shown["broker.port"][1:4] == (1883, "", "set")
    assert shown["display.port"][3] == "default"
    assert shown["line[1].baud"][1:4] == (9600, "bit/s", "default")


def test_the_command_key_is_raw_or_hexadecimal(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"k" * 32)
    assert read_public_key(path) == b"k" * 32
    path.write_text((b"k" * 32).hex() + "\n")
    assert read_public_key(path) == b"k" * 32
    path.write_text("short")
    with pytest.raises(ConfigError, match="64 hex digits"):
        read_public_key(path)
    with pytest.raises(ConfigError, match="copy the cloud's public command key"):
        read_public_key(tmp_path / "absent")


def test_meters_are_added_replaced_and_removed(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry.json")
    registry.add_meter(MeterEntry("rs485", "eastron-sdm230", {"unit": 3}))
    registry.add_meter(MeterEntry("rs485", "is15959", {"physical_address": 17, "password": "x"}, "1001"))
    registry.add_meter(MeterEntry("rs485", "eastron-sdm120", {"unit": 3}))
    again = Registry(tmp_path / "registry.json").meters()
    assert [(m.key, m.driver, m.serial) for m in again] == [("rs485/3", "eastron-sdm120", ""), ("rs485/17", "is15959", "1001")]
    assert registry.remove_meter("rs485/3")
    assert not registry.remove_meter("rs485/3")


def test_a_half_written_file_never_takes_the_place_of_the_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(tmp_path / "registry.json")
    registry.add_meter(MeterEntry("rs485", "eastron-sdm230", {"unit": 3}))

    def power_cut(*_: object) -> None:
        raise OSError("power cut before the rename")

    monkeypatch.setattr(os, "replace", power_cut)
    with pytest.raises(OSError, match="power cut"):
        registry.add_meter(MeterEntry("rs485", "eastron-sdm230", {"unit": 4}))
    assert [m.key for m in Registry(tmp_path / "registry.json").meters()] == ["rs485/3"]


def test_the_registry_is_readable_for_its_owner_only(tmp_path: Path) -> None:
    Registry(tmp_path / "registry.json").add_meter(MeterEntry("rs485", "is15959", {"physical_address": 1, "password": "secret"}))
    assert (tmp_path / "registry.json").stat().st_mode & 0o077 == 0


def test_a_spoilt_registry_says_so(tmp_path: Path) -> None:
    (tmp_path / "registry.json").write_text("{")
    with pytest.raises(ConfigError, match="not JSON"):
        Registry(tmp_path / "registry.json").meters()
