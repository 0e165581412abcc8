"""Charts as drawings: sizes, marks, focus, escaping."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from gridtally_cloud.web.charts import BASE_Y, PLOT_HEIGHT, Axis, Bar, Mark, Stop, bar_chart, tick_values


def drawing(*stops: Stop, top: int = 100) -> ElementTree.Element:
    """The chart as XML; it must be well formed."""
    return ElementTree.fromstring(bar_chart("c", "Use", stops, Axis(top, ((0, "0"), (top, str(top))), "kWh")))


def bars(root: ElementTree.Element, mark: str) -> list[ElementTree.Element]:
    return [r for r in root.iter("rect") if r.get("class") == f"bar {mark}"]


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [(0, (0, 1)), (1, (0, 1)), (7, (0, 2, 4, 6, 8)), (99, (0, 50, 100)), (100, (0, 50, 100)), (1234, (0, 500, 1000, 1500))],
)
def test_ticks_are_round_and_reach_the_highest(highest: int, ticks: tuple[int, ...]) -> None:
    assert tick_values(highest) == ticks


def test_ticks_of_any_number_are_few_and_cover_it() -> None:
    for highest in [*range(0, 3000, 7), 10**9, 10**12 + 1]:
        ticks = tick_values(highest)
        assert ticks[0] == 0
        assert ticks[-1] >= highest
        assert 2 <= len(ticks) <= 6


def test_height_is_in_proportion_and_bars_stand_on_the_axis() -> None:
    root = drawing(Stop((Bar(50, Mark.MEASURED, "a"),), "a"), Stop((Bar(100, Mark.MEASURED, "b"),), "b"))
    half, full = bars(root, "measured")
    assert [int(half.get("height", 0)), int(full.get("height", 0))] == [PLOT_HEIGHT // 2, PLOT_HEIGHT]
    assert all(int(b.get("y", 0)) + int(b.get("height", 0)) == BASE_Y for b in (half, full))


def test_the_estimated_share_is_hatched_on_top_of_the_measured_one() -> None:
    root = drawing(Stop((Bar(100, Mark.ESTIMATED, "a", estimated=25),), "a"))
    (solid,), (hatched,) = bars(root, "measured"), bars(root, "estimated")
    assert hatched.get("fill") == "url(#c-hatch)"
    assert int(hatched.get("height", 0)) == PLOT_HEIGHT // 4
    assert int(hatched.get("y", 0)) + int(hatched.get("height", 0)) == int(solid.get("y", 0))


def test_missing_is_a_marked_gap_and_the_future_is_empty() -> None:
    root = drawing(Stop((Bar(None, Mark.MISSING, "gap"), Bar(None, Mark.AHEAD, "later")), "hour"))
    assert len(bars(root, "missing")) == 1
    assert len([r for r in root.iter("rect") if (r.get("class") or "").startswith("bar")]) == 1


def test_every_stop_takes_the_focus_and_says_its_value() -> None:
    root = drawing(Stop((Bar(1, Mark.MEASURED, "a"),), "Monday: 1 kWh"), Stop((Bar(2, Mark.MEASURED, "b"),), "Tuesday", href="/x?a=1&b=2"))
    plain = next(g for g in root.iter("g") if g.get("class") == "stop")
    link = next(root.iter("a"))
    assert (plain.get("tabindex"), plain.get("aria-label")) == ("0", "Monday: 1 kWh")
    assert (link.get("href"), link.get("aria-label")) == ("/x?a=1&b=2", "Tuesday")


def test_texts_can_not_break_out_of_the_drawing() -> None:
    nasty = '"><script>alert(1)</script>'
    markup = bar_chart("c", nasty, [Stop((Bar(1, Mark.MEASURED, nasty),), nasty, nasty, href=nasty)], Axis(1, ((0, nasty),), nasty))
    assert "<script" not in markup
    ElementTree.fromstring(markup)


def test_positions_are_per_cent_and_stay_inside() -> None:
    stops = [Stop((Bar(1, Mark.MEASURED, "x"),), "x") for _ in range(96)]
    markup = bar_chart("c", "Use", stops, Axis(1, ((0, "0"),)))
    boxes = re.findall(r'class="bar measured" x="([\d.]+)%" y="\d+" width="([\d.]+)%"', markup)
    assert len(boxes) == 96
    assert all(float(x) >= 0 and float(x) + float(w) <= 100.001 for x, w in boxes)
