"""A running account as JSON text and back, for a store."""

from __future__ import annotations

import json

from gridtally_shared.errors import ContractError
from gridtally_shared.tariff.running import Running, Terms, TermVersion
from gridtally_shared.tariff.state_text import compact, lines_list, listed_lines, listed_state, state_list


def running_text(running: Running) -> str:
    """Compact JSON; integers and text only."""
    t = running.terms
    terms = [t.tariff_id, t.zone, [[v.version, v.from_ms] for v in t.versions], t.contract_w, t.flags]
    return compact([terms, state_list(running.state), lines_list(running.guessed), running.guessed_wh])


def running_from(text: str) -> Running:
    """Read it back. Raises ContractError for what this version did not write."""
    try:
        (tariff_id, zone, versions, contract_w, flags), state, guessed, guessed_wh = json.loads(text)
        terms = Terms(tariff_id, zone, tuple(TermVersion(*v) for v in versions), contract_w, tuple(flags))
        return Running(terms, listed_state(state), listed_lines(guessed), guessed_wh)
    except (ValueError, TypeError, RecursionError, ZeroDivisionError) as error:
        raise ContractError(f"running charge not understood: {error}") from None
