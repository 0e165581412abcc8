"""`gridtally-dcu token`: a 20-digit token of another system, handed through the running agent to the meter that understands it.

Exit codes: 0 the meter has taken it, 1 it has not, 4 the agent or the meter has not answered in time (the request waits).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from gridtally_edge.config import load_config
from gridtally_edge.counter import Ask
from gridtally_edge.counter_command import asked, guarded, parser_of
from gridtally_shared.instruments.token import TokenStatus

SAID: dict[str, str] = {
    "taken": "the meter has taken the token",
    "refused": "the meter refuses the token: {stage} (status {status}, data {data}); ask who sold it",
    "unsure": "nobody can tell whether the meter has the token: look at the meter before anything is paid again",
    "undelivered": "the meter did not answer and has not got the token: type it again later",
    "no_gateway": "this meter takes no tokens",
    "format": "a token has 20 digits: check what was typed",
    "not_offered": "this account takes no codes or tokens here",
}
"""What is said for each tokens.TokenResult."""
STAGES: dict[int, str] = {
    TokenStatus.FORMAT_FAILED: "it is not a token it can read",
    TokenStatus.AUTHENTICATION_FAILED: "it was not made for this meter",
    TokenStatus.VALIDATION_FAILED: "it was used before or is too old",
    TokenStatus.EXECUTION_FAILED: "it could not carry it out",
}
METER_WAIT_S = 60.0


def token(arguments: Sequence[str]) -> int:
    """`gridtally-dcu token ACCOUNT DIGITS`."""
    about = "hand a 20-digit token to the meter of an account, as it is"
    parser = parser_of("token", about, "gridtally-dcu token 101 '1234 5678 9012 3456 7890'")
    parser.set_defaults(wait=METER_WAIT_S)
    parser.add_argument("account", type=int, help="number of the account")
    parser.add_argument("digits", nargs="+", help="the digits; gaps and dashes do not matter")
    return guarded("token", _token, parser.parse_args(arguments))


def _token(options: argparse.Namespace) -> int:
    answer = asked(load_config(options.config).data_dir, Ask("token", options.account, " ".join(options.digits)), options.wait)
    if options.json:
        print(json.dumps(asdict(answer)))
    else:
        sentence = SAID.get(answer.result, answer.text or answer.result)
        print(sentence.format(stage=STAGES.get(answer.status, "it says no more"), status=answer.status, data=answer.text or "none"))
    return 0 if answer.result == "taken" else 1
