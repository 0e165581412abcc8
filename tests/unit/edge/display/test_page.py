"""What the page says about the supply, and why, from the stored evidence."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

from gridtally_edge.display.account import view_account
from gridtally_edge.display.page import balance_page, login_page
from gridtally_edge.display.texts import LANGUAGES, Words
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.events import SwitchResult
from gridtally_edge.prepay.holds import zone_of
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.messages.catalogue import table
from support.prepay_bench import HOUR_MS, Bench


def shown(bench: Bench, language: str = "en", meter_no: int = 1) -> str:
    view = view_account(bench.db, 100 + meter_no, bench.now_ms)
    assert view is not None
    page = balance_page(Words(language, view.config.currency, zone_of(view.config.zone)), view)
    return page.replace("\xa0", " ").replace("\u202f", " ")


def exhausted(folder: Path, **policy: object) -> Bench:
    bench = Bench(folder, 2, dict(policy))
    bench.credit(1, "8.40")
    bench.credit(2, "1234.56")
    bench.wait(HOUR_MS)
    bench.read(1, 1_001_500)
    return bench


def cut(folder: Path, **policy: object) -> Bench:
    bench = exhausted(folder, **policy)
    bench.finish()
    return bench


def begin(reason: str, language: str = "en") -> str:
    """The words of a reason up to its first figure."""
    return table("why")[reason][language].split("{")[0].strip()


@pytest.mark.covers_part("C3-FR1")
def test_balance_price_topup_reading_and_as_of(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.credit(1, "100")
    for n in range(1, 5):
        bench.wait(HOUR_MS)
        bench.read(1, 1_000_000 + 500 * n)
    page = shown(bench)
    assert '<p class="amount">₹ 83.20</p>' in page
    assert re.search(r"About 1\d h \d+ min left \(estimate, until about 03.03.2026 \d\d:\d\d\)", page)
    assert "9.9 kWh at the price of now" in page
    assert "<dt>Used today</dt><dd>₹ 16.80</dd>" in page
    assert "₹ 8.40 per kWh, tax included" in page
    assert "₹ 100.00 on 02.03.2026 11:10" in page
    assert "1 002.000 kWh" in page
    assert "As of 02.03.2026 15:10, entry 7 of your account." in page
    assert "Supply: <strong>On</strong>" in page


def test_an_old_reading_is_said_and_no_time_is_promised(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.credit(1, "100")
    bench.wait(3 * HOUR_MS)
    page = shown(bench)
    assert "The last reading is from 02.03.2026 11:10." in page
    assert "estimate" not in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_off_for_want_of_money_says_since_when_and_how_much(tmp_path: Path, language: str) -> None:
    page = shown(cut(tmp_path), language)
    assert "02.03.2026 12:10" in page
    assert "₹ 4.21" in page
    assert f'<html lang="{language}">' in page


def test_off_by_order_is_not_blamed_on_the_balance(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.credit(1, "50")
    bench.send(bench.command(CommandType.SWITCH_OPEN, switch_counter=1))
    bench.finish()
    assert "not because of your balance" in shown(bench)


def test_a_switch_somebody_else_opened(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.credit(1, "50")
    bench.read(1, 1_000_000, SwitchState.OPEN)
    assert begin("off_unordered") in shown(bench)


@pytest.mark.parametrize(
    ("policy", "reading", "reason"),
    [
        ({"holds": ("work",)}, {}, "kept_holds"),
        ({"arm_only": True}, {}, "kept_remote_close"),
        ({}, {"power_w": 900}, "kept_load_side"),
        ({}, {}, "paid"),
    ],
)
def test_paid_but_still_off_says_why(tmp_path: Path, policy: dict, reading: dict, reason: str) -> None:
    bench = cut(tmp_path)
    bench.configure(**policy)
    bench.wait(60_000)
    bench.read(1, 1_001_500, SwitchState.OPEN, **reading)
    bench.credit(1, "50")
    if "arm_only" in policy:
        bench.finish(SwitchResult.PRESENCE)
        bench.wait(60_000)
    page = shown(bench)
    assert begin(reason) in page
    assert ("I am at home: switch on" in page) == (reason == "kept_remote_close")


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"protected_hours": ("09:00-18:00",)}, "These are protected hours (09:00-18:00)."),
        ({"holds": ("medical",)}, "Protection applies to your home: medical need."),
        ({"notice_lead_s": 86_400}, "You are told some time before."),
    ],
)
def test_used_up_but_on_says_why(tmp_path: Path, policy: dict, words: str) -> None:
    page = shown(exhausted(tmp_path, **policy))
    assert words in page
    assert "<strong>On</strong>" in page


def test_a_debt_is_stated_apart(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.credit(1, "5")
    bench.credit(1, "-8", type=2)
    assert "<dt>Owed</dt><dd>₹ 3.00</dd>" in shown(bench)


def test_texts_of_a_command_are_shown_escaped_until_their_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    command = bench.command(CommandType.MESSAGE, text="<b>Water</b> & light")
    bench.send(command)
    assert "&lt;b&gt;Water&lt;/b&gt; &amp; light" in shown(bench)
    bench.now_ms = command.expires_ms + 1
    assert "Water" not in shown(bench)


def test_nothing_of_a_neighbour_is_on_the_page(tmp_path: Path) -> None:
    page = shown(exhausted(tmp_path))
    assert "1,234.56" not in page
    assert "GT0002" not in page
    assert "102" not in re.sub(r"\s", "", page.split("<main>")[1].split("<nav")[0]).replace("102.", "")


def test_an_account_that_is_not_here_has_no_view(tmp_path: Path) -> None:
    assert view_account(Bench(tmp_path).db, 999, 0) is None


class Outline(HTMLParser):
    """Labels, fields and headings, as a screen reader meets them."""

    def __init__(self) -> None:
        super().__init__()
        self.labels: set[str] = set()
        self.fields: list[dict[str, str | None]] = []
        self.headings: list[str] = []
        self.resources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "label":
            self.labels.add(values["for"] or "")
        if tag == "input":
            self.fields.append(values)
        if tag in ("h1", "h2"):
            self.headings.append(tag)
        self.resources += [v for v in (values.get("src"), values.get("href")) if v]


def test_every_field_has_a_label_and_its_problem() -> None:
    outline = Outline()
    outline.feed(login_page(Words("en"), "101", "wrong"))
    assert {f["id"] for f in outline.fields} == outline.labels
    assert all(f["aria-describedby"] == "problem" for f in outline.fields)


def test_one_main_heading_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    outline = Outline()
    outline.feed(shown(exhausted(tmp_path)))
    assert outline.headings.count("h1") == 1
    assert all(r.startswith("/") for r in outline.resources)


PAIRS = [
    ("ink", "ground"), ("ink", "surface"), ("muted", "ground"), ("muted", "surface"), ("brand-ink", "brand"), ("hero-ink", "hero"),
    ("hero-soft", "hero"), ("good", "surface"), ("bad", "bad-soft"), ("warn", "warn-soft"), ("ink", "bad-soft"), ("ink", "warn-soft"),
]  # fmt: skip


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_text_is_readable_in_both_schemes(text: str, ground: str, scheme: int) -> None:
    css = resources.files("gridtally_edge.display").joinpath("style.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", re.findall(r":root \{(.*?)\}", css, re.S)[scheme]))
    light, dark = sorted((_luminance(colours[text]), _luminance(colours[ground])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def _luminance(colour: str) -> float:
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_page_works_without_any_uplink(tmp_path: Path) -> None:
    bench = cut(tmp_path)
    bench.tell(p.LinkChanged(False))
    bench.wait(HOUR_MS)
    assert begin("off_balance") in shown(bench)
