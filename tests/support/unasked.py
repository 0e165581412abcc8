"""What the meters of a chain say by themselves, and what the MDM's API tells of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from gridtally_edge.simulators.dlms_push import Push, PushKind
from gridtally_edge.simulators.dlms_slave import DlmsSlave
from gridtally_edge.simulators.house import HouseMeter
from gridtally_edge.transports.heard import Heard
from gridtally_shared.events import BY_NAME, STATUS_BITS
from support.chain import Chain
from support.little_street import LittleStreet

BIT_OF = {kind.name: bit for bit, kind in STATUS_BITS.items()}
STEP_MS = 5_000


def ms_of(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def alert(street: LittleStreet, key: str, *names: str) -> None:
    """The meter pushes its status word with these alarms set (none: as the meter has it). A push that does not get
    through is noted in the meter."""
    house, slave = street.houses[key], street.slaves[key]
    assert isinstance(slave, DlmsSlave)
    if house.push_gets_through():
        for frame in slave.push(Push(PushKind.ALERT, bits=tuple(BIT_OF[name] for name in names))):
            street.handle(Heard("dlms", "[fe80::1]:4059", frame, street.mono_s))


def house_of(c: Chain, number: int = 1) -> HouseMeter:
    return c.street.houses[f"dlms/{number}"]


def told(c: Chain, name: str, meter_no: int = 1) -> list[dict[str, Any]]:
    """The events of that name and meter in the MDM, oldest first."""
    code = BY_NAME[name].code
    found = [e for e in c.items(f"/meters/{meter_no}/events") if e["code"] == code]
    return sorted(found, key=lambda e: ms_of(e["at"]))


def wait_for(c: Chain, happened: Callable[[], bool], at_most_ms: int, step_ms: int = STEP_MS) -> int:
    """How long it took, by the clock of the chain."""
    from_ms = c.now_ms
    while not happened():
        assert c.now_ms - from_ms < at_most_ms, f"not within {at_most_ms} ms"
        c.wait(step_ms)
    return c.now_ms - from_ms


def turns(c: Chain) -> int:
    """How often the meters were read at their turn (a look at the log or status word between two turns is none)."""
    return sum(request.instant for _, request in c.street.asked)
