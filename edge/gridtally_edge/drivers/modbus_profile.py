"""Modbus profiles: a meter model as one TOML file. Reading, checking, and the `Driver` made of it.

    name = "acme-em1"                       # the file is acme-em1.toml
    title = "Acme EM1 single-phase meter"
    document = "Acme EM1 Modbus manual, revision 3"
    registers = [
      { quantity = "voltage_mv", address = 0x0000, unit = "V" },
      { quantity = "energy_import_wh", address = 0x0048, unit = "kWh", type = "u32", scale = 0.01 },
    ]
    [modbus]                                # what holds for every row that does not say otherwise
    function = 4
    type = "f32"
    order = "ABCD"
    [serial]
    address = 0xFC00
    [[vectors]]                             # proof: recorded octets and what they mean
    name = "bench"
    origin = "document"
    source = "page 12"
    data = "01 04 00 00 00 02 71 cb  01 04 04 43 66 33 34 1b 38"
    expects = { voltage_mv = 230200 }

* Every fault is found in one pass, with its line (`read_profile`). `load_profile` is for use: the first fault ends it.
* The profiles of this folder are read when they are asked for, so that an agent holds only those of its meters.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

from gridtally_edge.drivers.driver import Driver
from gridtally_edge.drivers.modbus_port import Fits, ModbusSettings, PulseSettings, modbus_port, pulse_port, read_vector
from gridtally_edge.drivers.modbus_table import Probe
from gridtally_edge.drivers.profile_checks import Profile
from gridtally_edge.drivers.profile_text import read_profile
from gridtally_shared.errors import ConfigError

__all__ = ["FOLDER", "SUFFIX", "Profile", "built_in", "driver_of", "fitting", "load_profile", "profile_names", "read_profile"]

PROTOCOL = "modbus-rtu"
FOLDER = Path(__file__).parent / "profiles"
SUFFIX = ".toml"


def load_profile(path: Path) -> Profile:
    """A profile for use. Raises ConfigError with file, line and what to do."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("driver", str(path), f"this file can not be read: {error}") from None
    read = read_profile(text)
    if read.profile is None:
        remedy = f"{read.faults[0]} ('gridtally-dcu drivers --check {path}' shows all {len(read.faults)})"
        raise ConfigError("driver", str(path), remedy)
    if read.profile.name != path.stem:
        raise ConfigError("driver", str(path), f"it is named {read.profile.name}: name the file {read.profile.name}{SUFFIX}")
    return read.profile


def profile_names(folder: Path = FOLDER) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob(f"*{SUFFIX}")))


@cache
def built_in(name: str) -> Profile:
    """A profile of this folder; it must be one of `profile_names()`."""
    return load_profile(FOLDER / f"{name}{SUFFIX}")


def fitting(probe: Probe, raw: int | float) -> tuple[str, ...]:
    """The profiles of this folder that know the answer to a probe for a model number."""
    profiles = (built_in(name) for name in profile_names())
    probes = ((profile.name, profile.table.probe) for profile in profiles)
    return tuple(name for name, other in probes if other and other.values and other.cell == probe.cell and other.accepts(raw))


def driver_of(profile: Profile, fits: Fits = fitting) -> Driver[ModbusSettings] | Driver[PulseSettings]:
    """The row of the driver table that a profile stands for."""
    reads = partial(read_vector, profile.table)
    about = (profile.name, PROTOCOL, profile.title, profile.document)
    if profile.pulse:
        pulse = partial(pulse_port, profile.table, profile.name, profile.pulse.channels, profile.pulse.stride)
        return Driver(*about, PulseSettings, pulse, profile.line, profile.vectors, reads, profile.commodity)
    port = partial(modbus_port, profile.table, profile.name, fits)
    return Driver(*about, ModbusSettings, port, profile.line, profile.vectors, reads, profile.commodity)
