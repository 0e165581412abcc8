"""What the commands share that hand something to the running agent over the counter: their options, the wait, the words of an error."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from gridtally_edge.config import DEFAULT_CONFIG
from gridtally_edge.counter import OF_THE_MOMENT, Answer, Ask, Counter
from gridtally_shared.errors import GridtallyError, LinkDown


def parser_of(name: str, about: str, example: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"gridtally-dcu {name}", description=about[0].upper() + about[1:] + ".", epilog=f"example: {example}"
    )
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help=f"bootstrap file ({DEFAULT_CONFIG})")
    parser.add_argument("--wait", type=float, default=15.0, metavar="SECONDS", help="how long to wait for the answer (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a sentence")
    return parser


def asked(data_dir: Path, ask: Ask, wait_s: float) -> Answer:
    """Raises LinkDown where no answer came in time, with what became of the request."""
    answer = Counter(data_dir).asked(ask, wait_s)
    if answer is not None:
        return answer
    if ask.kind in OF_THE_MOMENT:
        raise LinkDown("the agent does not answer, and the request is taken back: start it, then ask again")
    raise LinkDown("the agent does not answer: is it running? The request is kept and it takes it in when it starts")


def guarded(name: str, run: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    try:
        return run(options)
    except GridtallyError as error:
        print(f"gridtally-dcu {name}: {error}", file=sys.stderr)
        return error.exit_code
