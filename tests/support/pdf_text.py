"""The words of a PDF as a reader would copy them: text strings of its pages through the ToUnicode tables of their fonts.

Enough for what fpdf2 writes (one object a font, two-byte codes, no object streams); anything else shows as missing words.
"""

from __future__ import annotations

import re
import zlib

OBJECT = re.compile(rb"(\d+) 0 obj(.*?)endobj", re.S)
STREAM = re.compile(rb"stream\r?\n(.*?)\r?\nendstream", re.S)
FONT_NAME = re.compile(rb"/(F\d+) (\d+) 0 R")
SHOWN = re.compile(rb"/(F\d+) [\d.]+ Tf|\(((?:\\.|[^\\)])*)\) Tj", re.S)
ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}


def text_of(pdf: bytes) -> str:
    """Every string in the order of the page, one a line."""
    objects = {int(m[1]): m[2] for m in OBJECT.finditer(pdf)}
    fonts = {m[1]: _letters(objects, int(m[2])) for body in objects.values() for m in FONT_NAME.finditer(body)}
    pages = [m[1] for body in objects.values() for m in re.finditer(rb"/Contents (\d+) 0 R", body)]
    return "\n".join(_page(_stream(objects[int(page)]), fonts) for page in pages)


def _stream(body: bytes) -> bytes:
    found = STREAM.search(body)
    assert found, "an object without a stream"
    return zlib.decompress(found[1]) if b"/FlateDecode" in body else found[1]


def _letters(objects: dict[int, bytes], font: int) -> dict[int, str]:
    """Code to letter, from the font's ToUnicode table."""
    table = re.search(rb"/ToUnicode (\d+) 0 R", objects[font])
    assert table, "a font that can not be copied from"
    pairs = re.findall(rb"<([0-9A-F]{4})> <([0-9A-F]+)>", _stream(objects[int(table[1])]))
    return {int(code, 16): bytes.fromhex(letter.decode()).decode("utf-16-be") for code, letter in pairs}


def _page(content: bytes, fonts: dict[bytes, dict[int, str]]) -> str:
    lines, letters = [], {}
    for found in SHOWN.finditer(content):
        if found[1]:
            letters = fonts[found[1]]
        else:
            codes = re.sub(rb"\\(.)", lambda m: ESCAPES.get(m[1], m[1]), found[2], flags=re.S)
            lines.append("".join(letters[int.from_bytes(codes[i : i + 2], "big")] for i in range(0, len(codes), 2)))
    return "\n".join(lines)
