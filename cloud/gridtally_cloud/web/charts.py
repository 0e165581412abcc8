"""Bar charts as SVG, made on the server: readable without JavaScript, at any width, by keyboard and by screen reader.

Rules:
* Pure: words and numbers in, markup out. Every text is already in the reader's language.
* Positions along the x axis are per cent, so one drawing fits a phone and a desk without shrinking its letters.
* Colour is never the only sign: estimated values are hatched, missing ones are an open dashed column.
* Each stop can be reached with the Tab key and says its value; a stop with `href` is a link to the finer view.
* The caller prints `summary` as text and the same bars as a table (mdm.md E.1, WCAG 2.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from html import escape

from gridtally_shared.records import dataclass

PLOT_HEIGHT = 200
READOUT_HEIGHT = 26
LABEL_HEIGHT = 24
HEIGHT = READOUT_HEIGHT + PLOT_HEIGHT + LABEL_HEIGHT
BASE_Y = READOUT_HEIGHT + PLOT_HEIGHT
_STEPS = (1, 2, 5, 10)


class Mark(Enum):
    """How a bar is drawn; the value is its CSS class."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    MISSING = "missing"
    AHEAD = "ahead"
    OUTSIDE = "outside"


EMPTY = frozenset({Mark.AHEAD, Mark.OUTSIDE})
"""Nothing is drawn: still to come, or before the supply began."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One column. `value` None draws no height; `title` is the hover text, such as "14:00 to 14:15: 0.31 kWh". Of the
    value, `estimated` is hatched at the top."""

    value: int | None
    mark: Mark
    title: str
    estimated: int = 0


@dataclass(frozen=True, slots=True)
class Stop:
    """One or more bars that take the focus together, such as the four quarters of an hour. `label` stands under the axis
    (may be empty), `spare` labels vanish on a narrow screen."""

    bars: tuple[Bar, ...]
    spoken: str
    label: str = ""
    spare: bool = False
    href: str = ""
    current: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """Ticks as (value, text), the first one zero; `top` is the value at the upper edge, `unit` stands above it."""

    top: int
    ticks: tuple[tuple[int, str], ...]
    unit: str = ""


def tick_values(highest: int, about: int = 4) -> tuple[int, ...]:
    """Round tick values from zero up to at least `highest`: steps of 1, 2 or 5 times a power of ten."""
    wanted = max(1, -(-max(highest, 1) // about))
    power = 10 ** (len(str(wanted)) - 1)
    step = next(s * power for s in _STEPS if s * power >= wanted)
    return tuple(range(0, step * (-(-max(highest, 1) // step)) + 1, step))


def highest_of(stops: Sequence[Stop]) -> int:
    return max((bar.value or 0 for stop in stops for bar in stop.bars), default=0)


def bar_chart(chart_id: str, title: str, stops: Sequence[Stop], axis: Axis) -> str:
    """The whole drawing. `chart_id` keeps the hatch patterns of two charts on one page apart."""
    count = sum(len(stop.bars) for stop in stops) or 1
    slot = 100 / count
    parts = [_axis_svg(axis), _open_svg(chart_id, title), _grid(axis)]
    first = 0
    for stop in stops:
        parts.append(_stop(chart_id, stop, first, slot, axis.top))
        first += len(stop.bars)
    parts.append("</svg>")
    return f'<div class="chart">{"".join(parts)}</div>'


def _y(value: int, top: int) -> int:
    return BASE_Y - value * PLOT_HEIGHT // max(top, 1)


def _axis_svg(axis: Axis) -> str:
    lines = ((_y(value, axis.top) + 4, escape(text)) for value, text in axis.ticks)
    texts = "".join(f'<text x="100%" dx="-8" y="{y}" text-anchor="end">{text}</text>' for y, text in lines)
    unit = f'<text class="unit" x="100%" dx="-8" y="{READOUT_HEIGHT - 10}" text-anchor="end">{escape(axis.unit)}</text>'
    return f'<svg class="chart-axis" height="{HEIGHT}" aria-hidden="true">{unit}{texts}</svg>'


def _open_svg(chart_id: str, title: str) -> str:
    hatch = (
        f'<pattern id="{chart_id}-hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect width="6" height="6" class="hatch-ground"/><rect width="2.5" height="6" class="hatch-line"/></pattern>'
    )
    gap = (
        f'<pattern id="{chart_id}-gap" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)">'
        '<rect width="1" height="6" class="gap-line"/></pattern>'
    )
    return f'<svg class="chart-plot" height="{HEIGHT}" role="group" aria-label="{escape(title)}"><defs>{hatch}{gap}</defs>'


def _grid(axis: Axis) -> str:
    lines = (f'<line x1="0" x2="100%" y1="{y}" y2="{y}"/>' for y in (_y(value, axis.top) for value, _ in axis.ticks))
    return f'<g class="grid" aria-hidden="true">{"".join(lines)}</g>'


def _stop(chart_id: str, stop: Stop, first: int, slot: float, top: int) -> str:
    left, width = first * slot, len(stop.bars) * slot
    hit = f'<rect class="hit" x="{left:.3f}%" y="{READOUT_HEIGHT}" width="{width:.3f}%" height="{PLOT_HEIGHT}"/>'
    bars = "".join(_bar(chart_id, bar, left + i * slot, slot, top) for i, bar in enumerate(stop.bars))
    readout = f'<text class="readout" x="100%" y="16" text-anchor="end" aria-hidden="true">{escape(stop.spoken)}</text>'
    inside = f"{hit}{bars}{_label(stop, left, width)}{readout}"
    classes = "stop current" if stop.current else "stop"
    if stop.href:
        return f'<a class="{classes}" href="{escape(stop.href)}" aria-label="{escape(stop.spoken)}">{inside}</a>'
    return f'<g class="{classes}" role="img" tabindex="0" aria-label="{escape(stop.spoken)}">{inside}</g>'


def _label(stop: Stop, left: float, width: float) -> str:
    """Under the middle of a bar, or at the left edge of several bars that share a stop."""
    if not stop.label:
        return ""
    kind = "tick spare" if stop.spare else "tick"
    x, anchor = (left, "start") if len(stop.bars) > 1 else (left + width / 2, "middle")
    return f'<text class="{kind}" x="{x:.3f}%" y="{BASE_Y + 17}" text-anchor="{anchor}" aria-hidden="true">{escape(stop.label)}</text>'


def _bar(chart_id: str, bar: Bar, left: float, slot: float, top: int) -> str:
    if bar.mark in EMPTY:
        return ""
    title = f"<title>{escape(bar.title)}</title>"
    if bar.value is None:
        box = _box(left, slot, READOUT_HEIGHT, BASE_Y)
        return f'<rect class="bar missing" {box} fill="url(#{chart_id}-gap)">{title}</rect>'
    y, split = min(_y(bar.value, top), BASE_Y - 1), _y(bar.value - bar.estimated, top)
    x, width = left + slot * 0.11, slot * 0.78
    solid = f'<rect class="bar measured" {_box(x, width, split, BASE_Y)}>{title}</rect>' if bar.estimated < bar.value else ""
    hatched = f'<rect class="bar estimated" {_box(x, width, y, split)} fill="url(#{chart_id}-hatch)">{title}</rect>'
    return solid + (hatched if bar.estimated else "")


def _box(x: float, width: float, y: int, bottom: int) -> str:
    return f'x="{x:.3f}%" y="{y}" width="{width:.3f}%" height="{max(1, bottom - y)}"'
