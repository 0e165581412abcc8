"""The balance page as HTML: a function of what is known, in the consumer's language. No script, no outside resource.

Large type for a wall or a phone; every state is said in words, never by colour alone; links, fields and buttons are
reached by keyboard and have a visible focus.
"""

from __future__ import annotations

from html import escape

from gridtally_edge.display.account import AccountView
from gridtally_edge.display.texts import LANGUAGES, Words
from gridtally_edge.drivers.model import SwitchState

REFRESH_S = 60
STATES: dict[SwitchState, tuple[str, str]] = {
    SwitchState.OPEN: ("off", "bad"),
    SwitchState.CLOSED: ("on", "good"),
    SwitchState.ARMED: ("armed", "warn"),
    SwitchState.NOT_FITTED: ("on", "good"),
    SwitchState.UNKNOWN: ("unknown", "plain"),
}
RESTORE_REASONS = ("holds", "remote_close", "load_side", "stuck")
HELD_REASONS = ("protected_hours", "holds")


def login_page(words: Words, account: str = "", problem: str = "") -> str:
    """The way in; `problem` is said above the form and tied to its fields."""
    alert = f'<p class="alert" id="problem" role="alert">{escape(problem)}</p>' if problem else ""
    described = ' aria-describedby="problem"' if problem else ""
    focus = ("", " autofocus") if account else (" autofocus", "")
    body = f"""
<section class="card">
<h1>{escape(words.label("title"))}</h1>
{alert}
<form method="post" action="/open">
<label for="account">{escape(words.label("account"))}</label>
<input id="account" name="account" inputmode="numeric" pattern="[0-9]*" maxlength="18" autocomplete="username" required
 value="{escape(account)}"{described}{focus[0]}>
<label for="pin">{escape(words.label("pin"))}</label>
<input id="pin" name="pin" type="password" inputmode="numeric" maxlength="64" autocomplete="current-password" required{described}{focus[1]}>
<button>{escape(words.label("open"))}</button>
</form>
<p class="hint">{escape(words.label("hint"))}</p>
</section>"""
    return _frame(words, body)


def trouble_page(words: Words) -> str:
    return _frame(words, f'<section class="card"><p class="alert" role="alert">{escape(words.label("not_ready"))}</p></section>')


def balance_page(words: Words, view: AccountView) -> str:
    """The account's page."""
    home = words.label("account_short", n=str(view.config.account_no))
    label = f"{view.config.label} · {home}" if view.config.label else home
    body = f"""
<header class="who"><span>{escape(label)}</span>
<form method="post" action="/leave"><button class="quiet">{escape(words.label("leave"))}</button></form></header>
{_old(words, view)}
<section class="card hero{" empty" if view.balance_nano <= 0 else ""}" aria-labelledby="balance">
<h1 id="balance">{escape(words.label("balance"))}</h1>
<p class="amount">{escape(words.money(view.balance_nano))}</p>
<p class="lasts">{escape(_lasts(words, view))}</p>
</section>
{_supply(words, view)}
<section class="card"><dl>{_facts(words, view)}</dl></section>
{_messages(words, view)}
<p class="asof">{escape(_as_of(words, view))}</p>"""
    return _frame(words, body, refresh=True)


def _old(words: Words, view: AccountView) -> str:
    if not view.read_ms or not view.is_stale:
        return ""
    return f'<p class="alert" role="status">{escape(words.label("old", d=words.moment(view.read_ms)))}</p>'


def _lasts(words: Words, view: AccountView) -> str:
    if view.balance_nano <= 0:
        return words.label("used_up")
    if view.energy_left_wh is None:
        return ""
    kwh = f"{view.energy_left_wh // 100 / 10:.1f}"
    if view.time_left_ms is None:
        return words.label("enough_kwh", kwh=kwh)
    lasts = words.label("enough_for", t=words.span(view.time_left_ms), kwh=kwh)
    return f"{lasts} ({words.label('estimate')})"


def _supply(words: Words, view: AccountView) -> str:
    name, tone = STATES[view.supply]
    why = supply_reason(words, view)
    said = f"<p>{escape(why)}</p>" if why else ""
    return f"""<section class="card supply {tone}" aria-labelledby="supply">
<h2 id="supply">{escape(words.label("supply"))}: <strong>{escape(words.label(name))}</strong></h2>{said}</section>"""


def supply_reason(words: Words, view: AccountView) -> str:
    """Why the supply is as it is, from the stored evidence; '' when there is nothing to explain."""
    since = words.moment(view.off_since_ms) if view.off_since_ms else "?"
    if view.supply is SwitchState.ARMED:
        return words.reason("armed")
    if view.supply is not SwitchState.OPEN:
        return _held(words, view)
    if view.off_reason == "balance":
        return _unpaid(words, view, since) if view.to_pay_nano > 0 else _restoring(words, view)
    return words.reason(view.off_reason if view.off_reason in ("order", "unordered") else "unordered", d=since)


def _unpaid(words: Words, view: AccountView, since: str) -> str:
    return words.reason("balance", d=since, a=words.asked(view.to_pay_nano))


def _restoring(words: Words, view: AccountView) -> str:
    failed = {t.name: t.seen for t in view.why.tests if not t.holds} if view.why else {}
    name = next((n for n in RESTORE_REASONS if n in failed), None)
    return words.reason(f"restore_{name}", why=failed[name]) if name else words.reason("balance_paid")


def _held(words: Words, view: AccountView) -> str:
    if view.why is None or view.why.verdict != "held":
        return ""
    failed = {t.name: t.seen for t in view.why.tests if not t.holds}
    name = next((n for n in HELD_REASONS if n in failed), None)
    return words.reason(f"held_{name}", why=failed[name].split(" (")[0]) if name else words.reason("held")


def _facts(words: Words, view: AccountView) -> str:
    rows = [(words.label("price"), _price(words, view))]
    if view.price_per_day_nano:
        rows.append((words.label("day"), words.price(view.price_per_day_nano)))
    rows.append((words.label("topup"), _topup(words, view)))
    if view.debt_nano > 0:
        rows.append((words.label("debt"), words.money(view.debt_nano)))
    if view.register_wh is not None:
        rows.append((words.label("register"), f"{view.register_wh // 1000:,}.{view.register_wh % 1000:03d} kWh".replace(",", "\u202f")))
    rows.append((words.label("meter"), view.serial))
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows)


def _price(words: Words, view: AccountView) -> str:
    if view.price_per_kwh_nano is None:
        return words.label("no_price")
    return words.label("price_value", p=words.price(view.price_per_kwh_nano))


def _topup(words: Words, view: AccountView) -> str:
    if view.topup is None:
        return words.label("no_topup")
    return words.label("topup_value", a=words.money(view.topup.amount_nano), d=words.moment(view.topup.at_ms))


def _messages(words: Words, view: AccountView) -> str:
    items = "".join(
        f"<li><time>{escape(words.moment(m.at_ms))}</time> {escape(words.message(m.code, m.params, m.text))}</li>"
        for m in view.messages
    )
    listed = f"<ul>{items}</ul>" if items else f"<p>{escape(words.label('no_messages'))}</p>"
    return f'<section class="card" aria-labelledby="messages"><h2 id="messages">{escape(words.label("messages"))}</h2>{listed}</section>'


def _as_of(words: Words, view: AccountView) -> str:
    if not view.as_of_ms:
        return words.label("never")
    return words.label("as_of", d=words.moment(view.as_of_ms), n=str(view.seq))


def _frame(words: Words, body: str, refresh: bool = False) -> str:
    again = f'<meta http-equiv="refresh" content="{REFRESH_S}">' if refresh else ""
    links = "".join(
        f'<a href="/language/{code}" lang="{code}"{" aria-current=true" if code == words.language else ""}>{escape(name)}</a>'
        for code, name in LANGUAGES.items()
    )
    return f"""<!doctype html>
<html lang="{words.language}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">{again}
<title>{escape(words.label("title"))}</title><link rel="stylesheet" href="/style.css"></head>
<body><main>{body}</main>
<nav aria-label="{escape(words.label("language"))}">{links}</nav></body></html>
"""
