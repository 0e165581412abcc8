"""status.json: how the agent is doing, replaced as a whole each second, read by `gridtally-dcu status` and the live view.

It holds no money and no secret. A file older than a few seconds means that the agent does not run.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from gridtally_edge.core import EdgeCore
from gridtally_edge.core_events import Moment
from gridtally_edge.journal.readings import MeterState
from gridtally_edge.polling.street import StreetMeter
from gridtally_edge.registry import write_atomically
from gridtally_edge.transports.line import Line


@dataclass(frozen=True, slots=True)
class LineStatus:
    name: str
    device: str
    state: str
    trouble: str
    waiting: int
    silent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MeterStatusRow:
    """`meter_no` 0: the serial is not bound by the cloud yet. `contact_ms` 0: never."""

    key: str
    line: str
    driver: str
    serial: str
    meter_no: int
    answering: bool
    contact_ms: int
    switch: str
    samples: int
    intervals: int
    mark_ms: int | None
    trouble: str


@dataclass(frozen=True, slots=True)
class UplinkStatus:
    state: str
    trouble: str
    in_flight: int
    waiting: int
    resent: int
    refused: int


@dataclass(frozen=True, slots=True)
class AgentStatus:
    dcu: str
    boot_id: str
    version: str
    pid: int
    at_ms: int
    started_ms: int
    factor: float
    slowed_to: float | None
    config_version: int
    clock_state: str
    samples: int
    intervals: int
    uplink: UplinkStatus
    lines: tuple[LineStatus, ...]
    meters: tuple[MeterStatusRow, ...]


def meter_rows(core: EdgeCore) -> tuple[MeterStatusRow, ...]:
    return tuple(_meter_row(core, meter) for meter in core.street.meters.values())


def _meter_row(core: EdgeCore, meter: StreetMeter) -> MeterStatusRow:
    state = core.journal.states.get(meter.meter_no) or MeterState(meter.meter_no)
    return MeterStatusRow(
        meter.key, meter.on_line.line, meter.on_line.driver, meter.serial, meter.meter_no, state.answering, state.contact_ms,
        state.switch.name.lower(), state.samples, state.intervals, state.mark_ms, meter.trouble,
    )  # fmt: skip


def uplink_status(core: EdgeCore) -> UplinkStatus:
    uplink = core.uplink
    return UplinkStatus(
        uplink.state.value, core.uplink_trouble, uplink.in_flight(), uplink.depth(), uplink.resent, core.refused_messages
    )


def line_status(line: Line) -> LineStatus:
    health = line.health()
    return LineStatus(
        line.settings.name, line.settings.device, health.state.value, health.trouble, health.waiting, health.silent
    )


def agent_status(core: EdgeCore, lines: tuple[Line, ...], moment: Moment, pid: int, started_ms: int, version: str) -> AgentStatus:
    meters = meter_rows(core)
    return AgentStatus(
        core.identity.dcu, core.identity.boot_id.hex(), version, pid, moment.now_ms, started_ms, moment.factor, core.slowed_to,
        core.config_version, core.prepay.clock(moment.now_ms).state.name.lower(), sum(m.samples for m in meters),
        sum(m.intervals for m in meters), uplink_status(core), tuple(line_status(line) for line in lines), meters,
    )  # fmt: skip


def write_status(path: Path, status: AgentStatus) -> None:
    write_atomically(path, json.dumps(asdict(status)).encode(), durable=False, mode=0o644)
