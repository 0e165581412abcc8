"""The shared tables: quantities, events, the life cycle of commands. Codes are unique and every row can be used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_shared import events, lifecycle, quantities
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.lifecycle import TERMINAL, CommandState, may_follow
from gridtally_shared.obis import Obis


def test_quantities_have_one_code_name_and_obis_each() -> None:
    rows = quantities.QUANTITIES
    for column in ("code", "name", "obis"):
        assert len({getattr(q, column) for q in rows}) == len(rows), column


def test_events_have_one_code_and_name_each() -> None:
    rows = events.EVENT_TYPES
    assert len({e.code for e in rows}) == len({e.name for e in rows}) == len(rows)


def test_an_unknown_event_keeps_its_number() -> None:
    assert events.event_type(4711).code == 4711
    assert not events.event_type(4711).urgent


def test_every_command_type_has_its_rule() -> None:
    assert set(lifecycle.COMMAND_RULES) == set(CommandType)


def test_every_state_leads_to_an_end() -> None:
    reached = {s for s in CommandState if s in TERMINAL}
    while True:
        more = {s for s in CommandState if lifecycle.NEXT[s] & reached} | reached
        if more == reached:
            break
        reached = more
    assert reached == set(CommandState)


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_an_end_is_an_end(state: CommandState) -> None:
    assert not any(may_follow(state, following) for following in CommandState)


@pytest.mark.parametrize("text", ["1.0.1.8.0.255", "1-0:1.8.0*255", "1-0:1.8.0", "1.8.0"])
def test_obis_codes_are_read_in_each_common_form(text: str) -> None:
    assert str(Obis.of(text)) == "1.0.1.8.0.255"


@pytest.mark.parametrize("text", ["", "1.0.1.8.0.256", "1.8", "a.b.c", "1.0.1.8.0.255.1"])
def test_what_is_no_obis_code_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"OBIS"):
        Obis.of(text)


@given(st.binary(min_size=6, max_size=6))
def test_obis_survives_its_own_text(raw: bytes) -> None:
    assert Obis.of(str(Obis(raw))).value == raw
