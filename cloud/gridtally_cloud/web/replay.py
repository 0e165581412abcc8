"""Staff: an account replayed from both streams, and the credits that take long. Thin: what is shown is made in prepay."""

from __future__ import annotations

from flask import Blueprint, render_template

from gridtally_cloud.prepay.replay_view import Part, ReplayLine, Side, replayed
from gridtally_cloud.prepay.resend import late_credits
from gridtally_cloud.web.i18n import Language, catalogue
from gridtally_cloud.web.site import site
from gridtally_cloud.web.speech import notice_text
from gridtally_cloud.web.visitor import own_account, words
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.lines import Line, quantity_text, rate_text

replay = Blueprint("replay", __name__, url_prefix="/desk")


@dataclass(frozen=True, slots=True)
class Row:
    """A line as the page shows it: what happened, and where the money of it went."""

    line: ReplayLine
    sentence: str
    parts: tuple[str, ...]
    charges: tuple[str, ...]

    @property
    def by_edge(self) -> bool:
        return self.line.side is Side.EDGE


@replay.get("/accounts/<int:account_no>/replay")
def account(account_no: int) -> str:
    with site().db.read() as conn:
        found = own_account(conn, account_no)
        view = replayed(conn, account_no)
    rows = [_row(line, words(found.zone), view.currency) for line in reversed(view.lines)]
    return render_template("staff/replay.html", account=found, view=view, rows=rows)


@replay.get("/late")
def late() -> str:
    with site().db.read() as conn:
        return render_template("staff/late.html", late=late_credits(conn))


def _row(line: ReplayLine, say: Language, currency: str) -> Row:
    return Row(line, sentence(line, say, currency), tuple(_part(p, say, currency) for p in line.parts if p.pool != "received"),
               tuple(_charge(c, say, currency) for c in line.charges))  # fmt: skip


def sentence(line: ReplayLine, say: Language, currency: str) -> str:
    """What happened, in one sentence."""
    if line.notice is not None:
        return f"{say.name_of('entry', line.kind)}: {notice_text(line.notice, currency)}"
    key, amount_nano = _key(line)
    if key not in catalogue(say.code):
        return say.name_of("entry", line.kind)
    return say.t(key, no=line.payment_no or "–", gseq=line.gseq, method=say.name_of("method", line.method),
                 amount=say.money(amount_nano, currency, True), kwh=say.kwh(line.energy_wh, 3),
                 before=say.kwh(line.register_before_wh or 0, 3), after=say.kwh(line.register_after_wh or 0, 3),
                 version=line.tariff_version)  # fmt: skip


def _key(line: ReplayLine) -> tuple[str, int]:
    """Which sentence, and the amount it is about. A signed correction (it has a number) gives back, or becomes a debt."""
    if line.kind != "correction" or not line.gseq:
        return f"replay.{line.kind}", abs(line.amount_nano)
    charged_nano = sum(part.amount_nano for part in line.parts if part.pool == "energy")
    return f"replay.corrected_{'debt' if charged_nano > 0 else 'back'}", abs(charged_nano)


def _charge(line: Line, say: Language, currency: str) -> str:
    """A line of the tariff, such as "energy: 1.2 kWh x 7 per kWh = 8.40"."""
    return f"{line.code}: {quantity_text(line)} × {rate_text(line)}/{line.per} = {say.money(line.amount_nano, currency, True)}"


def _part(part: Part, say: Language, currency: str) -> str:
    return f"{say.name_of('pool', part.pool)} {say.money(part.amount_nano, currency, True)}"
