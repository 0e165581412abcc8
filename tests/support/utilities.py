"""Further meters on a chain: gas, water and heat by M-Bus, any Modbus model; on the line and in the MDM."""

from __future__ import annotations

from sqlalchemy import insert

from gridtally_cloud.store.tables import meter, usage_point
from gridtally_edge.core_events import MetersChanged
from gridtally_edge.drivers.modbus_profile import built_in
from gridtally_edge.fitting import Fitted, fit
from gridtally_edge.registry import MeterEntry
from gridtally_edge.simulators.bus import Slave
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.mbus import GAS, HEAT, WATER, MbusSlave, house_identity, house_telegrams
from gridtally_edge.simulators.profile_slave import ProfileSlave
from support.chain import Chain
from support.little_street import DCU

MEDIA = {2: (GAS, "gas", "gas_volume_l", "m3"), 3: (WATER, "water", "water_volume_l", "m3"), 4: (HEAT, "heat", "heat_energy_wh", "Wh")}


def add_modbus(c: Chain, number: int, driver: str) -> HouseMeter:
    """A Modbus meter of a model with a profile, on the line and in the MDM."""
    house = HouseMeter(HouseSettings(f"3000000{number}", seed=number, phases=3, history_days=2), c.street.true_clock)
    slave = ProfileSlave(number, house, built_in(driver))
    _place(c, number, fit(MeterEntry("modbus", driver, {"unit": number})), slave, house, "electricity")
    return house


def add_mbus(c: Chain, number: int) -> HouseMeter:
    """A meter of another utility, on the line and in the MDM."""
    medium, commodity, _, _ = MEDIA[number]
    house = HouseMeter(HouseSettings(f"4000000{number}", seed=number), c.street.true_clock)
    slave = MbusSlave(number, house_identity(house, medium), house_telegrams(house, medium, utc_offset_min=0))
    _place(c, number, fit(MeterEntry("mbus", "mbus", {"address": str(number)})), slave, house, commodity)
    return house


def _place(c: Chain, number: int, fitted: Fitted, slave: Slave, house: HouseMeter, commodity: str) -> None:
    key = fitted.on_line.key
    c.street.slaves[key], c.street.ports[key], c.street.houses[key] = slave, fitted.port, house
    c.street.handle(MetersChanged((fitted.on_line,)))
    with c.db.write() as conn:
        conn.execute(insert(usage_point).values(usage_point_no=number, zone="Asia/Kolkata", commodity=commodity, created_ms=c.now_ms))
        conn.execute(insert(meter).values(meter_no=number, serial=house.serial, driver=fitted.on_line.driver, dcu=DCU,
                                          usage_point_no=number, commodity=commodity, installed_ms=c.now_ms))  # fmt: skip
