"""The live terminal view of the demo: lines, meters, balances, events, and where to look further. Pure: state in, picture out."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from demo.narrator import Line

_SWITCH_STYLE = {"closed": "green", "open": "bold red", "armed": "yellow", "not_fitted": "dim", "unknown": "dim"}
_SPARK = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class MeterLine:
    """One row of the street. `balance` is text in the account's currency, empty for a postpaid home."""

    name: str
    line: str
    switch: str
    answering: bool
    contact_ms: int
    intervals: int
    balance: str
    low: bool
    recent_wh: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Happening:
    at_ms: int
    text: str
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """All the view shows, gathered by the launcher."""

    now_ms: int
    zone: str
    factor: float
    wanted_factor: float
    uplink_open: bool
    uplink_state: str
    waiting: int
    lines: tuple[tuple[str, str, str], ...]
    meters: tuple[MeterLine, ...]
    stored_intervals: int
    cuts: int
    restores: int
    happenings: tuple[Happening, ...]
    addresses: tuple[tuple[str, str], ...]
    transport: str
    chapters: tuple[Line, ...] = ()


def draw(picture: Picture) -> RenderableType:
    """The whole screen."""
    body = Table.grid(expand=True, padding=(0, 1))
    body.add_column(ratio=3)
    body.add_column(ratio=2)
    body.add_row(_street(picture), Group(_chain(picture), _happenings(picture)))
    return Group(_header(picture), _story(picture), body, _footer(picture))


def _header(picture: Picture) -> RenderableType:
    local = dt.datetime.fromtimestamp(picture.now_ms / 1000, ZoneInfo(picture.zone))
    day_s = 86_400 / picture.factor if picture.factor else 0
    title = Text.assemble(("gridtally", "bold"), ("   from the meter to money, also without a network", "dim"))
    when = Text.assemble((local.strftime("%a %d %b %Y  %H:%M"), "bold cyan"), (f"   a day in {day_s:.0f} s", "dim"))
    if picture.factor < picture.wanted_factor:
        when.append("   slowed: the lines can not keep up", "yellow")
    grid = Table.grid(expand=True)
    grid.add_column()
    grid.add_column(justify="right")
    grid.add_row(title, when)
    return Panel(grid, box=box.ROUNDED, border_style="cyan")


def _story(picture: Picture) -> RenderableType:
    """The home's chapters: what has happened, and what a person should look for now."""
    grid = Table.grid(padding=(0, 1))
    for options in ({"width": 1}, {"style": "dim", "width": 5}, {"no_wrap": True}, {}):
        grid.add_column(**options)  # type: ignore[arg-type]
    coming = next((n for n, line in enumerate(picture.chapters) if not line.at), len(picture.chapters))
    for n, line in enumerate(picture.chapters):
        mark, style = ("●", "green") if line.at else (("▶", "bold yellow") if n == coming else ("○", "dim"))
        title, text = ("bold", "") if line.at else (style, style)
        grid.add_row(Text(mark, style), line.clock, Text(line.title, title), Text(line.text, text))
    return Panel(grid, title="one home's day, step by step", title_align="left", box=box.ROUNDED)


def _street(picture: Picture) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False, title=f"the street: {len(picture.meters)} meters", title_justify="left")
    for name, options in (
        ("meter", {}), ("line", {"style": "dim"}), ("supply", {}), ("balance", {"justify": "right"}),
        ("last hours", {"no_wrap": True}), ("intervals", {"justify": "right", "style": "dim"}),
    ):  # fmt: skip
        table.add_column(name, **options)  # type: ignore[arg-type]
    for meter in picture.meters:
        label = Text(meter.name, "" if meter.answering else "yellow")
        switch = Text(meter.switch.replace("_", " "), _SWITCH_STYLE.get(meter.switch, ""))
        balance = Text(meter.balance or "postpaid", "bold yellow" if meter.low else ("" if meter.balance else "dim"))
        table.add_row(label, meter.line, switch, balance, Text(spark(meter.recent_wh), "blue"), str(meter.intervals))
    return table


def spark(values: tuple[int, ...]) -> str:
    """Bars of a row of values, scaled to their highest."""
    top = max(values, default=0)
    return "".join(_SPARK[0 if top == 0 else round(v * (len(_SPARK) - 1) / top)] for v in values)


def _chain(picture: Picture) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="dim")
    grid.add_column()
    for line, state, trouble in picture.lines:
        grid.add_row(f"line {line}", Text(f"{state} {trouble}".strip(), "green" if not trouble else "yellow"))
    uplink = Text("up" if picture.uplink_open else "CUT", "green" if picture.uplink_open else "bold red")
    grid.add_row("uplink", Text.assemble(uplink, (f"  {picture.uplink_state}, {picture.waiting} entries wait", "dim")))
    grid.add_row("transport", Text(picture.transport, "dim"))
    grid.add_row("in the MDM", f"{picture.stored_intervals:,} intervals")
    grid.add_row("supply", Text.assemble((f"{picture.cuts} cut", "red"), ", ", (f"{picture.restores} restored", "green")))
    return Panel(grid, title="the chain", title_align="left", box=box.ROUNDED)


def _happenings(picture: Picture) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    zone = ZoneInfo(picture.zone)
    for each in picture.happenings:
        when = dt.datetime.fromtimestamp(each.at_ms / 1000, zone).strftime("%a %H:%M")
        grid.add_row(when, Text(each.text, "red" if each.bad else ""))
    return Panel(grid, title="what happened", title_align="left", box=box.ROUNDED)


def _footer(picture: Picture) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    for name, value in picture.addresses:
        grid.add_row(Text(name, "dim"), Text(value, "bold"))
    grid.add_row(Text("keys", "dim"), Text("Ctrl-C ends everything", "dim"))
    return Panel(grid, box=box.ROUNDED, border_style="cyan")
