"""A meter added with a data file alone: what the reader says of a good file, of a wrong one, and what the command prints."""

import json
import shutil

import pytest

from gridtally_edge.cli import main
from gridtally_edge.drivers.modbus_profile import FOLDER, load_profile, profile_names, read_profile
from gridtally_edge.drivers.registry import driver_named, driver_names
from gridtally_edge.drivers.toml_lines import TomlLines
from gridtally_edge.registry import Registry
from gridtally_shared.errors import ConfigError

GOOD = """\
name = "acme-em1"
title = "Acme EM1 single-phase meter"
document = "Acme EM1 Modbus manual, revision 3"
registers = [
  { quantity = "voltage_mv", address = 0x0000, unit = "V" },   # the first
  # a row of its own
  { quantity = "energy_import_wh", address = 0x0048, unit = "kWh", type = "u32", scale = 0.01 },
]

[modbus]
function = 4
type = "f32"

[serial]
address = 0xFC00

[[vectors]]
name = "volts"
origin = "document"
source = "page 12"
data = "01 04 00 00 00 02 71 cb 01 04 04 43 66 33 34 1b 38"
[vectors.expects]
voltage_mv = 230200
"""


def faults(text: str) -> list[str]:
    read = read_profile(text)
    assert (read.profile is None) is bool(read.faults)
    return [str(fault) for fault in read.faults]


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_a_sound_file_is_a_profile():
    read = read_profile(GOOD)
    assert read.faults == ()
    assert [(r.quantity, r.address) for r in read.profile.table.registers] == [("voltage_mv", 0), ("energy_import_wh", 0x48)]


WRONG = [
    ("unknown key of a row", 'unit = "V" }', 'unit = "V", typ = "f32" }', "line 5: unknown key typ; did you mean type?"),
    ("unknown table", "[modbus]", "[modbuss]", "line 10: unknown key modbuss; did you mean modbus?"),
    ("unknown quantity", '"voltage_mv", address', '"voltage", address', "line 5: quantity = 'voltage': did you mean voltage_mv?"),
    ("overlap", "0x0048", "0x0001", "line 7: energy_import_wh at 0x0001 overlaps the registers of voltage_mv (0x0000)"),
    ("twice", '"energy_import_wh", address', '"voltage_mv", address', "line 7: voltage_mv is not measured in kWh; write one of mV, V, kV"),
    ("unit", 'unit = "kWh"', 'unit = "kW"', "line 7: energy_import_wh is not measured in kW; write one of Wh, kWh, MWh, MJ, GJ"),
    ("a list where a word belongs", 'unit = "kWh"', "unit = [1]", "line 7: unit = [1]: "),
    ("true where a number belongs", "function = 4", "function = true", "line 11: function = True: known are 3, 4"),
    ("address", "0x0048", "0x10000", "line 7: address = 65536 must lie within 0 to 65535"),
    ("end of the map", "0x0048", "0xFFFF", "line 7: 0xFFFF leaves no room for 2 registers"),
    ("text for number", "function = 4", 'function = "4"', "line 11: function = '4': did you mean 4?"),
    ("function", "function = 4", "function = 6", "line 11: function = 6: known are 3, 4"),
    ("name", '"acme-em1"', '"Acme EM1"', "line 1: name = 'Acme EM1': use small letters, digits and '-'"),
    ("missing", 'title = "Acme EM1 single-phase meter"\n', "", 'line 1: title is missing; write text in quotes "..."'),
    ("low", 'unit = "V" }', 'unit = "V", low = 900, high = 200 }', "line 5: low = 900 must be below high = 200"),
    ("commodity", "[modbus]", 'commodity = "steam"\n[modbus]', "line 10: commodity = 'steam': known are electricity, gas, water,"),
    ("not TOML", "registers = [", "registers = ", "line 4: this is not TOML"),
    ("no serial", "[serial]\naddress = 0xFC00\n", "", "line 1: needs [serial] (where the meter keeps its serial number), or [probe]"),
    ("hex", "71 cb", "71 cg", "line 21: data must be hexadecimal digits"),
    ("vector value", "230200", "230201", "line 17: vector 'volts': voltage_mv must be 230201, the profile reads 230200"),
    ("vector says less", "voltage_mv = 230200", "power_w = 1", "line 17: vector 'volts': power_w is not read from these octets"),
    ("vector damaged", "1b 38", "1b 39", "line 17: vector 'volts': no valid Modbus answer"),
    ("vector kind", "voltage_mv = 230200", "voltage_mv = true", "line 23: voltage_mv = True: write a whole number"),
    ("vector name", "voltage_mv = 230200", "volts = 230200", "line 22: volts: did you mean voltage_mv?"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "says"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_fault_is_told_with_its_line_and_what_to_write(old, new, says):
    assert any(fault.startswith(says) for fault in faults(changed(old, new))), faults(changed(old, new))


def test_a_profile_without_a_vector_is_an_opinion():
    assert faults(GOOD[: GOOD.index("[[vectors]]")]) == ["line 1: needs at least one [[vectors]]: octets from outside and what they mean"]


def test_all_faults_come_at_once_in_the_order_of_the_lines():
    text = changed("function = 4", "functio = 4").replace('"voltage_mv", address', '"volts", address').replace("71 cb", "zz")
    lines = [int(fault.split()[1].rstrip(":")) for fault in faults(text)]
    assert lines == sorted(lines)
    assert {5, 11, 21} <= set(lines)


@pytest.mark.parametrize("text", ["", "\x00", "name = 1\nregisters = 3\nvectors = {}\nserial = []\nmodbus = 1", "[[registers]]", "a" * 999])
def test_a_text_that_is_no_profile_has_faults_and_raises_nothing(text):
    assert faults(text)


def test_registers_may_be_tables_of_their_own_too():
    rows = "\n".join(("[[registers]]", 'quantity = "voltage_mv"', "address = 0", 'unit = "V"', "adress = 1"))
    start, end = GOOD.index("registers = ["), GOOD.index("[modbus]")
    text = GOOD[:start] + GOOD[end:] + rows
    assert faults(text) == ["line 22: unknown key adress; did you mean address?"]


def test_lines_are_counted_over_strings_comments_and_nested_brackets():
    lines = TomlLines('a = "["\n# [x]\nb = [ {c = "]"},\n  {c = 1}, {c = 2},\n]\n[t]\nd = """\n[u]\n"""\ne = 1\n[[r]]\n[[r]]\nf = [1]\n')
    places = [("a",), ("b", 0), ("b", 1, "c"), ("b", 2), ("t", "d"), ("t", "e"), ("r", 1, "f"), ("r", 0)]
    assert [lines.line_of(place) for place in places] == [1, 3, 4, 4, 7, 10, 13, 11]


# ---- use --------------------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path):
    (tmp_path / "drivers").mkdir()
    (tmp_path / "drivers" / "acme-em1.toml").write_text(GOOD)
    (tmp_path / "dcu.toml").write_text('dcu = "dcu-1"\n[[line]]\nname = "rs485"\ndevice = "/dev/null"\n')
    return tmp_path


def test_a_file_in_the_folder_of_ones_own_is_a_driver(site):
    driver = driver_named("acme-em1", site / "drivers")
    assert driver.read_vector(driver.vectors[0].data) == (("voltage_mv", "230200"),)
    assert "acme-em1" in driver_names(site / "drivers")
    assert "acme-em1" not in driver_names()


def test_a_file_is_a_driver_by_its_path(site):
    assert driver_named(str(site / "drivers" / "acme-em1.toml")).name == "acme-em1"


def test_a_wrong_file_is_refused_with_its_first_fault_and_the_command_that_shows_all(site):
    path = site / "drivers" / "acme-em1.toml"
    path.write_text(changed("0x0048", "0x0001"))
    with pytest.raises(ConfigError, match=r"acme-em1.toml.*line 7: .*overlaps.*drivers --check"):
        driver_named("acme-em1", site / "drivers")
    path.write_text(changed('"acme-em1"', '"acme-em2"'))
    with pytest.raises(ConfigError, match=r"it is named acme-em2: name the file acme-em2.toml"):
        load_profile(path)


def test_meter_add_takes_a_driver_of_ones_own_and_the_agent_finds_it_again(site, capsys):
    config = ("--config", str(site / "dcu.toml"))
    assert main(["meter", "add", "--line", "rs485", "--driver", "acme-em1", "--set", "unit=7", *config]) == 0
    path = site / "drivers" / "acme-em1.toml"
    assert main(["meter", "add", "--line", "rs485", "--driver", str(path), "--set", "unit=8", *config]) == 0
    entries = Registry(site / "data" / "registry.json").meters()
    assert [(e.key, driver_named(e.driver, site / "drivers").name) for e in entries] == [
        ("rs485/7", "acme-em1"),
        ("rs485/8", "acme-em1"),
    ]
    capsys.readouterr()


def test_meter_add_fits_a_switch_and_refuses_one_that_can_not_work(site, capsys):
    config = ("--config", str(site / "dcu.toml"))
    words = ["meter", "add", "--line", "rs485", *config, "--driver"]
    switch = "modbus-coil:unit=40,coil=2,feedback=2"
    assert main([*words, "abb-b23", "--set", "unit=3", "--switch", switch]) == 0
    assert Registry(site / "data" / "registry.json").meters()[0].switch == switch
    assert main([*words, "selec-em2m", "--set", "unit=4", "--set", "label=X1", "--switch", switch]) == 3
    assert "does not tell its serial number" in capsys.readouterr().err
    assert main([*words, "abb-b23", "--set", "unit=4", "--switch", f"{switch},line=other"]) == 3
    assert "must hang on the meter's line rs485" in capsys.readouterr().err
    assert main([*words, "is15959", "--set", "physical_address=17", "--switch", switch]) == 3
    assert len(Registry(site / "data" / "registry.json").meters()) == 1
    assert main(["meter", "list", *config]) == 0
    assert f"switch={switch}" in capsys.readouterr().out


def test_two_inputs_of_a_pulse_module_are_two_meters(site, capsys):
    config = ("--config", str(site / "dcu.toml"))
    for channel in ("1", "2"):
        words = ["meter", "add", "--line", "rs485", "--driver", "pulse-water", "--set", "unit=9", "--set", f"channel={channel}"]
        assert main([*words, "--set", f"label=W-{channel}", *config]) == 0
    assert [e.key for e in Registry(site / "data" / "registry.json").meters()] == ["rs485/9.1", "rs485/9.2"]
    capsys.readouterr()


def test_the_command_lists_every_model_and_those_of_ones_own(site, capsys):
    assert main(["drivers", "--config", str(site / "dcu.toml"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"is15959", "acme-em1", *profile_names()} <= {row["name"] for row in rows}
    assert all(row["title"] and row["document"] and row["vectors"] for row in rows)
    assert main(["drivers"]) == 0
    shown = capsys.readouterr().out
    assert "abb-b23" in shown
    assert "acme-em1" not in shown


def test_check_prints_the_plan_of_a_sound_file(site, capsys):
    assert main(["drivers", "--check", str(site / "drivers" / "acme-em1.toml")]) == 0
    shown = capsys.readouterr().out
    assert "request 1: function 4, 0x0000 to 0x0001, 2 registers (2 used), 1 values" in shown
    assert "request 2: function 4, 0x0048 to 0x0049, 2 registers (2 used), 1 values" in shown
    assert "identity: serial number in 0xFC00" in shown
    assert "vector 'volts' (document, 1 values): holds" in shown
    assert "one poll: 2 requests, at least 90 ms on the line" in shown


def test_check_prints_faults_with_file_and_line_and_exits_with_one(site, capsys):
    path = site / "drivers" / "acme-em1.toml"
    path.write_text(changed("0x0048", "0x0001").replace("function = 4", "functio = 4"))
    assert main(["drivers", "--check", str(path)]) == 1
    shown = capsys.readouterr().out
    assert f"{path}:7: energy_import_wh at 0x0001 overlaps" in shown
    assert f"{path}:11: unknown key functio; did you mean function?" in shown
    assert "2 faults" in shown


def test_check_refuses_a_name_that_is_taken(tmp_path, capsys):
    shutil.copy(FOLDER / "abb-b23.toml", tmp_path / "abb-b23.toml")
    assert main(["drivers", "--check", str(tmp_path / "abb-b23.toml")]) == 1
    assert "is the name of a driver that is there already" in capsys.readouterr().out
    assert main(["drivers", "--check", str(FOLDER / "abb-b23.toml")]) == 0


def test_check_of_a_file_that_is_not_there_is_a_wrong_setting(tmp_path, capsys):
    assert main(["drivers", "--check", str(tmp_path / "none.toml")]) == 3
    assert "can not be read" in capsys.readouterr().err
