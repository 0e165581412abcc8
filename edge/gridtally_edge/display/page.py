"""The balance page as HTML: a function of what is known, in the consumer's language. No script, no outside resource.

Large type for a wall or a phone; every state is said in words, never by colour alone; links, fields and buttons are
reached by keyboard and have a visible focus.
"""

from __future__ import annotations

from html import escape

from gridtally_edge.display.account import AccountView, Message
from gridtally_edge.display.facts import as_of, charges_today, days_used, facts, lasts
from gridtally_edge.display.texts import LANGUAGES, Words
from gridtally_edge.drivers.model import SwitchState
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.messages.explain import Explanation
from gridtally_shared.messages.telling import Told, told

REFRESH_S = 60
REFRESH_NEAR_S = 15
NEAR_MS = 48 * MS_PER_HOUR
STATES: dict[SwitchState, tuple[str, str]] = {
    SwitchState.OPEN: ("off", "bad"),
    SwitchState.CLOSED: ("on", "good"),
    SwitchState.ARMED: ("armed", "warn"),
    SwitchState.NOT_FITTED: ("on", "good"),
    SwitchState.UNKNOWN: ("unknown", "plain"),
}
SIZES = ((8, "whole"), (11, "long"), (15, "longer"), (99, "longest"))
SAID = frozenset({"accepted", "not_offered", "asked", "noted", "later"})
"""What the page may say after a button was pressed."""
ANSWERS = ("accepted", "declined")


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


def balance_page(words: Words, view: AccountView, said: str = "") -> str:
    """The account's page; `said` is what a button just led to."""
    home = words.label("account_short", n=str(view.config.account_no))
    label = f"{view.config.label} · {home}" if view.config.label else home
    note = f'<p class="said" role="status">{escape(words.label(f"said_{said}"))}</p>' if said in SAID else ""
    body = f"""
<header class="who"><span>{escape(label)}</span>
<form method="post" action="/leave"><button class="quiet">{escape(words.label("leave"))}</button></form></header>
{note}{_old(words, view)}
<section class="card hero {_size(words.money(view.balance_nano))}{" empty" if view.balance_nano <= 0 else ""}" aria-labelledby="balance">
<h1 id="balance">{escape(words.label("balance"))}</h1>
<p class="amount">{escape(words.money(view.balance_nano))}</p>
{"".join(f'<p class="lasts">{escape(line)}</p>' for line in lasts(words, view))}
</section>
{_supply(words, view)}
{_emergency(words, view)}
<section class="card"><dl>{_facts(words, view)}</dl>{_charges(words, view)}</section>
{_days(words, view)}
{_messages(words, view) if view.has_messages else ""}
<p class="asof">{escape(as_of(words, view))}</p>"""
    return _frame(words, body, refresh_s(view))


def _size(amount: str) -> str:
    """A long amount is written smaller, so that it stays on one line of a phone."""
    return next(name for letters, name in SIZES if len(amount) <= letters)


def refresh_s(view: AccountView) -> int:
    """Faster when the last money is near (seed 002, alternative 1)."""
    left = view.time_left
    near = view.balance_nano <= 0 or (left is not None and left.cautious_ms is not None and left.cautious_ms - view.now_ms <= NEAR_MS)
    return REFRESH_NEAR_S if near else REFRESH_S


def _old(words: Words, view: AccountView) -> str:
    if not view.read_ms or not view.is_stale:
        return ""
    return f'<p class="alert" role="status">{escape(words.label("old", d=words.moment(view.read_ms)))}</p>'


# ---- supply ---------------------------------------------------------------------------------------------------


def _supply(words: Words, view: AccountView) -> str:
    name, tone = STATES[view.supply]
    why = told(view.explanation, words)
    by_hand = _by_hand(view.explanation)
    button = _button("/reclose", words.label(by_hand)) if by_hand else ""
    return f"""<section class="card supply {tone}" aria-labelledby="supply">
<h2 id="supply">{escape(words.label("supply"))}: <strong>{escape(words.label(name))}</strong></h2>
{_why(why) if view.explanation.headline.code != "on" else ""}{button}{_checked(why)}</section>"""


def _by_hand(explanation: Explanation) -> str:
    """The label of the button of somebody who is there: after a trip, or where nothing but presence is missing; "" none."""
    kept = {s.code for s in explanation.because if s.code.startswith("kept_")}
    return "reclose" if explanation.headline.code == "off_limit" else "at_home" if kept == {"kept_remote_close"} else ""


def _why(why: Told) -> str:
    lines = f"<p>{escape(why.headline)}</p>" + "".join(f"<p>{escape(line)}</p>" for line in why.because)
    return lines + "".join(f'<p class="do">{escape(line)}</p>' for line in why.remedy)


def _checked(why: Told) -> str:
    """The rule and each test, for whoever wants to know exactly."""
    if not why.rule and not why.tests:
        return ""
    rows = "".join(
        f'<li class="{"met" if t.holds else "unmet"}"><span class="mark">{escape(t.mark)}</span> {escape(t.asked)}'
        f"{f'<small>{escape(t.seen)}</small>' if t.seen else ''}</li>"
        for t in why.tests
    )
    tests = f"<p>{escape(why.tests_title)}</p><ul>{rows}</ul>" if rows else ""
    return f"<details><summary>{escape(why.title)}</summary><p>{escape(why.rule)}</p>{tests}</details>"


def _emergency(words: Words, view: AccountView) -> str:
    credit = view.now.emergency
    if credit.state == "none":
        return ""
    text = words.label(f"emergency_{credit.state}", b=words.money(credit.left_nano), u=words.money(credit.used_nano))
    take = _button("/emergency", words.label("emergency_take")) if credit.state == "offered" else ""
    head = f'<h2 id="emergency">{escape(words.label("emergency"))}</h2>'
    return f'<section class="card" aria-labelledby="emergency">{head}<p>{escape(text)}</p>{take}</section>'


def _button(action: str, label: str, name: str = "", value: str = "", tone: str = "") -> str:
    field = f'<input type="hidden" name="{name}" value="{escape(value)}">' if name else ""
    return f'<form method="post" action="{action}">{field}<button{f" class={tone}" if tone else ""}>{escape(label)}</button></form>'


# ---- facts ----------------------------------------------------------------------------------------------------


def _facts(words: Words, view: AccountView) -> str:
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts(words, view))


def _charges(words: Words, view: AccountView) -> str:
    """The lines of today's cost, for whoever wants to follow them."""
    lines = charges_today(words, view)
    rows = "".join(
        f'<li class="line"><span>{escape(line.what)}{f"<small>{escape(line.how)}</small>" if line.how else ""}</span>'
        f"<b>{escape(words.money(line.amount_nano))}</b></li>"
        for line in lines
    )
    title = escape(words.label("charges_today"))
    return f"<details><summary>{title}</summary><ul>{rows}</ul></details>" if rows else ""


# ---- use ------------------------------------------------------------------------------------------------------


def _days(words: Words, view: AccountView) -> str:
    """What a day usually takes and what the last ones took, each as a bar and in figures."""
    days = tuple(days_used(words, view))
    if not days:
        return ""
    most_wh = max(1, *(day.wh for day in days))
    rows = "".join(
        f'<li class="day"><span>{escape(day.name)}</span>'
        f'<meter min="0" max="{most_wh}" value="{max(0, day.wh)}" aria-hidden="true"></meter><b>{escape(day.kwh)}</b></li>'
        for day in days
    )
    usual = words.label("usual_day"), words.kwh(view.daily_wh) if view.daily_wh is not None else words.label("no_usual")
    head = f'<h2 id="days">{escape(words.label("last_days"))}</h2>'
    mean = f"<dl><div><dt>{escape(usual[0])}</dt><dd>{escape(usual[1])}</dd></div></dl>"
    return f'<section class="card" aria-labelledby="days">{head}{mean}<ul>{rows}</ul></section>'


# ---- messages -------------------------------------------------------------------------------------------------


def _messages(words: Words, view: AccountView) -> str:
    items = "".join(_message(words, m) for m in view.messages)
    listed = f"<ul>{items}</ul>" if items else f"<p>{escape(words.label('no_messages'))}</p>"
    return f'<section class="card" aria-labelledby="messages"><h2 id="messages">{escape(words.label("messages"))}</h2>{listed}</section>'


def _message(words: Words, message: Message) -> str:
    text = escape(words.message(message.code, message.params, message.text))
    return f"<li><time>{escape(words.moment(message.at_ms))}</time> {text}{_answer(words, message)}</li>"


def _answer(words: Words, message: Message) -> str:
    """What was said to it and done with it, and the buttons for what may follow."""
    done = message.filed or (message.state if message.state in ("read", *ANSWERS) else "")
    state = f'<span class="state">{escape(words.label(f"is_{done}"))}</span>' if done else ""
    number = str(message.message_no)
    buttons = "".join(
        _button("/message", words.label(label), "answer", f"{number}.{word}", "quiet") for word, label in _words_left(message)
    )
    return f'{state}<div class="answers">{buttons}</div>' if buttons else state


def _words_left(message: Message) -> tuple[tuple[str, str], ...]:
    """What may be said to a message, and the label of its button. Only one whose sender waits for a word asks for it."""
    if not message.wants_a_word:
        return ()
    answers = (("accepted", "say_yes"), ("declined", "say_no")) if message.asks else ()
    unread = (("read", "read"), *answers) if message.state not in ("read", *ANSWERS) and not message.filed else ()
    save = (("saved", "save"),) if message.is_open and not message.filed else ()
    return (*unread, *save, *((("deleted", "delete"),) if message.is_open else ()))


def _frame(words: Words, body: str, refresh: int = 0) -> str:
    again = f'<meta http-equiv="refresh" content="{refresh};url=/">' if refresh else ""
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
