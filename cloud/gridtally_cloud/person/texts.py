"""What becomes of a row at an erasure: pure functions of the row and of what names the person."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import LargeBinary, Table

from gridtally_cloud.person.held import BARE_ACTIONS, Held, pseudonym

Scrub = Callable[[str], str]


def scrubber(names: tuple[str, ...], customer_no: int) -> Scrub:
    """Replaces whole words that name the person, also inside the strings of a JSON text."""
    if not names:
        return lambda text: text
    words, new = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, names))})(?!\w)", re.IGNORECASE), pseudonym(customer_no)

    def plain(text: str) -> str:
        return words.sub(new, text)

    def within(value: Any) -> Any:
        if isinstance(value, str):
            return plain(value)
        if isinstance(value, list):
            return [within(item) for item in value]
        return {name: within(item) for name, item in value.items()} if isinstance(value, dict) else value

    def scrub(text: str) -> str:
        try:
            value = json.loads(text) if text[:1] in "[{" else None
        except ValueError:
            value = None
        if not isinstance(value, list | dict):
            return plain(text)
        after = within(value)
        return text if after == value else json.dumps(after, ensure_ascii=False)

    return scrub


def without_party(document: str, customer_no: int) -> str:
    """The document of a bill under the customer's number; every figure stays."""
    bill = json.loads(document)
    bill["party"] |= {"customer": pseudonym(customer_no), "address": ""}
    return json.dumps(bill, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def empty(table: Table, column: str) -> str | bytes:
    """What an empty value is: the column's default, such as an empty list in JSON."""
    c = table.c[column]
    if isinstance(c.type, LargeBinary):
        return b""
    return str(c.default.arg) if c.default is not None and c.default.is_scalar else ""  # type: ignore[attr-defined]


def after(table: Table, held: Held, row: Mapping[str, Any], customer_no: int, scrub: Scrub) -> dict[str, Any]:
    """The columns of a row that change, with their new values; `actor` columns are no matter of one row."""
    number = ".".join((pseudonym(customer_no), *(str(row[c.name]) for c in table.primary_key)))
    new: dict[str, Any] = {name: empty(table, name) for name in f"{held.blank} {held.secret}".split()}
    new |= dict.fromkeys(held.null.split()) | dict.fromkeys(held.name.split(), pseudonym(customer_no))
    new |= dict.fromkeys(held.unique.split(), number)
    new |= {name: without_party(row[name], customer_no) for name in held.party.split()}
    new |= {name: scrub(row[name]) for name in held.scrub.split() if row[name]}
    if held.table == "audit_row" and row["action"].startswith(BARE_ACTIONS):
        new["detail"] = ""
    return {name: value for name, value in new.items() if row[name] != value}
