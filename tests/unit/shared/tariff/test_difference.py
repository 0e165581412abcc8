"""What a step charges is what it says more than the step before, also where two versions price one day."""

from __future__ import annotations

from gridtally_shared.tariff.lines import Line, difference, total_nano


def energy(wh: int, rate: int) -> Line:
    return Line("energy", "energy", 739_920, 739_921, wh, "Wh", rate, "kWh", wh * rate // 1000)


def test_lines_of_two_versions_within_one_day_are_told_apart() -> None:
    before = [energy(338, 11_000_000), energy(348, 8_000_000)]
    now = [energy(338, 11_000_000), energy(1_066, 8_000_000)]
    more = difference(now, before)
    assert [(line.quantity, line.rate) for line in more] == [(718, 8_000_000)]
    assert total_nano(more) == total_nano(now) - total_nano(before)
