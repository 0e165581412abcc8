"""The Modbus side of a simulated street: which slave a meter of the street file is, and the relay boards beside meters.

    [[meters]]
    line = "modbus-1"
    serial = "20000009"
    address = 9
    profile = "abb-b23"                                    # any Modbus profile; "" is an Eastron with its whole map
    switch = "modbus-coil:unit=40,coil=2,feedback=2"       # a simulated board at unit 40 cuts this house
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from gridtally_edge.drivers.modbus_profile import Profile, built_in, profile_names
from gridtally_edge.simulators.bus import Station
from gridtally_edge.simulators.house import HouseMeter
from gridtally_edge.simulators.modbus_slave import ModbusSlave
from gridtally_edge.simulators.profile_slave import MILLI_PER_PULSE, ProfileSlave, serial_words
from gridtally_edge.simulators.relay_slave import Contactor, RelaySlave
from gridtally_edge.simulators.street import StreetMeter
from gridtally_edge.switches.fitted import BoardWords, RelayWords, parsed
from gridtally_edge.switches.model import NOT_THERE, FeedbackOn
from gridtally_shared.errors import ConfigError

BOARD = "board-"
WATCHDOG_START = 0


def modbus_stations(places: Iterable[StreetMeter], meters: Mapping[str, HouseMeter]) -> list[Station]:
    """Meters and boards of one line. Raises ConfigError for a profile or switch that is none."""
    places = tuple(places)
    stations = [_meter_station(place, meters[place.serial]) for place in places]
    boards: dict[int, list[StreetMeter]] = defaultdict(list)
    for place in places:
        if place.switch:
            boards[_board_words(place).unit].append(place)
    return stations + [_board_station(unit, its, meters) for unit, its in boards.items()]


def check_place(place: StreetMeter) -> None:
    """Raises ConfigError for a profile or a switch that is none, or a serial number the model can not hold."""
    profile = profile_of(place)
    if profile and profile.table.serial:
        serial_words(profile.table.serial, place.serial)
    if place.switch:
        _board_words(place)


def modbus_settings(place: StreetMeter) -> dict[str, int | str]:
    """The driver's settings that reach this meter."""
    profile = profile_of(place)
    settings: dict[str, int | str] = {"unit": place.address}
    if profile and profile.table.serial is None:
        settings["label"] = place.serial
    if profile and profile.pulse:
        settings["milli_per_pulse"] = MILLI_PER_PULSE
    return settings


def profile_of(place: StreetMeter) -> Profile | None:
    """Raises ConfigError for a name that is none."""
    if not place.profile:
        return None
    if place.profile not in profile_names():
        raise ConfigError("meters.profile", place.profile, f"write one of {', '.join(profile_names())}")
    return built_in(place.profile)


def _meter_station(place: StreetMeter, meter: HouseMeter) -> Station:
    profile = profile_of(place)
    slave = ProfileSlave(place.address, meter, profile) if profile else ModbusSlave(place.address, meter)
    return Station(slave, lambda answer: place.serial)


def _board_words(place: StreetMeter) -> BoardWords:
    carrier, _ = parsed(place.switch)
    if not isinstance(carrier, BoardWords):
        raise ConfigError("meters.switch", place.switch, "a street simulates Modbus boards: modbus-coil:... or modbus-latching:...")
    return carrier


def _board_station(unit: int, places: list[StreetMeter], meters: Mapping[str, HouseMeter]) -> Station:
    words = _board_words(places[0])
    registers = {words.identity_register: words.identity_value, words.watchdog_register: WATCHDOG_START}
    registers.pop(NOT_THERE, None)
    watchdog = None if words.watchdog_register == NOT_THERE else words.watchdog_register
    contactors = tuple(_contactor(place, meters[place.serial]) for place in places)
    slave = RelaySlave(unit, contactors, meters[places[0].serial].clock_ms, registers, watchdog)
    return Station(slave, lambda answer: f"{BOARD}{unit}")


def _contactor(place: StreetMeter, meter: HouseMeter) -> Contactor:
    carrier, contacts = parsed(place.switch)
    feedback = None if carrier.feedback == NOT_THERE else carrier.feedback
    when_open = carrier.feedback_on == FeedbackOn.OPEN.value
    if isinstance(contacts, RelayWords):
        return Contactor(meter, contacts.coil, None, feedback, when_open)
    return Contactor(meter, contacts.open_coil, contacts.close_coil, feedback, when_open)
