"""Fonts for PDFs, found where systems keep them; a bill is never refused for want of one.

* Latin: Liberation Sans or DejaVu Sans. Without either the PDF's own Helvetica serves, with currency signs spelt out.
* Hindi: Lohit Devanagari or Noto Sans Devanagari, shaped by HarfBuzz. Without one a Hindi bill is printed in English: broken
  letters help nobody.
"""

from __future__ import annotations

from pathlib import Path

from gridtally_shared.records import dataclass

FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path("/Library/Fonts"), Path("C:/Windows/Fonts"))
LATIN = (("LiberationSans-Regular.ttf", "LiberationSans-Bold.ttf"), ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"))
SIGNS = (("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"),)
DEVANAGARI = (("Lohit-Devanagari.ttf", "Lohit-Devanagari.ttf"), ("NotoSansDevanagari-Regular.ttf", "NotoSansDevanagari-Bold.ttf"))


@dataclass(frozen=True, slots=True)
class Face:
    """Files of a regular and a bold cut."""

    regular: Path
    bold: Path


@dataclass(frozen=True, slots=True)
class Fonts:
    """`signs` is a further face for currency signs the first one lacks."""

    latin: Face | None
    devanagari: Face | None
    signs: Face | None = None


def find_fonts(folders: tuple[Path, ...] = FOLDERS) -> Fonts:
    """Look the font files up by name."""
    files = {path.name: path for folder in folders if folder.is_dir() for path in sorted(folder.rglob("*.ttf"))}
    return Fonts(_first(files, LATIN), _first(files, DEVANAGARI), _first(files, SIGNS))


def _first(files: dict[str, Path], faces: tuple[tuple[str, str], ...]) -> Face | None:
    found = (Face(files[r], files.get(b, files[r])) for r, b in faces if r in files)
    return next(found, None)
