"""status.json: how the agent is doing, replaced as a whole each second, read by `gridtally-dcu status` and the live view.

It holds no money and no secret. A file older than a few seconds means that the agent does not run.
"""

from __future__ import annotations

import json
from dataclasses import asdict, field
from pathlib import Path

from gridtally_edge.core import EdgeCore
from gridtally_edge.core_events import Moment
from gridtally_edge.journal.readings import MeterState
from gridtally_edge.polling.plans import PERIODIC
from gridtally_edge.polling.street import StreetMeter
from gridtally_edge.registry import write_atomically
from gridtally_edge.transports.meter_line import MeterLine
from gridtally_edge.transports.statistics import LineStatistics
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class LineStatus:
    """`quality` holds the line's counters since the agent started; the rest is as `LineHealth` has it."""

    name: str
    device: str
    state: str
    trouble: str
    waiting: int
    silent: tuple[str, ...]
    advice: tuple[str, ...] = ()
    busy_share: float = 0.0
    gaps_ms: tuple[tuple[str, float], ...] = ()
    quality: LineStatistics = field(default_factory=LineStatistics)


@dataclass(frozen=True, slots=True)
class MeterStatusRow:
    """`meter_no` 0: the serial is not bound by the cloud yet. `contact_ms` 0: never. `rows`: daily and billing, "collected" or "late"."""

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
    rows: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class UplinkStatus:
    state: str
    trouble: str
    in_flight: int
    waiting: int
    resent: int
    refused: int


@dataclass(frozen=True, slots=True)
class PushStatus:
    """What came unasked, since the agent started: `strangers` are senders that no meter of their line can read, `unread` their
    messages that were tried; `refused` messages were not protected as agreed, `replayed` ones were heard before."""

    strangers: int
    unread: int
    refused: int
    replayed: int


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
    pushes: PushStatus
    lines: tuple[LineStatus, ...]
    meters: tuple[MeterStatusRow, ...]


def meter_rows(core: EdgeCore) -> tuple[MeterStatusRow, ...]:
    return tuple(_meter_row(core, meter) for meter in core.street.meters.values())


def _meter_row(core: EdgeCore, meter: StreetMeter) -> MeterStatusRow:
    state = core.journal.states.get(meter.meter_no) or MeterState(meter.meter_no)
    return MeterStatusRow(
        meter.key, meter.on_line.line, meter.on_line.driver, meter.serial, meter.meter_no, state.answering, state.contact_ms,
        state.switch.name.lower(), state.samples, state.intervals, state.mark_ms, meter.trouble, _rows(meter),
    )  # fmt: skip


def _rows(meter: StreetMeter) -> tuple[tuple[str, str], ...]:
    states = ((kind.content, meter.rows_state(kind.content)) for kind in PERIODIC)
    return tuple((content.value, state) for content, state in states if state)


def uplink_status(core: EdgeCore) -> UplinkStatus:
    uplink = core.uplink
    return UplinkStatus(
        uplink.state.value, core.uplink_trouble, uplink.in_flight(), uplink.depth(), uplink.resent, core.refused_messages
    )


def push_status(core: EdgeCore) -> PushStatus:
    ears = core.ears
    return PushStatus(len(ears.unreadable_s), ears.unread, ears.refused, ears.repeats)


def line_status(line: MeterLine) -> LineStatus:
    health = line.health()
    return LineStatus(
        line.settings.name, line.settings.device, health.state.value, health.trouble, health.waiting, health.silent,
        health.advice, round(health.busy_share, 4), health.gaps_ms, health.statistics,
    )  # fmt: skip


def agent_status(core: EdgeCore, lines: tuple[MeterLine, ...], moment: Moment, pid: int, started_ms: int, version: str) -> AgentStatus:
    meters = meter_rows(core)
    return AgentStatus(
        core.identity.dcu, core.identity.boot_id.hex(), version, pid, moment.now_ms, started_ms, moment.factor, core.slowed_to,
        core.config_version, core.prepay.clock(moment.now_ms).state.name.lower(), sum(m.samples for m in meters),
        sum(m.intervals for m in meters), uplink_status(core), push_status(core), tuple(line_status(line) for line in lines), meters,
    )  # fmt: skip


def write_status(path: Path, status: AgentStatus) -> None:
    write_atomically(path, json.dumps(asdict(status)).encode(), durable=False, mode=0o644)
