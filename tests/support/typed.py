"""A command of `gridtally-mdm` as staff type it, on the store and the clock of a test's town."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from types import ModuleType

from gridtally_cloud.customers.desk import Desk
from gridtally_shared.clock import ManualClock
from support.payday import Payday


def typed(town: Payday, area: ModuleType, *words: str) -> int:
    """The exit code; a refusal is raised."""
    parser = argparse.ArgumentParser()
    desk = Desk(town.db, town.payments, ManualClock(town.now_ms))
    area.add_parser(parser.add_subparsers(), lambda options: nullcontext(desk))
    options = parser.parse_args(words)
    code: int = options.run(options)
    return code
