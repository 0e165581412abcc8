"""The pages of the demo as the household sees them: the balance page in the home, the portal from afar. A small browser."""

from __future__ import annotations

import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from html.parser import HTMLParser
from http.cookiejar import CookieJar

PATIENCE_S = 60.0
BREAKS = frozenset({"p", "li", "h1", "h2", "h3", "div", "section", "summary", "dt", "dd", "tr", "small", "header", "main", "button"})
UNSEEN = frozenset({"script", "style", "head"})


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says, line by line."""

    url: str
    html: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(self.lines)

    def about(self, sentence: str, most: int) -> tuple[str, ...]:
        """The line that holds `sentence`, and the next ones."""
        place = next((n for n, line in enumerate(self.lines) if plain(sentence) in line), None)
        return () if place is None else self.lines[place : place + most]


class _Lines(HTMLParser):
    """The text a person sees, a line for each block."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = [""]
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unseen += tag in UNSEEN
        if tag in BREAKS:
            self.lines.append("")

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in UNSEEN
        if tag in BREAKS:
            self.lines.append("")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.lines[-1] += data


def plain(text: str) -> str:
    """With one blank wherever there is any space."""
    return re.sub(r"\s+", " ", text).strip()


def lines_of(html: str) -> tuple[str, ...]:
    reader = _Lines()
    reader.feed(html)
    return tuple(line for raw in reader.lines if (line := plain(raw)))


class Browser:
    """One person's browser: it keeps cookies and follows redirects."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def get(self, path: str = "") -> Page:
        return self._page(urllib.request.Request(self._base + path))

    def post(self, path: str, **fields: str) -> Page:
        body = urllib.parse.urlencode(fields).encode()
        return self._page(urllib.request.Request(self._base + path, body, {"Referer": self._base}))

    def _page(self, request: urllib.request.Request) -> Page:
        try:
            with self._opener.open(request, timeout=PATIENCE_S) as answer:
                url, html = str(answer.url), answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            url, html = request.full_url, error.read().decode("utf-8", "replace")
        return Page(url, html, lines_of(html))


def balance_page(base: str, account_no: int, pin: str) -> Browser:
    """The local page, opened with account and PIN."""
    browser = Browser(base)
    browser.post("open", account=str(account_no), pin=pin)
    return browser


def portal(base: str, login: str, password: str) -> Browser:
    """The MDM's pages, logged in."""
    browser = Browser(base)
    form = browser.get("login").html
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', form)
    browser.post("login", csrf_token=token.group(1) if token else "", login=login, password=password, next="")
    return browser
