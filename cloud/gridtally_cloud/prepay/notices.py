"""The code inside a NOTICE, DECISION or SWITCH entry of the journal. Texts are local to whoever shows them."""

from __future__ import annotations

from gridtally_shared import cbor
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import LedgerEntry


def notice_code(entry: LedgerEntry) -> str:
    """The first text of the entry's detail (its code); '' where it carries none."""
    try:
        detail = cbor.loads(entry.detail) if entry.detail else ""
    except ContractError:
        return ""
    values = detail.values() if isinstance(detail, dict) else detail if isinstance(detail, list) else (detail,)
    return next((v for v in values if isinstance(v, str)), "")
