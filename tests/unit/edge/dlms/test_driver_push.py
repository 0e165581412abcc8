"""Pushes of an IS 15959 meter: alarms by the status word, whose they are, plain and ciphered; hand-made octets and the simulated meter."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridtally_edge.drivers.is15959 import DRIVER, Is15959Settings
from gridtally_edge.drivers.is15959_push import hears, serial_in
from gridtally_edge.simulators.dlms_access import MeterAccess, MeterKeys, Scheme
from gridtally_edge.simulators.dlms_push import Push, PushKind
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit, WrapperSlave
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import MeterFault
from support.dlms_wire import START_MS, house

PLAIN = Is15959Settings(17)
KEYED = Is15959Settings(17, system_title=b"GTYDCU01", key=bytes(range(16)), auth_key=bytes(range(0xD0, 0xE0)))
ACCESS = MeterAccess(Scheme.IS15959, ciphered=True, keys=MeterKeys(b"GTYMETER"))
# A data notification put together by hand (IEC 62056-5-3): name "ABC77", set-up 0.4.25.9.0, 15 March 2024 10:30 India, bit 83.
BY_HAND = bytes.fromhex(
    "0f 00 00 00 01 00  02 04  09 05 41 42 43 37 37  09 06 00 04 19 09 00 ff"
    "09 0c 07 e8 03 0f 05 0a 1e 00 00 fe b6 00  04 81 80 00 00 00 00 00 00 00 00 00 00 10 00 00 00 00 00".replace(" ", "")
)


def unit(access: MeterAccess | None = None) -> DlmsUnit:
    return DlmsUnit(house("GT0017", ManualClock(START_MS)), 17, access=access)


def test_an_alert_made_by_hand_is_an_alarm_of_its_meter() -> None:
    pushed = hears(PLAIN, BY_HAND, 5)
    assert (pushed.serial, pushed.setup, pushed.clock_ms) == ("77", "0.4.25.9.0.255", 1_710_478_800_000)
    assert [(event.code, event.at_ms) for event in pushed.events] == [(251, 1_710_478_800_000)]


@pytest.mark.parametrize(("access", "keys"), [(None, PLAIN), (ACCESS, KEYED)], ids=["plain", "ciphered"])
def test_a_last_gasp_in_a_ui_frame(access: MeterAccess | None, keys: Is15959Settings) -> None:
    (frame,) = DlmsSlave([unit(access)]).push(Push(PushKind.ALERT, (85,)))
    pushed = DRIVER.hears(keys, frame, START_MS)
    assert (pushed.serial, [event.code for event in pushed.events]) == ("GT0017", [1017])


def test_a_first_breath_over_the_wrapper() -> None:
    (datagram,) = WrapperSlave(unit()).push(Push(PushKind.ALERT, (86,)))
    assert [event.code for event in hears(PLAIN, datagram, START_MS).events] == [1018]


def test_an_instant_push_shows_that_the_meter_lives_and_guesses_no_value() -> None:
    (frame,) = DlmsSlave([unit()]).push(Push(PushKind.INSTANT))
    pushed = hears(PLAIN, frame, START_MS)
    assert (pushed.serial, pushed.setup, pushed.readings) == ("GT0017", "0.0.25.9.0.255", ())


@pytest.mark.parametrize(
    ("access", "keys", "why"),
    [(None, KEYED, "unprotected"), (ACCESS, PLAIN, "no key"), (ACCESS, Is15959Settings(17, key=bytes(16), auth_key=bytes(16)), "tag")],
    ids=["stripped", "no key", "other key"],
)
def test_a_push_that_is_not_protected_as_agreed_is_refused(access, keys, why: str) -> None:
    (frame,) = DlmsSlave([unit(access)]).push(Push(PushKind.ALERT, (85,)))
    with pytest.raises(MeterFault, match=why):
        hears(keys, frame, START_MS)


@pytest.mark.parametrize("name", ["GT0017", "77", "gtyab"])
def test_a_name_of_another_form_is_the_serial(name: str) -> None:
    assert serial_in(name) == name


@given(st.one_of(st.binary(max_size=80), st.builds(lambda n, b: BY_HAND[:n] + b, st.integers(0, len(BY_HAND)), st.binary(max_size=20))))
@settings(max_examples=300)
def test_any_octets_are_a_push_nothing_or_a_meter_fault(octets: bytes) -> None:
    try:
        hears(PLAIN, octets, 0)
    except MeterFault:
        return
