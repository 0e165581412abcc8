"""The demo's street: which meters there are and who may look at what. The same file runs the simulators and fills the MDM."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from enum import Enum
from pathlib import Path
from typing import Any

from gridtally_edge.simulators.house import Contactor
from gridtally_edge.simulators.street import Street

ZONE, CURRENCY = "Asia/Kolkata", "INR"
DCU, DCU_SERIAL = "dcu-acacia", "GT-DCU-0001"
CONSUMER_LOGIN, STAFF_LOGIN = "asha", "staff"
OPENING_CREDIT, LOW_BALANCE = "100.00", "20.00"
RECHARGE = "100.00"
POLICY_FILE = Path(__file__).with_name("acacia_lane.json")
POLICY = "acacia_lane"
CODE_CREDIT = "130.00"
EXPLANATION_PATH = "account/{account_no}/"
LARGE_PERCENT = 800
FAST_BAUD, FAST_TURNAROUND_MS = 115_200, 1


def quick(street: Street) -> Street:
    """The street on fast lines: a day in a minute and a half leaves a second for each quarter of an hour. Homes without a
    supply switch stand at its end, where the bills are."""
    lines = tuple(replace(line, baud=FAST_BAUD, turnaround_ms=FAST_TURNAROUND_MS, hop_ms=0) for line in street.lines)
    switched_first = sorted(street.meters, key=lambda m: m.contactor is Contactor.NONE)
    return replace(street, lines=lines, meters=tuple(switched_first))


def with_story(street: Street) -> Street:
    """The first home draws so much that its story, from the opening credit to the dark and back, goes into one day."""
    first, *rest = street.meters
    return replace(street, meters=(replace(first, size_percent=LARGE_PERCENT, pv_w=0), *rest))


def street_document(street: Street) -> str:
    """The street as the JSON file that `gridtally-dcu simulate` and `gridtally-mdm import-street` read."""
    return json.dumps(asdict(street, dict_factory=_plain), indent=1)


def _plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value.value if isinstance(value, Enum) else value for name, value in pairs}


def prepaid_serials(street: Street) -> tuple[str, ...]:
    """Homes whose meter has a supply switch. In the demo they may be cut at zero, also offline; elsewhere never by default."""
    return tuple(m.serial for m in street.meters if m.contactor is not Contactor.NONE)


def logins(street: Street, password: str, pin: str) -> str:
    """A consumer who lives behind the first meter, and one of the staff."""
    home = {"serial": street.meters[0].serial, "display_pin": pin}
    return json.dumps(
        [
            {"login": CONSUMER_LOGIN, "name": "Asha Rao", "role": "consumer", "password": password, **home},
            {"login": STAFF_LOGIN, "name": "Demo Staff", "role": "admin", "password": password},
        ]
    )
