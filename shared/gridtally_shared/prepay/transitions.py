"""The transitions of a prepaid supply as one table (prepayment.md 3.3).

* Rows are level-triggered: the first row of a region whose state and guard hold moves it, until nothing moves; no row
  moves twice in one step.
* Ids are those of prepayment.md; a letter behind one marks a row that text has within a sentence. E8 and E16 are levels
  that text lists among the events.
"""

from __future__ import annotations

from gridtally_shared.prepay.funds_rows import FUNDS
from gridtally_shared.prepay.limit_rows import LIMIT
from gridtally_shared.prepay.mode_rows import MODE, OBSERVED
from gridtally_shared.prepay.supply_rows import ENTITLEMENT
from gridtally_shared.prepay.table import Row

TABLE: tuple[Row, ...] = (*OBSERVED, *MODE, *FUNDS, *ENTITLEMENT, *LIMIT)
"""Regions in the order in which a step asks them: what is observed first, what is decided from it after."""
