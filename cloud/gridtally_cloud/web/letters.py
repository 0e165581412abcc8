"""The consumer's messages: what the meter's side and the utility told, read, kept or deleted here as on the display.

* A word said here is the portal's own (`notice_word`); one said on the display came up as an event. Who deletes a message sees it no
  more on either list of ours; the account's journal keeps it.
"""

from __future__ import annotations

from flask import Blueprint, abort, redirect, render_template, request, url_for
from sqlalchemy import Connection
from werkzeug.wrappers import Response as BaseResponse

from gridtally_cloud.customers import price_notices
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.model import Notice
from gridtally_cloud.prepay.notices import TOLD, told
from gridtally_cloud.web.site import site
from gridtally_cloud.web.visitor import own_account
from gridtally_shared.records import dataclass

letters = Blueprint("letters", __name__, url_prefix="/account/<int:account_no>/messages")

SHOWN = 50
OF_THE_CLOUD = 20


@dataclass(frozen=True, slots=True)
class Letter:
    """A message and what was done with it: '', 'read' or 'saved'."""

    notice: Notice
    word: str

    @property
    def at_ms(self) -> int:
        return self.notice.at_ms

    @property
    def wants_a_word(self) -> bool:
        """Somebody waits to hear that it was seen."""
        return self.notice.code == price_notices.NEW_PRICES

    @property
    def is_told(self) -> bool:
        """A message, and no decision about the supply: those stay in the list."""
        return self.notice.kind in ("notice", TOLD)


def letters_of(conn: Connection, account_no: int, limit: int) -> tuple[Letter, ...]:
    """The newest messages that were not deleted, newest first."""
    found = (*told(conn, account_no, OF_THE_CLOUD), *prepay.messages(conn, account_no, SHOWN))
    words = price_notices.words_of(conn, account_no, [n.ref for n in found])
    left = [Letter(n, words.get(n.ref, "")) for n in found if words.get(n.ref) != "deleted"]
    return tuple(sorted(left, key=lambda letter: letter.at_ms, reverse=True)[:limit])


@letters.get("/")
def page(account_no: int) -> str:
    with site().db.read() as conn:
        account = own_account(conn, account_no)
        return render_template("consumer/messages.html", account=account, letters=letters_of(conn, account_no, SHOWN))


@letters.post("/")
def say(account_no: int) -> BaseResponse:
    ref, word = request.form.get("ref", ""), request.form.get("word", "")
    with site().db.write() as conn:
        own_account(conn, account_no)
        mine = {letter.notice.ref for letter in letters_of(conn, account_no, SHOWN) if letter.is_told}
        if word not in price_notices.WORDS or ref not in mine:
            abort(404)
        price_notices.say(conn, account_no, ref, word, site().now_ms, price_notices.PORTAL)
    return redirect(url_for("letters.page", account_no=account_no))
