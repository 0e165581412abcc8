"""One concentrator for electricity, gas, water and heat: units kept, data apart, other utilities never charged or switched."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridtally_edge.core_events import MetersChanged
from gridtally_edge.fitting import fit
from gridtally_edge.registry import MeterEntry
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.mbus import GAS, HEAT, LITRES_PER_KWH, WATER, MbusSlave, house_identity, house_telegrams
from gridtally_native import decode_block
from gridtally_shared.contract import messages as m
from gridtally_shared.quantities import BY_NAME
from support.commands import ready
from support.little_street import DCU, LittleStreet, little_street

MEDIA = {
    2: (GAS, "gas", "gas_volume_l", "interval_gas_l"),
    3: (WATER, "water", "water_volume_l", "interval_water_l"),
    4: (HEAT, "heat", "heat_energy_wh", "interval_heat_wh"),
}


def add_mbus(street: LittleStreet, number: int) -> HouseMeter:
    medium = MEDIA[number][0]
    house = HouseMeter(HouseSettings(f"4000000{number}", seed=number), street.true_clock)
    fitted = fit(MeterEntry("mbus", "mbus", {"address": str(number)}))
    key = fitted.on_line.key
    street.slaves[key] = MbusSlave(number, house_identity(house, medium), house_telegrams(house, medium, utc_offset_min=0))
    street.ports[key], street.houses[key] = fitted.port, house
    street.handle(MetersChanged((fitted.on_line,)))
    return house


@pytest.mark.covers_part("ETSI-3.1")
def test_four_utilities_under_one_concentrator_keep_their_units_and_their_data_apart(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        houses = {number: add_mbus(street, number) for number in MEDIA}
        ready(street)
        meters = (m.MeterConfig(1, street.houses["dlms/1"].serial), *(
            m.MeterConfig(number, house.serial, commodity=MEDIA[number][1]) for number, house in houses.items()
        ))  # fmt: skip
        street.down("config", m.DcuConfig(2, DCU, street.clock.now_ms(), meters))
        street.next_quarter(8)
        blocks = [b for i in street.entries(m.EntryKind.INTERVALS, m.Intervals) for b in i.blocks]
        for number, house in houses.items():
            medium, _, register, interval = MEDIA[number]
            own = [b for b in blocks if b.meter_no == number]
            assert {b.quantity for b in own} == {BY_NAME[interval].code}
            used = sum(sum(decode_block(b.values)[0]) for b in own)
            start_ms, end_ms = own[0].start_ms, own[-1].start_ms + own[-1].n * own[-1].period_s * 1_000
            wh = house.registers_at(end_ms)[0] - house.registers_at(start_ms)[0]
            expected = 3 * wh if medium == HEAT else wh * LITRES_PER_KWH[medium] // 1_000
            assert used > 0
            assert abs(used - expected) <= max(2, expected // 5)  # the ends lie between two samples
            values = [v for r in street.entries(m.EntryKind.READINGS, m.Readings) for v in r.values if v.meter_no == number]
            assert BY_NAME[register].code in {v.quantity for v in values}
            assert 1 not in {v.quantity for v in values}
        assert 11 in {b.quantity for b in blocks if b.meter_no == 1}
