"""The style sheet keeps its promise: text pairs have a contrast of 4.5:1 or more, in light and in dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gridtally_cloud.web

CSS = (Path(gridtally_cloud.web.__path__[0]) / "static" / "style.css").read_text()
PAIRS = [
    ("ink", "ground"), ("ink", "surface"), ("ink", "sunken"), ("muted", "ground"), ("muted", "surface"), ("muted", "sunken"),
    ("link", "ground"), ("link", "surface"), ("brand", "brand-soft"), ("brand-ink", "brand"), ("hero-ink", "hero"),
    ("hero-muted", "hero"), ("accent-ink", "accent"), ("good", "good-soft"), ("warn", "warn-soft"), ("bad", "bad-soft"),
    ("bad", "surface"), ("warn", "surface"), ("ink", "brand-soft"),
]  # fmt: skip
DRAWN = [("bar", "surface"), ("edge", "surface"), ("focus", "surface"), ("focus", "ground"), ("accent", "hero")]


def tokens(scheme: str) -> dict[str, str]:
    light, _, rest = CSS.partition("@media (prefers-color-scheme: dark)")
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light))
    return found if scheme == "light" else found | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", rest.split("}\n}")[0]))


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(scheme: str) -> None:
    colours = tokens(scheme)
    weak = {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in PAIRS}
    assert {pair: value for pair, value in weak.items() if value < 4.5} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_drawn_things_can_be_seen(scheme: str) -> None:
    colours = tokens(scheme)
    weak = {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in DRAWN}
    assert {pair: value for pair, value in weak.items() if value < 3} == {}


def test_the_formula_is_the_known_one() -> None:
    assert round(contrast("#000000", "#ffffff"), 1) == 21.0
    assert round(contrast("#777777", "#ffffff"), 2) == 4.48
