"""A meter's keys, one generation at a time: changed, found again after a lost answer or an old book, refused where they can not be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gridtally_edge.drivers.is15959 import DlmsPort, Is15959Settings
from gridtally_edge.drivers.is15959_keys import book_name
from gridtally_edge.protocols.dlms.acse import Mechanism
from gridtally_edge.protocols.dlms.counters import MemoryCounters
from gridtally_edge.simulators.dlms_access import MeterAccess, MeterKeys, Scheme
from gridtally_edge.simulators.dlms_slave import DlmsUnit
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_shared import meter_settings as ms
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import MeterFault, RefusedCommand
from gridtally_shared.events import BY_NAME as BY_EVENT
from gridtally_shared.meter_settings import SettingKind
from support.dlms_wire import PASSWORD, START_MS, Wire

SECRET = "0123456789ABCDEF"
CIPHERED = MeterAccess(Scheme.IS15959, Mechanism.HLS, PASSWORD.encode(), SECRET.encode(), True, MeterKeys(b"GTYMETER"))
SEALED = {
    "settings_client": 48,
    "settings_secret": SECRET,
    "system_title": b"GTYDCU01",
    "key": bytes(range(16)),
    "auth_key": bytes(range(0xD0, 0xE0)),
}


class Setup:
    """A ciphered meter on a wire in memory."""

    def __init__(self) -> None:
        self.clock = ManualClock(START_MS)
        self.meter = HouseMeter(HouseSettings("GT0017", seed=1, history_days=3), self.clock)
        self.wire = Wire(DlmsUnit(self.meter, 17, access=CIPHERED))


MASTER = MeterKeys(b"GTYMETER").master
KEYED = Is15959Settings(17, password=PASSWORD, master_key=MASTER, **SEALED)


def keyed(setup: Setup, settings: Is15959Settings = KEYED, book: MemoryCounters | None = None) -> DlmsPort:
    setup.wire.run((port := DlmsPort(settings, book)).open())
    return port


def test_new_keys_are_read_back_by_being_let_in_with_them() -> None:
    setup, book = Setup(), MemoryCounters()
    port = keyed(setup, book=book)
    assert setup.wire.run(port.read_setting(SettingKind.KEYS)) == ms.KeyGeneration(0)
    for generation in (1, 2):
        setup.wire.run(port.write_setting(ms.KeyGeneration(generation)))
        assert setup.wire.run(port.read_setting(SettingKind.KEYS)) == ms.KeyGeneration(generation)
    assert setup.wire.run(port.read_serial()) == "GT0017"
    assert BY_EVENT["global_key_set"].code in [e.code for e in setup.wire.run(port.read_events(0))]
    setup.wire.run(port.close())
    with pytest.raises(MeterFault):
        keyed(setup, replace(KEYED, master_key=b""))
    again = keyed(setup, book=book)
    assert setup.wire.run(again.read_setting(SettingKind.KEYS)) == ms.KeyGeneration(2)


def test_after_a_lost_answer_and_a_restart_the_meter_is_let_in_with_the_keys_it_took() -> None:
    """The book knows nothing of the change: the concentrator fell before the meter's answer came."""
    setup, book = Setup(), MemoryCounters()
    setup.wire.run(keyed(setup).write_setting(ms.KeyGeneration(1)))
    for _ in range(2):
        port = keyed(setup, book=book)
        assert setup.wire.run(port.read_setting(SettingKind.KEYS)) == ms.KeyGeneration(1)
        setup.wire.run(port.close())
    assert book.generation_of(book_name(KEYED)) == 1


def test_a_book_ahead_of_the_meter_finds_its_keys_too() -> None:
    setup, book = Setup(), MemoryCounters()
    book.keep_generation(book_name(KEYED), 1)
    assert setup.wire.run(keyed(setup, book=book).read_setting(SettingKind.KEYS)) == ms.KeyGeneration(0)
    assert book.generation_of(book_name(KEYED)) == 0


def test_a_meter_that_knows_none_of_the_keys_is_a_fault_and_the_record_stays() -> None:
    setup, book = Setup(), MemoryCounters()
    with pytest.raises(MeterFault):
        keyed(setup, replace(KEYED, key=bytes(16)), book)
    assert setup.wire.run(keyed(setup, book=book).read_serial()) == "GT0017"


@pytest.mark.parametrize(
    ("settings", "generation", "why"),
    [
        (replace(KEYED, master_key=bytes(16)), 1, "the new keys"),
        (KEYED, 2, "the next is 1, not 2"),
        (replace(KEYED, master_key=b""), 1, "no master_key"),
    ],
    ids=["another master key", "a step left out", "no master key"],
)
def test_keys_that_can_not_be_changed_stay_as_they_are(settings: Is15959Settings, generation: int, why: str) -> None:
    setup = Setup()
    port = keyed(setup, settings)
    with pytest.raises(RefusedCommand, match=why):
        setup.wire.run(port.write_setting(ms.KeyGeneration(generation)))
    setup.wire.run(port.close())
    assert setup.wire.run(keyed(setup).read_setting(SettingKind.KEYS)) == ms.KeyGeneration(0)
