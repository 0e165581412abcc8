"""Edits by persons: tools, states, the second person, what stands, what was restated, and what comes late."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from gridtally_cloud.billing.tables import bill
from gridtally_cloud.cli import main
from gridtally_cloud.customers.tables import app_user, audit_row
from gridtally_cloud.exchange.green_button_write import QUALITY
from gridtally_cloud.integrations import webhooks
from gridtally_cloud.integrations.webhook_tables import webhook_notice
from gridtally_cloud.store.close import GRACE_MS, close_days
from gridtally_cloud.store.days import date_of
from gridtally_cloud.store.inbox import store_block
from gridtally_cloud.store.intervals import ChannelRef, days_slots, read_intervals
from gridtally_cloud.store.tables import channel, interval_block, usage_day
from gridtally_cloud.vee.edit import Asked, Reason, decide, make
from gridtally_cloud.vee.edits import STATES, Edit, EditState, Step, advance
from gridtally_cloud.vee.restated import Restated, restatements
from gridtally_cloud.vee.run import findings_of, run_day, run_pending, status_of
from gridtally_cloud.vee.tools import Piece, Tool, edited
from gridtally_shared.errors import ConfigError, RefusedCommand
from gridtally_shared.quality import Quality
from support.cloud_store import START_MS, Street, new_street
from support.edge_peer import block

QUARTER_MS, DAY_MS = 900_000, 86_400_000
DAY, NOW_MS = START_MS // DAY_MS, START_MS + 3 * DAY_MS
DAYLIGHT = [50 + place * (95 - place) // 10 + place % 3 for place in range(96)]
ASHA, RAVI = "asha", "ravi"


# ---- the tools ----------------------------------------------------------------------------------------------------

MADE = {
    Tool.SET: ("7", [7, 7, 7, 7]),
    Tool.SPREAD: ("10", [3, 3, 2, 2]),
    Tool.SHAPE: ("100", [17, 33, 50, 0]),
    Tool.LINE: ("", [20, 30, 40, 50]),
    Tool.COPY: ("2026-01-01", [1, 2, 3, 4]),
    Tool.ESTIMATE: ("", [1, 2, 3, 4]),
}


@pytest.mark.parametrize("tool", MADE, ids=lambda tool: tool.value)
def test_a_tool_gives_every_interval_of_the_range_a_value(tool: Tool) -> None:
    argument, made = MADE[tool]
    assert edited(tool, Piece((10, 20, 30, None), 10, 60, (1, 2, 3, 4)), argument) == made


def test_tools_that_keep_what_there_is_need_it_to_be_there() -> None:
    whole = Piece((10, 20, 31))
    assert edited(Tool.ADD, whole, "-5") == [5, 15, 26]
    assert edited(Tool.MULTIPLY, whole, "1.5") == [15, 30, 47]
    assert edited(Tool.MULTIPLY, whole, "40/30") == [13, 27, 41]
    assert edited(Tool.VERIFY, whole) == edited(Tool.UNTRUST, whole) == [10, 20, 31]
    for tool, argument in ((Tool.ADD, "1"), (Tool.MULTIPLY, "2"), (Tool.VERIFY, "")):
        with pytest.raises(ConfigError, match="interval 2 of 2"):
            edited(tool, Piece((1, None)), argument)
    assert edited(Tool.LINE, Piece((None, None), None, 9)) == [9, 9]


UNFIT = ((Tool.SET, "x"), (Tool.SET, "1.5"), (Tool.MULTIPLY, "1/0"), (Tool.SPREAD, "-1"), (Tool.LINE, ""))


@pytest.mark.parametrize(("tool", "argument"), UNFIT)
def test_an_argument_that_does_not_fit_is_refused(tool: Tool, argument: str) -> None:
    with pytest.raises(ConfigError):
        edited(tool, Piece((1, 2)), argument)


def test_a_state_has_only_its_own_steps() -> None:
    for state in EditState:
        for step in Step:
            if (state, step) in STATES:
                assert advance(state, step) is STATES[state, step]
            else:
                with pytest.raises(RefusedCommand, match=state.value):
                    advance(state, step)


# ---- on a day -----------------------------------------------------------------------------------------------------


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    street = new_street(tmp_path)
    with street.db.write() as conn:
        conn.execute(insert(channel).values(channel_no=1, usage_point_no=1, quantity=11, direction="import", unit="Wh",
                                            exponent=0, period_s=900))  # fmt: skip
        for login, role in ((ASHA, "operations"), (RAVI, "admin"), ("dev", "desk")):
            conn.execute(insert(app_user).values(login=login, name=login, role=role, password_hash="", created_ms=0))
    yield street
    street.db.close()


def _arrive(street: Street, values: list[int], first: int = 0) -> str:
    with street.db.write() as conn:
        store_block(conn, ChannelRef(1, "Wh", "UTC"), block(1, START_MS + first * QUARTER_MS, values), START_MS)
    close_days(street.db, START_MS + DAY_MS + GRACE_MS)
    run_pending(street.db, NOW_MS)
    with street.db.read() as conn:
        return status_of(conn, DAY, 1)


def _edit(street: Street, tool: Tool, first: int, after: int, argument: str = "", by: str = ASHA) -> Edit:
    asked = Asked(1, START_MS + first * QUARTER_MS, START_MS + after * QUARTER_MS, tool, argument, Reason.SITE_VISIT, by, "seen", "T-9")
    with street.db.write() as conn:
        return make(conn, asked, NOW_MS)


def _decide(street: Street, edit: Edit, step: Step, by: str) -> EditState:
    with street.db.write() as conn:
        return decide(conn, edit.edit_no, step, by, NOW_MS).state


def _stands(street: Street) -> tuple[list[int | None], list[int]]:
    """(values, quality)"""
    with street.db.read() as conn:
        held = read_intervals(conn, 1, START_MS, START_MS + DAY_MS)
    return [v if p else None for v, p in zip(held.values, held.present, strict=True)], list(held.quality)


def _sources(street: Street) -> list[str]:
    with street.db.read() as conn:
        query = select(interval_block.c.source).where(interval_block.c.day == DAY).order_by(interval_block.c.version)
        return list(conn.execute(query).scalars())


def _status(street: Street) -> str:
    with street.db.read() as conn:
        return status_of(conn, DAY, 1)


def _billed(street: Street, shown_wh: int | None = None) -> None:
    document = json.dumps({"days": [{"day": date_of(DAY).isoformat(), "used_wh": shown_wh}]})
    facts = {"bill_no": "B-1", "account_no": 1, "kind": "bill", "from_ms": START_MS - DAY_MS, "to_ms": START_MS + 2 * DAY_MS}
    with street.db.write() as conn:
        conn.execute(insert(bill).values(**facts, currency="EUR", charged_nano=0, closing_nano=0, document=document, issued_ms=START_MS))


def _restated(street: Street) -> tuple[Restated, ...]:
    with street.db.read() as conn:
        return restatements(conn)


def test_an_edit_is_a_further_version_and_what_was_measured_stays(street: Street) -> None:
    assert _arrive(street, DAYLIGHT[:90]) == "estimated"
    edit = _edit(street, Tool.SPREAD, 88, 96, "801")
    values, quality = _stands(street)
    assert values == [*DAYLIGHT[:88], 101, *[100] * 7]
    assert [bool(q & Quality.EDITED) for q in quality] == [False] * 88 + [True] * 8
    assert not any(q & Quality.ESTIMATED for q in quality)
    assert (_status(street), _sources(street)) == ("edited", ["raw", "estimate", "edit"])
    with street.db.read() as conn:
        measured = days_slots(conn, 1, [DAY])
        assert [measured[START_MS + i * QUARTER_MS].value for i in (88, 89, 90)] == [*DAYLIGHT[88:90], None]
        use = conn.execute(select(usage_day)).one()
        row = conn.execute(select(audit_row).order_by(audit_row.c.audit_no.desc())).first()
    assert (use.total, use.present, use.expected) == (sum(DAYLIGHT[:88]) + 801, 88, 96)
    assert row is not None
    assert (row.actor, row.action, row.subject) == (ASHA, "vee.edited", "channel:1")
    with street.db.write() as conn:
        before = run_day(conn, DAY, 1, NOW_MS)
        assert run_day(conn, DAY, 1, NOW_MS) == before, "judging again changes nothing"
    assert _decide(street, edit, Step.UNDO, ASHA) is EditState.UNDONE
    assert (_stands(street)[0][:90], _status(street)) == (DAYLIGHT[:90], "estimated")
    assert _restated(street) == ()


def test_estimates_and_sums_go_by_what_a_person_set(street: Street) -> None:
    _arrive(street, [*DAYLIGHT[:40], *DAYLIGHT[40:94]])
    _edit(street, Tool.SET, 94, 95, "300")
    values, quality = _stands(street)
    assert values[94:] == [300, 300], "the estimate beside it goes on from it"
    assert quality[95] & Quality.ESTIMATED


def test_to_estimate_again_takes_nothing_of_the_range_for_true(street: Street) -> None:
    _arrive(street, [*DAYLIGHT[:40], 240, 240, *DAYLIGHT[42:]])
    _edit(street, Tool.ESTIMATE, 40, 42)
    values, quality = _stands(street)
    assert [v is not None and DAYLIGHT[39] < v < DAYLIGHT[42] for v in values[40:42]] == [True, True]
    assert all(q & Quality.EDITED and q & Quality.ESTIMATED for q in quality[40:42])


def test_a_day_is_copied_by_its_local_times(street: Street) -> None:
    _arrive(street, [*DAYLIGHT, *[v + 5 for v in DAYLIGHT]])
    close_days(street.db, NOW_MS + GRACE_MS)
    run_pending(street.db, NOW_MS)
    _edit(street, Tool.COPY, 10, 12, date_of(DAY + 1).isoformat())
    assert _stands(street)[0][10:12] == [DAYLIGHT[10] + 5, DAYLIGHT[11] + 5]
    with pytest.raises(ConfigError, match="2026-12-01"):
        _edit(street, Tool.COPY, 10, 12, "yesterday")


def test_what_a_person_confirms_stands_as_measured(street: Street) -> None:
    high = [*DAYLIGHT[:40], 3400, *DAYLIGHT[41:]]
    assert _arrive(street, high) == "estimated"
    _edit(street, Tool.VERIFY, 40, 41)
    values, quality = _stands(street)
    assert values == high
    assert quality[40] == Quality.VERIFIED
    with street.db.read() as conn:
        assert findings_of(conn, 1, DAY, DAY) == ()


@pytest.mark.covers_part("I2-S6.11.3")
def test_untrustworthy_is_a_mark_that_bills_and_exports_see(street: Street) -> None:
    _arrive(street, DAYLIGHT)
    _billed(street, sum(DAYLIGHT))
    edit = _edit(street, Tool.UNTRUST, 8, 12)
    assert not any(_stands(street)[1]), "billed: it waits for a second person"
    _decide(street, edit, Step.APPROVE, RAVI)
    values, quality = _stands(street)
    assert values == DAYLIGHT, "correction is another step"
    assert [i for i, q in enumerate(quality) if q & Quality.UNTRUSTWORTHY] == [8, 9, 10, 11]
    assert next(code for flags, code in QUALITY if quality[8] & flags) == "16", "as Green Button tells it"
    assert [r.delta for r in _restated(street)] == [0]
    assert _sources(street) == ["raw", "edit"]


def test_on_a_billed_period_a_second_person_decides_and_others_are_told(street: Street) -> None:
    _arrive(street, DAYLIGHT)
    _billed(street, sum(DAYLIGHT))
    with street.db.write() as conn:
        webhooks.add(conn, "billing", "https://billing.example.org/in", ("measurement.restated",), NOW_MS, "test")
    edit = _edit(street, Tool.SET, 20, 22, "10")
    assert (edit.state, edit.bills, _stands(street)[0]) == (EditState.PROPOSED, ("B-1",), DAYLIGHT)
    with pytest.raises(RefusedCommand, match="another person"):
        _decide(street, edit, Step.APPROVE, ASHA)
    assert _decide(street, edit, Step.APPROVE, RAVI) is EditState.APPLIED
    (told,) = _restated(street)
    old = DAYLIGHT[20] + DAYLIGHT[21]
    assert (told.from_ms, told.to_ms, told.old_total, told.new_total) == (edit.from_ms, edit.to_ms, old, 20)
    with street.db.read() as conn:
        notice = json.loads(conn.execute(select(webhook_notice.c.body)).scalar_one())
    assert (notice["topic"], notice["data"]["delta"], notice["data"]["bills"]) == ("measurement.restated", 20 - old, "B-1")
    assert _decide(street, edit, Step.UNDO, RAVI) is EditState.LEAVING
    assert _stands(street)[0][20:22] == [10, 10], "it stands until the other person says so too"
    with pytest.raises(RefusedCommand, match="another person"):
        _decide(street, edit, Step.APPROVE, RAVI)
    assert _decide(street, edit, Step.APPROVE, ASHA) is EditState.UNDONE
    assert (_stands(street)[0], [r.delta for r in _restated(street)]) == (DAYLIGHT, [20 - old, old - 20])


def test_a_refused_edit_never_stood(street: Street) -> None:
    _arrive(street, DAYLIGHT)
    _billed(street)
    edit = _edit(street, Tool.SET, 20, 22, "10")
    assert _decide(street, edit, Step.REFUSE, RAVI) is EditState.REFUSED
    assert (_stands(street)[0], _restated(street), _sources(street)) == (DAYLIGHT, (), ["raw"])


@pytest.mark.covers_part("BYPL-6.3")
def test_late_data_of_a_billed_day_restates_it_and_an_edit_stands_until_it_is_taken_back(street: Street) -> None:
    _arrive(street, DAYLIGHT[:90])
    _edit(street, Tool.SET, 94, 96, "77")
    _billed(street)
    shown = sum(v or 0 for v in _stands(street)[0][90:94])
    assert _arrive(street, DAYLIGHT[90:], first=90) == "failed", "something was measured where a person had set another value"
    values, _ = _stands(street)
    assert values == [*DAYLIGHT[:94], 77, 77]
    (told,) = _restated(street)
    assert told.delta == sum(DAYLIGHT[90:94]) - shown
    with street.db.read() as conn:
        found = findings_of(conn, 1, DAY, DAY)
    assert [(f.rule, f.value, f.limit) for f in found] == [("overtaken", v, 77) for v in DAYLIGHT[94:]]


@pytest.mark.parametrize(("shown", "delta"), [(None, sum(DAYLIGHT)), (sum(DAYLIGHT), None), (sum(DAYLIGHT) - 5, 5)])
def test_a_day_billed_before_it_was_judged_is_compared_with_the_bill(street: Street, shown: int | None, delta: int | None) -> None:
    _billed(street, shown)
    _arrive(street, DAYLIGHT)
    assert [r.delta for r in _restated(street)] == ([] if delta is None else [delta])


def test_a_neighbour_is_judged_again_when_late_data_change_a_day(street: Street) -> None:
    """The hole at the end of the day is a line to what comes after midnight, once that is there."""
    with street.db.write() as conn:
        store_block(conn, ChannelRef(1, "Wh", "UTC"), block(1, START_MS, DAYLIGHT[:94]), START_MS)
        store_block(conn, ChannelRef(1, "Wh", "UTC"), block(1, START_MS + (96 + 40) * QUARTER_MS, DAYLIGHT[40:]), START_MS)
    close_days(street.db, NOW_MS + GRACE_MS)
    run_pending(street.db, NOW_MS)
    assert _stands(street)[0][94:] != [DAYLIGHT[93] + 100, DAYLIGHT[93] + 200]
    with street.db.write() as conn:
        store_block(conn, ChannelRef(1, "Wh", "UTC"), block(1, START_MS + DAY_MS, [DAYLIGHT[93] + 300, *DAYLIGHT[1:40]]), START_MS)
    close_days(street.db, NOW_MS + GRACE_MS)
    assert {o.day for o in run_pending(street.db, NOW_MS)} == {DAY, DAY + 1}
    assert _stands(street)[0][94:] == [DAYLIGHT[93] + 100, DAYLIGHT[93] + 200]


BAD = {
    "nobody": (Asked(1, START_MS, START_MS + QUARTER_MS, Tool.SET, "1", Reason.MISTAKE, "mallory"), "nobody of operations"),
    "the desk": (Asked(1, START_MS, START_MS + QUARTER_MS, Tool.SET, "1", Reason.MISTAKE, "dev"), "nobody of operations"),
    "no range": (Asked(1, START_MS, START_MS, Tool.SET, "1", Reason.MISTAKE, ASHA), "begins before it ends"),
    "off the grid": (Asked(1, START_MS + 1, START_MS + QUARTER_MS, Tool.SET, "1", Reason.MISTAKE, ASHA), "grid of 15 minutes"),
    "not closed": (Asked(1, START_MS, START_MS + 2 * DAY_MS, Tool.SET, "1", Reason.MISTAKE, ASHA), "wait until the day is closed"),
}


@pytest.mark.parametrize(("asked", "says"), BAD.values(), ids=BAD)
def test_what_can_not_be_edited_is_refused_with_a_reason(street: Street, asked: Asked, says: str) -> None:
    _arrive(street, DAYLIGHT)
    with street.db.write() as conn, pytest.raises(RefusedCommand, match=says):
        make(conn, asked, NOW_MS)
    assert _stands(street)[0] == DAYLIGHT


def test_edits_from_the_command_line(street: Street, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _arrive(street, DAYLIGHT)
    with street.db.write() as conn:
        conn.execute(update(app_user).where(app_user.c.login == "dev").values(active=False))
    (tmp_path / "mdm.toml").write_text(f'[store]\nurl = "{street.db.url}"\n', encoding="utf-8")
    run = ["--config", str(tmp_path / "mdm.toml"), "vee", "edit"]
    first = f"{date_of(DAY).isoformat()}T05:00Z"
    assert main([*run, "make", "1", first, first[:-4] + "15Z", "set", "9", "--reason", "agreed", "--by", ASHA, "--note", "by letter"]) == 0
    assert "edit 1 is applied: 1 intervals, 202 to 9" in capsys.readouterr().out
    assert main([*run, "list", "1"]) == 0
    assert "agreed (asha) by letter" in capsys.readouterr().out
    assert main([*run, "undo", "1", "--by", RAVI]) == 0
    assert main([*run, "undo", "1", "--by", RAVI]) == 7
    assert "an edit that is undone" in capsys.readouterr().err
    assert main([*run, "make", "1", "5 o'clock", first, "set", "9", "--reason", "agreed", "--by", ASHA]) == 3
    assert main([*run, "restated"]) == 0
    assert "0 restatements" in capsys.readouterr().out
