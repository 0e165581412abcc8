"""Edits as kept: their states, and what they make of a day when it is judged.

* The values of an edit stand as if they were measured, nothing is held against them, and sums are looked at with them. Marks leave the
  value alone. A later edit of the same interval wins.
* An edit stands until a person takes it back. Where something else is measured later, the finding `overtaken` says so.
* On a billed period an edit, and taking one back, wait for a second person.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, and_, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.intervals import Slot, Slots, slots_from
from gridtally_cloud.vee.model import Finding
from gridtally_cloud.vee.tables import vee_edit
from gridtally_cloud.vee.tools import MARKING, Tool
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass


class EditState(StrEnum):
    """Values are stored: never renamed."""

    PROPOSED = "proposed"
    APPLIED = "applied"
    REFUSED = "refused"
    LEAVING = "leaving"
    UNDONE = "undone"


class Step(StrEnum):
    APPROVE = "approve"
    REFUSE = "refuse"
    UNDO = "undo"
    ASK_UNDO = "ask_undo"


STATES: dict[tuple[EditState, Step], EditState] = {
    (EditState.PROPOSED, Step.APPROVE): EditState.APPLIED,
    (EditState.PROPOSED, Step.REFUSE): EditState.REFUSED,
    (EditState.APPLIED, Step.UNDO): EditState.UNDONE,
    (EditState.APPLIED, Step.ASK_UNDO): EditState.LEAVING,
    (EditState.LEAVING, Step.APPROVE): EditState.UNDONE,
    (EditState.LEAVING, Step.REFUSE): EditState.APPLIED,
}
STANDING = (EditState.APPLIED.value, EditState.LEAVING.value)
FLAG = {Tool.VERIFY: Quality.VERIFIED, Tool.UNTRUST: Quality.UNTRUSTWORTHY, Tool.ESTIMATE: Quality.EDITED | Quality.ESTIMATED}
WAS = int(Quality.MISSING | Quality.METER_INVALID | Quality.ESTIMATED)


class EditReason(StrEnum):
    UNKNOWN_EDIT = "unknown_edit"
    NOT_NOW = "not_in_that_state"
    SAME_PERSON = "same_person"
    UNKNOWN_PERSON = "unknown_person"
    NOT_CLOSED = "not_closed"
    NO_RANGE = "no_range"
    NO_REASON = "no_reason"


@dataclass(frozen=True, slots=True)
class Edit:
    """`slots` are the values it gives, or marks; `measured` what had been measured when it was made."""

    edit_no: int
    channel_no: int
    from_ms: int
    to_ms: int
    tool: Tool
    reason: str
    note: str
    ticket: str
    old_total: int
    new_total: int
    bills: tuple[str, ...]
    state: EditState
    made_by: str
    made_ms: int
    decided_by: str
    slots: Slots
    measured: Slots


def advance(state: EditState, step: Step) -> EditState:
    """Raises RefusedCommand for a step that the state does not have."""
    after = STATES.get((state, step))
    if after is None:
        raise RefusedCommand(EditReason.NOT_NOW, f"an edit that is {state.value} can not be taken this step: {step.value}")
    return after


def edit_of(row: Row[Any]) -> Edit:
    slots = slots_from(row.from_ms, row.period_s, bytes(row.blob), bytes(row.quality), row.n)
    measured = slots_from(row.from_ms, row.period_s, bytes(row.measured), b"", row.n)
    return Edit(row.edit_no, row.channel_no, row.from_ms, row.to_ms, Tool(row.tool), row.reason, row.note, row.ticket, row.old_total,
                row.new_total, tuple(row.bills.split()), EditState(row.state), row.made_by, row.made_ms, row.decided_by, slots,
                measured)  # fmt: skip


def edits_of(conn: Connection, channel_no: int, from_ms: int, to_ms: int, all_states: bool = False) -> tuple[Edit, ...]:
    """Edits that stand in a span, or all that ever touched it, in the order they were made."""
    e = vee_edit.c
    where = and_(e.shard == SHARD, e.channel_no == channel_no, e.from_ms < to_ms, e.to_ms > from_ms)
    query = select(vee_edit).where(where if all_states else and_(where, e.state.in_(STANDING))).order_by(e.edit_no)
    return tuple(edit_of(row) for row in conn.execute(query))


def given(edits: tuple[Edit, ...], measured: Slots) -> tuple[Slots, frozenset[int]]:
    """(what stands as measured with the edits' values in it, starts nothing is held against)"""
    slots, beyond = dict(measured), set()
    for edit in edits:
        if edit.tool is Tool.UNTRUST:
            continue
        for at, slot in edit.slots.items():
            if edit.tool is not Tool.VERIFY:
                slots[at] = Slot(slot.value, 0)
            beyond.add(at)
    return slots, frozenset(beyond)


def given_by(edits: tuple[Edit, ...]) -> frozenset[int]:
    """Starts of the intervals that have their value from a person, whatever marks came with what was measured."""
    return frozenset(at for edit in edits if edit.tool not in MARKING for at in edit.slots)


def laid_over(edits: tuple[Edit, ...], slots: Slots) -> Slots:
    """What stands with the edits in it, each interval with its mark."""
    result = dict(slots)
    for edit in edits:
        flag = int(FLAG.get(edit.tool, Quality.EDITED))
        for at in edit.slots.keys() & slots.keys():
            before = result[at]
            if edit.tool in MARKING:
                result[at] = replace(before, quality=before.quality | flag)
            else:
                result[at] = Slot(edit.slots[at].value, (before.quality & ~WAS) | flag)
    return result


def overtaken(edits: tuple[Edit, ...], measured: Slots, period_s: int) -> tuple[Finding, ...]:
    """Where something was measured after the edit that it did not know of."""
    found = []
    for edit in edits:
        for at, known in edit.measured.items():
            now = measured.get(at)
            if now is not None and now.value is not None and now.value != known.value:
                text = f"{now.value} was measured after edit {edit.edit_no} by {edit.made_by}, which stands"
                found.append(Finding("overtaken", 1, at, at + period_s * 1000, text, now.value, edit.slots[at].value))
    return tuple(found)
