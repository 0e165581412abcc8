"""Which model answers: each profile is recognised from a slave that serves it."""

import pytest

from gridtally_edge.drivers.modbus_profile import built_in, profile_names
from gridtally_edge.drivers.modbus_recognise import Likeness, recognise
from gridtally_edge.protocols.modbus import with_crc
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.profile_slave import ProfileSlave
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import LinkDown
from support.modbus_talk import converse, requests_until

METERS = [name for name in profile_names() if not built_in(name).pulse]


@pytest.fixture(scope="module")
def house():
    meter = HouseMeter(HouseSettings("20000007", 7, history_days=1), ManualClock(1_795_000_000_000))
    yield meter
    meter.close()


@pytest.mark.parametrize("name", METERS)
def test_a_meter_is_recognised_by_what_it_answers(name, house):
    found, requests = converse(recognise(9), ProfileSlave(9, house, built_in(name)).receive)
    mine = next(likeness for likeness in found if likeness.profile == name)
    serial = "20000007" if built_in(name).table.serial else ""
    assert mine == Likeness(name, serial, name.startswith("gavazzi"))
    assert all(likeness.profile.split("-")[0] == name.split("-")[0] for likeness in found), "no other maker is likely"
    assert len(requests) == len(set(requests)), "no cell is asked twice"


def test_nobody_at_the_unit_is_found_out_with_one_question():
    text, requests = requests_until(LinkDown, recognise(9))
    assert (text, len(requests)) == ("no answer", 1)


def test_a_device_that_refuses_everything_is_no_meter_of_ours():
    found, _ = converse(recognise(9), lambda request: with_crc(bytes((9, request[1] | 0x80, 2))))
    assert found == ()
