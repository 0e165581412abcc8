"""Charges of a tariff, exact to the nano and independent of how a reading is split.

Tax is the floor of the rate on the cumulative base since the account's opening, so the parts of any split add up to
the whole (prepayment.md I10, I12).
"""

from __future__ import annotations

from dataclasses import dataclass

from gridtally_shared.tariff.model import PPM, Tariff


@dataclass(frozen=True, slots=True)
class Charge:
    """What a span of energy or days costs: before tax, and the tax on it."""

    net_nano: int
    tax_nano: int

    @property
    def total_nano(self) -> int:
        return self.net_nano + self.tax_nano


def energy_charge(tariff: Tariff, from_wh: int, to_wh: int) -> Charge:
    """Cost of the energy between two counts of Wh since the account was opened (`from_wh` <= `to_wh`)."""
    return _span(from_wh * tariff.energy_nano_per_wh, to_wh * tariff.energy_nano_per_wh, tariff.tax_ppm)


def fixed_charge(tariff: Tariff, from_day: int, to_day: int) -> Charge:
    """Cost of the days between two counts of days since the account was opened."""
    return _span(from_day * tariff.fixed_nano_per_day, to_day * tariff.fixed_nano_per_day, tariff.tax_ppm)


def _span(from_nano: int, to_nano: int, tax_ppm: int) -> Charge:
    return Charge(to_nano - from_nano, to_nano * tax_ppm // PPM - from_nano * tax_ppm // PPM)
