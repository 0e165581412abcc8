"""Names of the shared engine's holds and calendars that the edge's modules use."""

from __future__ import annotations

from gridtally_shared.prepay.holds import HOLDS, holds_against_close, holds_against_cut
from gridtally_shared.prepay.protection import protected_hours
from gridtally_shared.prepay.zones import zone_of

__all__ = ["HOLDS", "holds_against_close", "holds_against_cut", "protected_hours", "zone_of"]
