"""Calendars: zone rules that are written down hold whatever this box knows; holidays; announced weather."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gridtally_shared.contract.prepay_messages import CalendarDocument
from gridtally_shared.errors import ConfigError
from gridtally_shared.prepay.calendars import active, calendar_from, canonical, region_of
from gridtally_shared.prepay.zones import PinnedZone, ZoneRules, rules_of
from gridtally_shared.schedules.document import Schedule, Window
from gridtally_shared.schedules.windows import Span, spans
from support.prepay_bench import account_of

NOW_MS = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * 1000
BERLIN = ZoneInfo("Europe/Berlin")
HOUR_MS = 3_600_000


def document(**changes: object) -> str:
    return json.dumps({"kind": "calendar", "code": "de", "zone": "Europe/Berlin"} | changes)


@pytest.mark.parametrize("name", ["Europe/Berlin", "Asia/Kolkata", "America/Chicago", "Australia/Lord_Howe", "Africa/Casablanca"])
def test_a_pinned_zone_is_the_zone_it_was_made_from(name: str) -> None:
    zone, pinned = ZoneInfo(name), PinnedZone(name, rules_of(name, NOW_MS))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for quarter in range(0, 2 * 366 * 96, 7):
        moment = start + timedelta(minutes=15 * quarter)
        theirs, ours = moment.astimezone(zone), moment.astimezone(pinned)
        assert (ours.replace(tzinfo=None), ours.fold, ours.utcoffset()) == (theirs.replace(tzinfo=None), theirs.fold, theirs.utcoffset())
        local = theirs.replace(tzinfo=None)
        for fold in (0, 1):
            assert local.replace(tzinfo=pinned, fold=fold).utcoffset() == local.replace(tzinfo=zone, fold=fold).utcoffset()


def test_rules_of_a_government_that_changed_its_mind_hold_over_the_zone_data_of_this_box() -> None:
    """Summer time ended for good in 2027; this box still believes in it."""
    rules = rules_of("Europe/Berlin", NOW_MS)
    end_s = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())
    fixed = PinnedZone("Europe/Berlin", ZoneRules(rules.first_s, tuple(c for c in rules.changes if c[0] < end_s), rules.until_s))
    summer = Schedule(
        1, "A", 7, "Europe/Berlin", *(int(datetime(2027, 7, d, tzinfo=UTC).timestamp()) * 1000 for d in (1, 2)),
        (Window(127, 8 * 60, 9 * 60),),
    )  # fmt: skip
    start_ms = summer.start_ms
    assert spans(summer, start_ms, summer.end_ms) == (Span(start_ms + 6 * HOUR_MS, start_ms + 7 * HOUR_MS),)
    assert spans(summer, start_ms, summer.end_ms, fixed) == (Span(start_ms + 7 * HOUR_MS, start_ms + 8 * HOUR_MS),)


def test_after_its_last_year_the_box_itself_is_asked() -> None:
    rules = rules_of("Europe/Berlin", NOW_MS)
    pinned = PinnedZone("Europe/Berlin", rules)
    late = datetime.fromtimestamp(rules.until_s + 86_400 * 200, UTC)
    assert late.astimezone(pinned).utcoffset() == late.astimezone(BERLIN).utcoffset()


def test_the_calendar_in_force_gives_holidays_weather_and_the_zone() -> None:
    text = canonical(document(
        holidays=[{"date": "2026-10-03", "name": "Tag der Deutschen Einheit"}],
        weather=[{"from": "2026-03-01T00:00+00:00", "to": "2026-03-01T02:00+00:00"}],
    ), NOW_MS)  # fmt: skip
    documents = (CalendarDocument("de", 1, NOW_MS, text), CalendarDocument("de", 2, NOW_MS + HOUR_MS, canonical(document(), NOW_MS)))
    account = account_of(1, zone="Europe/Berlin", calendar_id="de")
    region = region_of(account, documents, NOW_MS)
    assert (region.known, type(region.zone)) == (True, PinnedZone)
    assert region.holidays == {date(2026, 10, 3).toordinal()}
    assert [region.is_dangerous(NOW_MS + h * HOUR_MS, NOW_MS + h * HOUR_MS) for h in (-1, 0, 1, 2)] == [False, True, True, False]
    assert region.is_dangerous(NOW_MS - HOUR_MS, NOW_MS)
    assert not region_of(account, documents, NOW_MS + HOUR_MS).holidays
    found = active("de", documents[::-1], NOW_MS + HOUR_MS)
    assert found is not None
    assert found.version == 2


@pytest.mark.parametrize("changes", [{"calendar_id": "fr"}, {"calendar_id": "de", "zone": "Asia/Kolkata"}, {"calendar_id": "bad"}])
def test_a_calendar_that_is_not_here_is_not_known(changes: dict[str, str]) -> None:
    documents = (CalendarDocument("de", 1, 0, canonical(document(), NOW_MS)), CalendarDocument("bad", 1, 0, "{"))
    region = region_of(account_of(1, **({"zone": "Europe/Berlin"} | changes)), documents, NOW_MS)
    assert (region.known, region.holidays) == (False, frozenset())
    assert region.zone is not None


@pytest.mark.parametrize(("changes", "path"), [
    ({"zone": "Mars/Base"}, "zone"), ({"zone": 7}, "zone"), ({"holidays": [{"date": "2026-02-30"}]}, "holidays[0].date"),
    ({"weather": [{"from": "2026-03-01", "to": "2026-03-02"}]}, "weather[0].from"), ({"code": "DE!"}, "code"),
    ({"weather": [{"from": "2026-03-01T00:00Z", "to": "2026-02-01T00:00Z"}]}, "weather[0].to"),
])  # fmt: skip
def test_what_can_not_be_read_is_refused_with_the_place(changes: dict[str, object], path: str) -> None:
    with pytest.raises(ConfigError, match="write") as caught:
        canonical(document(**changes), NOW_MS)
    assert caught.value.key == path


def test_the_text_that_travels_can_be_read_by_itself() -> None:
    read = calendar_from(canonical(document(), NOW_MS))
    assert read.rules is not None
    assert len(read.rules.changes) > 25
