"""The demo's street: which homes there are, who lives there, and what each has paid. Pure: a document for `import-street`.

Balances are spread so that some homes run low early, some run out while the uplink is cut, and most live on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ZONE = "Asia/Kolkata"
CURRENCY = "INR"
DCU, DCU_SERIAL = "dcu-acacia", "GT-DCU-0001"
CONSUMER_LOGIN, STAFF_LOGIN = "asha", "staff"

TARIFF = {
    "kind": "flat", "name": "Home", "currency": CURRENCY,
    "energy_per_kwh": "7.00", "fixed_per_day": "2.50", "tax_percent": "5",
}  # fmt: skip

PEOPLE = (
    "Asha Rao", "Bilal Khan", "Carmen Ortega", "Deepak Menon", "Elena Vidal", "Farah Siddiqui", "Gita Sharma", "Hugo Marín",
    "Imran Ali", "Jaya Pillai", "Kiran Desai", "Lucía Romero", "Meera Nair", "Nikhil Joshi", "Omar Haddad", "Priya Gupta",
    "Quim Serra", "Ravi Kumar", "Sara Lozano", "Tara Singh", "Usha Iyer", "Vikram Patel", "Waheeda Begum", "Yusuf Sheikh",
)  # fmt: skip

# Rupees paid before the demo starts, by place in the street; the first lasts long, the others run out one after another.
OPENING_RUPEES = (240, 18, 30, 42, 55, 66, 78, 90, 105, 120, 300, 300)


@dataclass(frozen=True, slots=True)
class Home:
    """A meter of the simulators' inventory and the household behind it. `switched`: the meter has a supply switch."""

    serial: str
    driver: str
    place: int
    switched: bool

    @property
    def name(self) -> str:
        return PEOPLE[self.place % len(PEOPLE)]

    @property
    def opening_rupees(self) -> int:
        return OPENING_RUPEES[self.place % len(OPENING_RUPEES)]

    @property
    def pin(self) -> str:
        return f"{4711 + self.place:04d}"


def homes(inventory: Mapping[str, Any]) -> tuple[Home, ...]:
    """One home a meter; meters with a switch are prepaid, the others get a monthly bill."""
    return tuple(
        Home(m["serial"], m["driver"], place, m["driver"] == "is15959") for place, m in enumerate(inventory["meters"])
    )


def import_document(street: Sequence[Home], install_secret: str, tariff_from: str, password: str) -> dict[str, Any]:
    """What `gridtally-mdm import-street` reads."""
    return {
        "dcu": {"name": DCU, "serial": DCU_SERIAL, "label": "Acacia Lane", "install_secret": install_secret},
        "zone": ZONE,
        "currency": CURRENCY,
        "tariffs": [{"id": "home", "from": tariff_from, "document": TARIFF}],
        "meters": [_meter(home, password) for home in street],
    }


def _meter(home: Home, password: str) -> dict[str, Any]:
    customer = {"name": home.name, "address": f"{home.place + 1} Acacia Lane"}
    if home.place == 0:
        customer |= {"login": CONSUMER_LOGIN, "password": password}
    return {
        "serial": home.serial, "driver": home.driver, "label": f"{home.place + 1} Acacia Lane",
        "address": f"{home.place + 1} Acacia Lane", "interval_s": 900, "customer": customer, "account": _account(home),
    }  # fmt: skip


def _account(home: Home) -> dict[str, Any]:
    """The demo may cut, also offline: its homes were told. Everywhere else the default is never to cut."""
    if not home.switched:
        return {"mode": "postpaid", "tariff": "home"}
    return {
        "mode": "prepaid", "tariff": "home", "low_balance": "15.00", "zero_action": "disconnect", "offline_cut": "allowed",
        "display_pin": home.pin, "opening_credit": f"{home.opening_rupees}.00",
    }  # fmt: skip
