"""Bills and statements as pages and the command line call them."""

from __future__ import annotations

from sqlalchemy import Connection

from gridtally_cloud.billing.model import BillRow, BillView


def list_bills(conn: Connection, account_no: int) -> tuple[BillRow, ...]: ...


def bill(conn: Connection, bill_no: str) -> BillView: ...


def issue_bill(conn: Connection, account_no: int, from_ms: int, to_ms: int, at_ms: int, actor: str) -> BillView: ...


def outstanding_nano(conn: Connection, account_no: int) -> int: ...


def render_context(view: BillView, language: str) -> dict[str, object]: ...


def render_pdf(view: BillView, language: str) -> bytes: ...
