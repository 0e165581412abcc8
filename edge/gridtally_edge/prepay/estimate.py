"""How long the balance will last; the calculation is shared with the portal, so that both show the same."""

from __future__ import annotations

from gridtally_shared.tariff.estimate import SHORTEST_BASE_MS, energy_left_wh, time_left_ms

__all__ = ["SHORTEST_BASE_MS", "energy_left_wh", "time_left_ms"]
