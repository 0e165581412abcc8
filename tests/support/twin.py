"""A twin of a simulated meter: the same seed and the same log of operations, at any moment, apart from line and protocol.

What the twin says is what the meter had counted, so it is the truth that readings, intervals and bills are held against.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from demo.deployment import Deployment
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.house_log import Act, Operation
from gridtally_shared.clock import ManualClock


def operations(deployment: Deployment, serial: str) -> tuple[Operation, ...]:
    """What a simulated meter has on its disk, oldest first."""
    lines = (deployment.folder / "street" / "state" / f"{serial}.log").read_bytes().splitlines(keepends=True)
    return tuple(Operation.from_line(line) for line in lines if line.endswith(b"\n"))


def twin(deployment: Deployment, serial: str, at_ms: int) -> HouseMeter:
    """The meter as it was at `at_ms`."""
    street = deployment.street
    number, place = next((n, m) for n, m in enumerate(street.meters, start=1) if m.serial == serial)
    settings = HouseSettings(
        serial, place.seed or street.seed * 1_000 + number, place.size_percent, place.pv_w, street.utc_offset_min,
        place.skew_ms, contactor=place.contactor,
    )  # fmt: skip
    until = [o for o in operations(deployment, serial) if o.at_ms <= at_ms and o.act is not Act.BALANCE]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "twin.log"
        log.write_bytes(b"".join(o.to_line() for o in until))
        meter = HouseMeter(settings, ManualClock(at_ms), log)
        meter.close()
    return meter
