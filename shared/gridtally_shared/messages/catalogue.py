"""The sentences: code to text in English, Spanish and Hindi, one definition for edge and cloud.

* Codes and parameters travel and are stored; only whoever shows them turns them into words (prepayment.md 6.3).
* `notices` are messages to a consumer, `why` explains a supply, `charges` the lines of a tariff.
* A language or code without words falls back: to English, and then to the code itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

LANGUAGES = {"en": "English", "es": "Español", "hi": "हिन्दी"}
FALLBACK = "en"
TABLES = ("notices", "why", "charges")


@cache
def table(name: str) -> Mapping[str, Mapping[str, str]]:
    """A table of sentences: code, language, text."""
    raw = json.loads(Path(__file__).with_name(f"{name}.json").read_text(encoding="utf-8"))
    return {str(code): {str(k): str(v) for k, v in texts.items()} for code, texts in raw.items()}


def phrase(name: str, code: str, language: str) -> str | None:
    """The text with its {places}; None for a code without words."""
    texts = table(name).get(code)
    return None if texts is None else texts.get(language, texts[FALLBACK])


def places(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"{(\w+)}", text))


def language_of(*wishes: str) -> str:
    """The first of the wishes we have words for."""
    return next((w for w in wishes if w in LANGUAGES), FALLBACK)
