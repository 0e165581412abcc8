"""What a page says, without its markup."""

from __future__ import annotations

import html
import re


def plain(page: str) -> str:
    """The words of a page in one line, no-break spaces as spaces."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page))).replace("\u00a0", " ")
