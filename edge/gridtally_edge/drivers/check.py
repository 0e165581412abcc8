"""`gridtally-dcu drivers`: lists the meter models, and checks a profile file of your own.

* `--check FILE` prints every fault with its line, or the plan: which requests a poll makes, what each brings, how long
  it takes on the profile's own line. Exit code 0 fine, 1 faults found, 3 the file can not be read.
* A vector kept by reference is told, not run: its octets are in the test data, not here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from gridtally_edge.drivers.modbus_profile import FOLDER, Profile, profile_names, read_profile
from gridtally_edge.drivers.modbus_table import Block
from gridtally_edge.drivers.profile_reader import ProfileFault
from gridtally_edge.drivers.registry import PLACES, all_drivers
from gridtally_edge.protocols.modbus import REQUEST_BYTES
from gridtally_shared.errors import ConfigError

ANSWER_MORE_BYTES = 5
SILENCE_CHARACTERS = 3.5
LEAST_SILENCE_MS = 1.75
FAULTY = 1


def list_drivers(folder: Path | None, as_json: bool) -> int:
    """Print every driver. Raises ConfigError for a file of `folder` that is no profile."""
    drivers = all_drivers(folder)
    if as_json:
        rows = [
            {"name": d.name, "protocol": d.protocol, "commodity": d.commodity, "title": d.title, "document": d.document,
             "baud": d.line.baud, "parity": d.line.parity, "vectors": len(d.vectors)}
            for d in drivers
        ]  # fmt: skip
        print(json.dumps(rows, indent=1))
        return 0
    for driver in drivers:
        print(f"{driver.name:20} {driver.protocol:12} {driver.commodity:12} {driver.title}")
    return 0


def check_profile(file: Path) -> int:
    """Print the faults of a profile, or its plan. Raises ConfigError when the file can not be read."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("--check", str(file), f"this file can not be read: {error}") from None
    read = read_profile(text)
    faults = [*read.faults, *(_name_faults(read.profile, file) if read.profile else ())]
    if read.profile is None or faults:
        for fault in faults:
            print(f"{file}:{fault.line}: {fault.text}")
        print(f"{len(faults)} fault{'s' if len(faults) > 1 else ''}; the form is shown in gridtally_edge/drivers/modbus_profile.py")
        return FAULTY
    for line in _plan(read.profile):
        print(line)
    return 0


def _name_faults(profile: Profile, file: Path) -> Iterator[ProfileFault]:
    if profile.name != file.stem:
        yield ProfileFault(1, f"the profile is named {profile.name}: name the file {profile.name}.toml")
    if profile.name in {*profile_names(), *PLACES} and file.resolve().parent != FOLDER:
        yield ProfileFault(1, f"{profile.name} is the name of a driver that is there already; choose another")


def _plan(profile: Profile) -> Iterator[str]:
    blocks, line = profile.table.blocks(), profile.line
    yield f"{profile.name}: {profile.title}"
    yield f"made from {profile.document}; {profile.commodity}; {line.baud} baud {line.data_bits}{line.parity}{line.stop_bits}"
    for number, block in enumerate(blocks, start=1):
        yield f"request {number}: {_request(block)}"
        yield "           " + ", ".join(row.quantity for row in block.registers)
    yield f"one poll: {len(blocks)} requests, at least {sum(_request_ms(profile, block) for block in blocks):.0f} ms on the line"
    yield f"identity: {_identity(profile)}"
    for vector in profile.vectors:
        how = "holds" if vector.data else f"kept by reference to {vector.reference}, not run here"
        yield f"vector {vector.name!r} ({vector.origin.value}, {len(vector.expects)} values): {how}"


def _request(block: Block) -> str:
    used = sum(row.kind.words for row in block.registers)
    place = f"0x{block.address:04X} to 0x{block.address + block.count - 1:04X}"
    return f"function {int(block.function)}, {place}, {block.count} registers ({used} used), {len(block.registers)} values"


def _request_ms(profile: Profile, block: Block) -> float:
    """Request, silences, turn-around and answer."""
    line = profile.line
    character_ms = 1_000 * (1 + line.data_bits + (line.parity != "N") + line.stop_bits) / line.baud
    silence_ms = max(SILENCE_CHARACTERS * character_ms, LEAST_SILENCE_MS)
    octets = REQUEST_BYTES + ANSWER_MORE_BYTES + 2 * block.count
    return octets * character_ms + 2 * silence_ms + line.turnaround_ms


def _identity(profile: Profile) -> str:
    serial, probe = profile.table.serial, profile.table.probe
    known = f"serial number in 0x{serial.address:04X}" if serial else "the label you enter (setting label); no switch can be fitted"
    return f"{known}; {probe.what} in 0x{probe.address:04X} is looked at first" if probe else known
