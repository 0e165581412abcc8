"""A `BillPage` on paper: A4, one column, figures right-aligned, a small chart. Layout only; every word comes from the page.

Measures are millimetres. Long bills break between table rows and repeat the column heads.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from fpdf import FPDF
from fpdf.enums import MethodReturnValue, XPos, YPos

from gridtally_cloud.billing.fonts import Face, Fonts, find_fonts
from gridtally_cloud.billing.page import Bar, BillPage, Box, Row

LEFT, RIGHT, WIDTH, BOTTOM = 18.0, 192.0, 174.0, 278.0
WHAT, HOW, AMOUNT = 44.0, 96.0, 34.0
INK, SOFT, RULE = (24, 32, 40), (96, 108, 120), (212, 218, 224)
ACCENT, PALE = (11, 92, 120), (236, 244, 247)
PLAIN = str.maketrans({"₹": "Rs ", "€": "EUR ", "−": "-", "–": "-", "—": "-", "→": "->", "\N{NO-BREAK SPACE}": " "})


def pdf_of(page: BillPage, fonts: Fonts | None = None) -> bytes:
    """The page as PDF bytes. The document carries no time of its own: the same bill gives the same bytes."""
    sheet = _Sheet(page.language, fonts or _fonts())
    sheet.set_title(f"{page.title} {page.bill_no}")
    sheet.page_no_label = page.bill_no
    sheet.add_page()
    _head(sheet, page)
    _boxes(sheet, page.boxes)
    _chart(sheet, page)
    _table(sheet, page)
    _notes(sheet, page.notes)
    return bytes(sheet.output())


def can_print(language: str, fonts: Fonts | None = None) -> bool:
    """Whether the language's letters can be printed here."""
    return language != "hi" or (fonts or _fonts()).devanagari is not None


@lru_cache(maxsize=1)
def _fonts() -> Fonts:
    return find_fonts()


class _Sheet(FPDF):
    """fpdf2 with our fonts and one way to write text."""

    def __init__(self, language: str, fonts: Fonts) -> None:
        super().__init__(orientation="portrait", unit="mm", format="A4")
        self.page_no_label = ""
        self.set_creation_date(datetime(2000, 1, 1, tzinfo=UTC))
        self.set_margins(LEFT, 16, 210 - RIGHT)
        self.set_auto_page_break(True, margin=18)
        self.set_lang(language)
        self._family, self._unicode = "helvetica", False
        self._use(language, fonts)

    def _use(self, language: str, fonts: Fonts) -> None:
        main = fonts.devanagari if language == "hi" else fonts.latin
        if main is None:
            return
        self._add("bill", main)
        self._family, self._unicode = "bill", True
        others = {"latin": fonts.latin if language == "hi" else None, "signs": fonts.signs}
        present = [name for name, face in others.items() if face is not None and face != main]
        for name in present:
            self._add(name, others[name])
        self.set_fallback_fonts(present, exact_match=False)
        if language == "hi":
            self.set_text_shaping(True, direction="ltr", script="deva")  # guessed, a vowel sign before Latin letters goes astray

    def _add(self, name: str, face: Face | None) -> None:
        if face is None:
            return
        self.add_font(name, "", face.regular)
        self.add_font(name, "B", face.bold)

    def style(self, size: float, *, bold: bool = False, colour: tuple[int, int, int] = INK) -> None:
        self.set_font(self._family, "B" if bold else "", size)
        self.set_text_color(*colour)

    def plain(self, text: str) -> str:
        """The text in letters this font has."""
        return text if self._unicode else text.translate(PLAIN).encode("latin-1", "replace").decode("latin-1")

    def write_at(self, x: float, y: float, width: float, text: str, *, align: str = "L", height: float = 5) -> None:
        self.set_xy(x, y)
        self._font_again()
        self.cell(width, height, self.plain(text), align=align, new_x=XPos.LEFT, new_y=YPos.NEXT)

    def block(self, x: float, y: float, width: float, text: str, height: float) -> float:
        """Text in a column, broken where needed; the y below it. Shaped text goes without no-break spaces: fpdf2 2.8 puts
        vowel signs in the wrong place after one."""
        for line in self._lines(width, text, height):
            self.set_xy(x, y)
            self._font_again()
            self.cell(width, height, line, new_x=XPos.LEFT, new_y=YPos.NEXT)
            y = float(self.get_y())
        return y

    def height_of(self, width: float, text: str, height: float) -> float:
        """What `block` would take."""
        return height * len(self._lines(width, text, height))

    def _lines(self, width: float, text: str, height: float) -> list[str]:
        shown = self.plain(text).replace("\N{NO-BREAK SPACE}", " ") if self.text_shaping else self.plain(text)
        found = self.multi_cell(width, height, shown, align="L", dry_run=True, output=MethodReturnValue.LINES)
        return found if isinstance(found, list) else [shown]

    def _font_again(self) -> None:
        """fpdf2 2.8 names the font inside of the first text that needs a sign of another font, and the next text is in an older size."""
        size = self.font_size_pt
        self.set_font_size(size + 1)
        self.set_font_size(size)

    def rule(self, y: float, colour: tuple[int, int, int] = RULE, width: float = 0.2) -> None:
        self.set_draw_color(*colour)
        self.set_line_width(width)
        self.line(LEFT, y, RIGHT, y)

    def footer(self) -> None:
        self.style(8, colour=SOFT)
        self.write_at(LEFT, 284, WIDTH / 2, self.page_no_label)
        self.write_at(LEFT + WIDTH / 2, 284, WIDTH / 2, f"{self.page_no()} / {{nb}}", align="R")


def _head(sheet: _Sheet, page: BillPage) -> None:
    sheet.set_fill_color(*ACCENT)
    sheet.rect(0, 0, 210, 5, style="F")
    sheet.style(18, bold=True)
    sheet.write_at(LEFT, 15, WIDTH, page.title, height=8)
    top = 28.0
    half = (len(page.heading) + 1) // 2
    for column in range(2):
        y, x = top, LEFT + column * 92
        for label, value in page.heading[column * half : (column + 1) * half]:
            sheet.style(8.5, colour=SOFT)
            sheet.write_at(x, y, 24, label)
            sheet.style(9.5)
            y = max(y + 5.4, sheet.block(x + 24, y, 62, value, 5) + 0.4)
        sheet.set_y(max(sheet.get_y(), y))
    sheet.set_y(top + half * 5.4 + 4)


def _boxes(sheet: _Sheet, boxes: tuple[Box, ...]) -> None:
    y, gap = sheet.get_y() + 1, 3.0
    width = (WIDTH - gap * (len(boxes) - 1)) / len(boxes)
    for index, box in enumerate(boxes):
        x = LEFT + index * (width + gap)
        sheet.set_fill_color(*(ACCENT if box.strong else PALE))
        sheet.rect(x, y, width, 21, style="F", round_corners=True, corner_radius=1.5)
        white = (255, 255, 255)
        sheet.style(7.5, colour=white if box.strong else SOFT)
        sheet.write_at(x + 2, y + 2, width - 4, box.label, height=4)
        sheet.style(_fitting(sheet, box.value, width - 4), bold=True, colour=white if box.strong else INK)
        sheet.write_at(x + 2, y + 7, width - 4, box.value, height=7)
        sheet.style(6.5, colour=white if box.strong else SOFT)
        sheet.block(x + 2, y + 14.4, width - 4, box.note, 2.9)
    sheet.set_y(y + 26)


def _fitting(sheet: _Sheet, text: str, width: float) -> float:
    """The largest size up to 13 points at which a figure fits its box."""
    for size in (13.0, 12.0, 11.0, 10.0, 9.0, 8.0):
        sheet.style(size, bold=True)
        if sheet.get_string_width(sheet.plain(text)) <= width - 2:
            return size
    return 7.0


def _chart(sheet: _Sheet, page: BillPage) -> None:
    if not page.bars:
        return
    sheet.style(9.5, bold=True)
    sheet.write_at(LEFT, sheet.get_y(), WIDTH, page.chart_title)
    top, height = sheet.get_y() + 1, 24.0
    step = min(WIDTH / len(page.bars), 12.0)
    for index, bar in enumerate(page.bars):
        _bar(sheet, bar, LEFT + index * step, top, step, height)
    sheet.rule(top + height)
    sheet.style(7.5, colour=SOFT)
    sheet.write_at(LEFT, top + height + 4.2, WIDTH, page.chart_alt, height=4)
    sheet.set_y(top + height + 11)


def _bar(sheet: _Sheet, bar: Bar, x: float, top: float, step: float, height: float) -> None:
    if bar.height_permille is None:
        sheet.set_draw_color(*RULE)
        sheet.set_dash_pattern(0.6, 0.6)
        sheet.rect(x + step * 0.15, top, step * 0.7, height)
        sheet.set_dash_pattern()
    else:
        tall = height * bar.height_permille / 1000
        sheet.set_fill_color(*ACCENT)
        sheet.rect(x + step * 0.15, top + height - tall, step * 0.7, max(tall, 0.2), style="F")
    sheet.style(6, colour=SOFT)
    sheet.write_at(x, top + height + 0.6, step, bar.label, align="C", height=3)


def _table(sheet: _Sheet, page: BillPage) -> None:
    _column_heads(sheet, page)
    for index, row in enumerate((page.first, *page.rows)):
        if sheet.get_y() + 6 + 4.4 * len(row.how) > 272:
            sheet.add_page()
            _column_heads(sheet, page)
        _row(sheet, row, strong=index == 0)
    y = sheet.get_y() + 1
    sheet.set_fill_color(*PALE)
    sheet.rect(LEFT, y, WIDTH, 9, style="F")
    sheet.style(11, bold=True)
    sheet.write_at(LEFT + 1.5, y + 2, WHAT + HOW, page.total.what)
    sheet.write_at(RIGHT - AMOUNT, y + 2, AMOUNT - 1.5, page.total.amount, align="R")
    sheet.set_y(y + 14)


def _column_heads(sheet: _Sheet, page: BillPage) -> None:
    y = sheet.get_y()
    sheet.style(8.5, bold=True, colour=SOFT)
    sheet.write_at(LEFT + 1.5, y, WHAT, page.columns[0])
    sheet.write_at(LEFT + WHAT, y, HOW, page.columns[1])
    sheet.write_at(RIGHT - AMOUNT, y, AMOUNT - 1.5, page.columns[2], align="R")
    sheet.rule(y + 6, ACCENT, 0.4)
    sheet.set_y(y + 7.5)


def _row(sheet: _Sheet, row: Row, *, strong: bool) -> None:
    y = sheet.get_y()
    sheet.style(9.5, bold=True)
    below = sheet.block(LEFT + 1.5, y, WHAT - 3, row.what, 4.6)
    sheet.style(9.5, bold=strong)
    sheet.write_at(RIGHT - AMOUNT, y, AMOUNT - 1.5, row.amount, align="R", height=4.6)
    at = y
    for index, part in enumerate(row.how):
        sheet.style(9 if index == 0 else 8, colour=INK if index == 0 else SOFT)
        at = sheet.block(LEFT + WHAT, at, HOW - 3, part, 4.6 if index == 0 else 4)
    bottom = max(below, at, y + 4.6) + 1.4
    sheet.rule(bottom)
    sheet.set_y(bottom + 1.4)


def _notes(sheet: _Sheet, notes: tuple[str, ...]) -> None:
    """Each whole on one page."""
    for note in notes:
        sheet.style(8, colour=SOFT)
        if sheet.get_y() + sheet.height_of(WIDTH, note, 4) > BOTTOM:
            sheet.add_page()
            sheet.style(8, colour=SOFT)
        sheet.set_y(sheet.block(LEFT, sheet.get_y(), WIDTH, note, 4) + 0.6)
