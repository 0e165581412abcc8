"""Who is on a line, protocol by protocol: asked address by address, searched, told by the coordinator, or listened for.

* Modbus: every unit once; whoever answers is asked by each model's identification until one fits.
* DLMS over HDLC: physical addresses as the public client, which every meter lets in.
* Wired M-Bus: the wildcard search through identifications. Coordinators: their node table. IP lines and radio: pushes and
  telegrams that come within the time given; addresses of an IP network are too many to be asked.
* An absent address costs one short time-out, and nothing that is found is left in an open session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from typing import Any

from gridtally_edge.drivers.driver import Driver, settings_from
from gridtally_edge.drivers.registry import all_drivers, driver_named
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.heard import Heard
from gridtally_edge.transports.meter_line import MeterLine
from gridtally_shared.errors import GridtallyError, LinkDown
from gridtally_shared.records import dataclass

PROBE_MS = 300
WAIT_S = 30.0
PUBLIC_CLIENT = 16
Progress = Callable[[int, int, int], None]
"""(asked so far, of how many, found)"""


@dataclass(frozen=True, slots=True)
class FoundMeter:
    """`settings` are what 'gridtally-dcu meter add --set' takes; `driver` is empty where no model fits."""

    address: str
    serial: str
    driver: str
    settings: dict[str, object] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    note: str = ""


Scanner = Callable[[MeterLine, range, Progress], Iterator[FoundMeter]]


def scan_modbus(line: MeterLine, addresses: range, progress: Progress) -> Iterator[FoundMeter]:
    drivers = [d for d in all_drivers() if d.protocol == "modbus-rtu" and "channel" not in _names(d)]
    found = 0
    for asked, unit in enumerate(addresses, start=1):
        words: dict[str, object] = {"unit": unit}
        quick = words | {"timeout_ms": PROBE_MS, "retries": 0}
        serials = dict(_fitting(line, drivers, quick, f"unit {unit}"))
        if serials:
            found += 1
            name, *also = serials
            note = "" if name else "answers, and no model fits: write a profile ('gridtally-dcu drivers --check')"
            yield FoundMeter(str(unit), serials[name], name, words, tuple(also), note)
        progress(asked, len(addresses), found)


def scan_dlms(line: MeterLine, addresses: range, progress: Progress) -> Iterator[FoundMeter]:
    driver, found = driver_named("is15959"), 0
    for asked, address in enumerate(addresses, start=1):
        words: dict[str, object] = {"physical_address": address}
        public = words | {"client_address": PUBLIC_CLIENT, "auth": "none", "settings_client": 0, "answer_ms": PROBE_MS, "retries": 0}
        serials = dict(_fitting(line, [driver], public, f"address {address}"))
        if serials:
            found += 1
            note = "" if "is15959" in serials else "answers, and does not let the public client read its serial"
            yield FoundMeter(str(address), next(iter(serials.values())), driver.name, words, note=note)
        progress(asked, len(addresses), found)


def scan_mbus(line: MeterLine, addresses: range, progress: Progress) -> Iterator[FoundMeter]:
    from gridtally_edge.protocols.mbus.search import Probed, Search, Seen, probe_selection

    search, asked, told = Search(), 0, 0
    while (digits := search.next_digits()) is not None:
        try:
            probed = line.submit(probe_selection(digits), Priority.DISCOVERY, f"search {digits}").result(WAIT_S)
        except LinkDown:
            probed = Probed(Seen.NOBODY)
        search.tell(probed)
        asked += 1
        for identity in search.found[told:]:
            note = f"{identity.maker}, version {identity.version}, medium {identity.medium}"
            yield FoundMeter(identity.number, identity.number, "mbus", {"address": identity.number}, note=note)
        told = len(search.found)
        progress(asked, asked + search.left(), told)
    for twin in search.twins:
        yield FoundMeter(twin, twin, "", note="several meters share this identification; add them by their sixteen digits")


SCANNERS: dict[str, Scanner] = {"modbus-rtu": scan_modbus, "modbus-tcp": scan_modbus, "dlms-hdlc": scan_dlms, "mbus": scan_mbus}
ADDRESSES: dict[str, range] = {
    "modbus-rtu": range(1, 248), "modbus-tcp": range(1, 248), "dlms-hdlc": range(1, 33), "mbus": range(1),
}  # fmt: skip


def _sender_on_air(frame: bytes) -> dict[str, object]:
    from gridtally_edge.protocols.wmbus.link import read_frame

    return {"meter": read_frame(frame).sender.number}


NAMED_BY: dict[str, Callable[[bytes], dict[str, object]]] = {
    "wmbus": _sender_on_air, "p1": lambda _: {"channel": 0}, "iec62056-21": lambda _: {"sends": True},
}  # fmt: skip
"""Drivers that are told whom to listen to: every sender is tried as the one, of a P1 port the meter itself."""


def meters_heard(messages: Iterable[Heard], at_ms: int, protocol: str = "") -> Iterator[FoundMeter]:
    """Each meter once that some driver (of one protocol) can read in what was heard, with settings as they are by default; a
    ciphered one is told by its sender."""
    hearing = [d for d in all_drivers() if d.hears is not None and protocol in ("", d.protocol)]
    known: set[str] = set()
    for message in messages:
        found = _read(hearing, message, at_ms)
        name = found.serial or found.address
        if name not in known:
            known.add(name)
            yield found


def _read(drivers: list[Driver[Any]], message: Heard, at_ms: int) -> FoundMeter:
    for driver in drivers:
        try:
            words = NAMED_BY[driver.name](message.data) if driver.name in NAMED_BY else {}
            pushed = driver.hears(settings_from(driver, words), message.data, at_ms) if driver.hears else None
        except GridtallyError:
            continue
        if pushed is not None:
            return FoundMeter(message.source, pushed.serial, driver.name, words)
    return FoundMeter(message.source, "", "", note="nobody can read what it sends: ciphered, or no driver knows it")


def _fitting(
    line: MeterLine, drivers: list[Driver[Any]], words: dict[str, object], key: str
) -> Iterator[tuple[str, str]]:
    """(driver, serial) of every model that fits; ("", "") where somebody answers and none does; nothing where nobody does."""
    fits = False
    for number, driver in enumerate(drivers):
        try:
            serial = line.submit(_who(driver, words), Priority.DISCOVERY, f"{key} {driver.name}").result(WAIT_S)
        except LinkDown:
            if not number:
                return
        except GridtallyError:
            continue
        else:
            fits = True
            yield driver.name, serial
    if not fits:
        yield "", ""


def _who(driver: Driver[Any], words: dict[str, object]) -> Conversation[str]:
    port = driver.make_port(settings_from(driver, words))
    yield from port.open()
    try:
        serial = yield from port.read_serial()
    except GridtallyError:
        yield from port.close()
        raise
    yield from port.close()
    return serial


def _names(driver: Driver[Any]) -> frozenset[str]:
    return frozenset(driver.settings_type.__dataclass_fields__)
