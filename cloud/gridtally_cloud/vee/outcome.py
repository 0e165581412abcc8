"""What became of days that were judged, and how it is written down."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import put_rows
from gridtally_cloud.store.tables import STATUS, vee_run
from gridtally_cloud.vee.model import Finding
from gridtally_shared.records import dataclass

VALIDATED, ESTIMATED, EDITED, FAILED = "validated", "estimated", "edited", "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`estimates` is the number of intervals that have a value of ours; `changed` says that what stood before is another now."""

    day: int
    channel_no: int
    status: str
    findings: tuple[Finding, ...]
    estimates: int = 0
    changed: bool = False


class Verdict(NamedTuple):
    """A row of `vee_run`: `version` is the one that was closed, `stands` the one that stands from now on."""

    day: int
    channel_no: int
    version: int
    rule_set: str
    status: str
    findings: int
    at_ms: int
    stands: int


_COLUMNS = ("shard", *Verdict._fields)


def keep_verdicts(conn: Connection, verdicts: Iterable[Verdict]) -> None:
    """From now on these days wait no more."""
    rows = sorted((SHARD, v.day, v.channel_no, v.version, v.rule_set, STATUS.code(v.status), v.findings, v.at_ms, v.stands)
                  for v in verdicts)  # fmt: skip
    put_rows(conn, vee_run, _COLUMNS, rows, replace=True, in_order=True)
