"""What the desk commands of `gridtally-mdm` (user, import-street, credit, bill) are given: the open store and its services.

`cli.py` at the top opens it from the configuration: `OpenDesk` takes the parsed options and yields a `Desk`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.store.db import Database
from gridtally_shared.clock import Clock
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

ACTOR = "command line"
"""Who it was, in the audit."""


@dataclass(frozen=True, slots=True)
class Desk:
    """`clock` is business time; logins use the machine's own. `data_dir`: what lies beside the store."""

    db: Database
    payments: Payments
    clock: Clock
    data_dir: Path = Path()


OpenDesk = Callable[[argparse.Namespace], AbstractContextManager[Desk]]
Run = Callable[[argparse.Namespace], int]


def with_desk(open_desk: OpenDesk, work: Callable[[Desk, argparse.Namespace], int]) -> Run:
    """A `run` for argparse that opens the desk around `work`."""

    def run(options: argparse.Namespace) -> int:
        with open_desk(options) as desk:
            return work(desk, options)

    return run


def document_of(name: str, otherwise: str = "") -> str:
    """The text of a document named on the command line. Raises ConfigError; `otherwise` says what else could be named."""
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("document", name, f"{error}; name a file that can be read{otherwise}") from None
