"""The list of erasures beside the store: `erasures.jsonl` in the data folder, a line each, only ever added to.

A store that is put back from an older copy holds people again who were erased since; the list says whom. It holds no personal data: the
customer's number, when that customer was made (a number may be given again after a restore, the time is another), and when it was erased.
Keep it apart from the copies of the store, or the restore takes it back as well.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from sqlalchemy import Connection, select

from gridtally_cloud.customers.tables import customer
from gridtally_cloud.person.tables import erasure
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

NAME = "erasures.jsonl"


@dataclass(frozen=True, slots=True)
class Line:
    customer_no: int
    created_ms: int
    erased_ms: int


def append(file: Path, line: Line) -> None:
    """On the disk when this returns; once for each customer."""
    if line.customer_no in {known.customer_no for known in lines(file) if known.created_ms == line.created_ms}:
        return
    text = json.dumps({"customer_no": line.customer_no, "created_ms": line.created_ms, "erased_ms": line.erased_ms})
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as out:
            out.write(f"{_mend(file)}{text}\n")
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise ConfigError("data_dir", str(file), f"the list of erasures can not be written ({error.strerror}); nothing is erased") from None


def _mend(file: Path) -> str:
    """A line that a power cut left without its end stays alone."""
    return "" if not file.stat().st_size or file.read_bytes().endswith(b"\n") else "\n"


def lines(file: Path) -> tuple[Line, ...]:
    """What a power cut left half is passed over: its erasure had not ended."""
    found = []
    for text in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            raw = json.loads(text)
            found.append(Line(int(raw["customer_no"]), int(raw["created_ms"]), int(raw["erased_ms"])))
        except (ValueError, KeyError, TypeError):
            continue
    return tuple(found)


def back_again(conn: Connection, file: Path) -> tuple[Line, ...]:
    """Who is on the list and in the store, and not erased there."""
    found = lines(file)
    query = select(customer.c.customer_no, customer.c.created_ms).where(customer.c.customer_no.in_([line.customer_no for line in found]))
    made = {row.customer_no: row.created_ms for row in conn.execute(query)} if found else {}
    done = set(conn.execute(select(erasure.c.customer_no)).scalars())
    return tuple(line for line in found if made.get(line.customer_no) == line.created_ms and line.customer_no not in done)
