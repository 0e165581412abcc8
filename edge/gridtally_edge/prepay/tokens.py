"""Tokens of other systems handed to the meter that understands them: once, whoever brings them, and never interpreted.

* A token for a meter is one row, found by the hash of its digits; commands and people at the counter wait for its end.
* Before it is entered the meter is looked at: where its gateway holds this token it has had it. After a lost answer it is
  entered again only when the meter certainly did not get it; where nobody can tell, that is the answer (`unsure`).
* The same token brought again gets the stored end; only one that certainly never arrived is tried anew.
* Status and data value of the meter travel in the receipt and in an event; the digits stay here, and only until the end.

Source: prepayment.md 1.5 (TokenRelay).
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

from gridtally_edge.prepay.command_states import RETRY_MS, end, move
from gridtally_edge.prepay.events import ReadFinished, RunTask, TokenAnswered, TokenEntered
from gridtally_edge.prepay.rows import CommandRow, one, save, some
from gridtally_edge.prepay.token_rows import TokenAskerRow, TokenRow
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import Command, CommandType
from gridtally_shared.errors import ContractError
from gridtally_shared.instruments.token import TAKEN, TokenOrder, TokenOutcome, is_final, token_digits
from gridtally_shared.lifecycle import CommandState, Reason

COMMAND, COUNTER = "command", "counter"
KEPT_MS = 400 * MS_PER_DAY
COUNTER_WAIT_MS = 600_000
S = CommandState


class TokenResult(StrEnum):
    """What became of a token. Values are stored, shown and reported: never renamed."""

    TAKEN = "taken"
    REFUSED = "refused"
    UNSURE = "unsure"
    UNDELIVERED = "undelivered"
    NO_GATEWAY = "no_gateway"
    FORMAT = "format"
    NOT_OFFERED = "not_offered"


R = TokenResult
ENDS: dict[TokenResult, tuple[CommandState, str]] = {
    R.TAKEN: (S.DONE, ""),
    R.REFUSED: (S.REFUSED, Reason.TOKEN_REFUSED),
    R.UNSURE: (S.FAILED, Reason.NOT_READ_BACK),
    R.UNDELIVERED: (S.FAILED, Reason.NO_ANSWER),
    R.NO_GATEWAY: (S.REFUSED, Reason.UNSUPPORTED),
}
"""How a command ends whose token ended so."""
EVENTS: dict[TokenResult, str] = {R.TAKEN: "token_taken", R.REFUSED: "token_refused", R.UNSURE: "token_lost"}
AGAIN = frozenset({R.UNDELIVERED, R.NO_GATEWAY})
"""Ends after which the meter certainly has not had it: brought again, it is tried again."""
GIVES_UP: dict[str, TokenResult] = {Reason.UNSUPPORTED: R.NO_GATEWAY, Reason.NOT_READ_BACK: R.UNSURE}
"""Answers of the rim after which trying again leads nowhere; after all others it is tried until its time is over."""


def ordered(turn: Turn, row: CommandRow, command: Command) -> None:
    """A TOKEN command."""
    digits = _digits_of(command)
    if digits is None:
        end(turn, row, S.REFUSED, Reason.MALFORMED)
        return
    row.tries += 1
    move(turn, row, S.EXECUTING)
    _bring(turn, row.meter_no, digits, TokenAskerRow(row.cmd_id, b"", COMMAND), row.expires_ms)


def entered(turn: Turn, event: TokenEntered) -> None:
    """A person at the counter. Codes and tokens are taken where the account offers a keypad."""
    known = one(turn.db, TokenAskerRow, event.entry_id)
    if known is not None:
        _answer_again(turn, known)
        return
    account, digits = turn.plan.accounts.get(event.account_no), token_digits(event.text)
    if account is None or not account.keypad_key or account.meter_no not in turn.plan.meters:
        turn.effects.append(TokenAnswered(event.entry_id, R.NOT_OFFERED))
    elif digits is None:
        turn.effects.append(TokenAnswered(event.entry_id, R.FORMAT))
    else:
        asker = TokenAskerRow(event.entry_id, b"", COUNTER)
        _bring(turn, account.meter_no, digits, asker, turn.now_ms + COUNTER_WAIT_MS)


def finished(turn: Turn, done: ReadFinished) -> bool:
    """The rim is back from the meter; False when the id is no token's."""
    row = one(turn.db, TokenRow, done.cmd_id)
    if row is None or row.result:
        return row is not None
    row.reached = int(row.reached or done.sent)
    outcome = decode(TokenOutcome, done.result) if done.ok else None
    if outcome is not None:
        row.status, row.data, row.entered_ms = outcome.status, outcome.data, outcome.entered_ms
    if outcome is not None and is_final(outcome.status):
        _end(turn, row, R.TAKEN if outcome.status == TAKEN else R.REFUSED)
    elif done.reason in GIVES_UP and not (done.reason == Reason.UNSUPPORTED and row.reached):
        _end(turn, row, GIVES_UP[done.reason], done.reason)
    else:
        row.reason, row.due_ms = done.reason, turn.now_ms + RETRY_MS
        save(turn.db, row)
    return True


def run_due(turn: Turn) -> None:
    """Try again what has waited; end what has waited too long."""
    for row in some(turn.db, TokenRow, "WHERE result = '' AND due_ms <= ?", turn.now_ms):
        _try_or_end(turn, row)


def resume(turn: Turn) -> None:
    """After a restart: nobody knows how far the conversation came, so the meter is looked at first."""
    for row in some(turn.db, TokenRow, "WHERE result = '' AND due_ms IS NULL"):
        row.reached = 1
        _try_or_end(turn, row)


def next_due_ms(turn: Turn) -> int | None:
    found = turn.db.execute("SELECT min(due_ms) FROM token WHERE result = '' AND due_ms > ?", (turn.now_ms,)).fetchone()[0]
    return None if found is None else int(found)


def prune(turn: Turn) -> None:
    """Forget old ends; the meter's own memory of used tokens goes on."""
    turn.db.execute("DELETE FROM token WHERE result <> '' AND at_ms < ?", (turn.now_ms - KEPT_MS,))
    turn.db.execute("DELETE FROM token_asker WHERE token_id NOT IN (SELECT token_id FROM token)")


def _digits_of(command: Command) -> str | None:
    try:
        return token_digits(decode(TokenOrder, command.detail).digits)
    except ContractError:
        return None


def _bring(turn: Turn, meter_no: int, digits: str, asker: TokenAskerRow, until_ms: int) -> None:
    meter = turn.plan.meters[meter_no]
    asker.token_id = hashlib.sha256(f"token|{meter_no}|{meter.serial}|{digits}".encode()).digest()[:16]
    row = one(turn.db, TokenRow, asker.token_id)
    save(turn.db, asker)
    if row is not None and row.result and row.result not in AGAIN:
        _answer(turn, row, asker)
        return
    if row is not None and not row.result:
        row.until_ms = max(row.until_ms, until_ms)
        save(turn.db, row)
        return
    turn.db.execute("DELETE FROM token_asker WHERE token_id = ? AND asker_id <> ?", (asker.token_id, asker.asker_id))
    _run(turn, TokenRow(asker.token_id, meter_no, digits, turn.now_ms, until_ms))


def _answer_again(turn: Turn, asker: TokenAskerRow) -> None:
    row = one(turn.db, TokenRow, asker.token_id)
    if row is not None and row.result:
        _answer(turn, row, asker)


def _try_or_end(turn: Turn, row: TokenRow) -> None:
    if turn.now_ms <= row.until_ms:
        _run(turn, row)
    else:
        _end(turn, row, R.UNSURE if row.reached else R.UNDELIVERED, row.reason)


def _run(turn: Turn, row: TokenRow) -> None:
    row.due_ms = None
    save(turn.db, row)
    meter = turn.plan.meters.get(row.meter_no)
    if meter is None:
        _end(turn, row, R.UNSURE if row.reached else R.UNDELIVERED, Reason.UNKNOWN_METER)
        return
    task = RunTask(row.token_id, row.meter_no, meter.serial, CommandType.TOKEN, row.since_ms, row.until_ms,
                   again=bool(row.reached), token=row.digits)  # fmt: skip
    turn.effects.append(task)


def _end(turn: Turn, row: TokenRow, result: TokenResult, reason: str = "") -> None:
    row.result, row.reason, row.digits, row.due_ms, row.at_ms = str(result), str(reason), "", None, turn.now_ms
    save(turn.db, row)
    askers = some(turn.db, TokenAskerRow, "WHERE token_id = ?", row.token_id)
    if result in EVENTS:
        carriers = ",".join(sorted({asker.carrier for asker in askers}))
        turn.report(row.meter_no, EVENTS[result], f"token={row.token_id.hex()[:8]} status={row.status} data={row.data} by={carriers}")
    for asker in askers:
        _answer(turn, row, asker)


def _answer(turn: Turn, row: TokenRow, asker: TokenAskerRow) -> None:
    result = TokenResult(row.result)
    if asker.carrier == COUNTER:
        turn.effects.append(TokenAnswered(asker.asker_id, result, row.status, row.data))
        return
    command = one(turn.db, CommandRow, asker.asker_id)
    if command is None or command.state in (S.DONE, S.REFUSED, S.FAILED, S.EXPIRED, S.CANCELLED):
        return
    state, reason = ENDS[result]
    told = encode(TokenOutcome(row.status, row.data, row.entered_ms)) if row.status >= 0 else b""
    end(turn, command, state, reason, told)
