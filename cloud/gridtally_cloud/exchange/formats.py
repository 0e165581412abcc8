"""The table of formats, and which of them a file is."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Sequence

from gridtally_cloud.exchange import green_button, green_button_write, long_csv, lse, ndjson, nem12, wide_csv
from gridtally_cloud.exchange.record import Asked, Content, Series, refused
from gridtally_cloud.exchange.units import INTERVAL_QUANTITIES
from gridtally_shared.records import dataclass

LARGEST_BYTES = 200_000_000

Read = Callable[[bytes, Asked], Content]
Write = Callable[[Sequence[Series], Asked], bytes]


@dataclass(frozen=True, slots=True)
class Format:
    """`looks` answers for the first line of a file that holds anything. `points`: how many usage points a file of a schedule has;
    `one_length`: its intervals are all of one length."""

    name: str
    about: str
    looks: Callable[[str], bool]
    read: Read
    write: Write
    ending: str = "csv"
    carries: frozenset[str] = frozenset(INTERVAL_QUANTITIES)
    points: int = 100
    one_length: bool = False


FORMATS: dict[str, Format] = {f.name: f for f in (
    Format("green-button", "ESPI Atom XML", green_button.looks, green_button.read, green_button_write.write,
           "xml", green_button_write.WRITTEN, points=1),
    Format("ndjson", "a JSON object a line", ndjson.looks, ndjson.read, ndjson.write, "ndjson"),
    Format("nem12", "Australian market", nem12.looks, nem12.read, nem12.write, carries=frozenset(nem12.SUFFIXES)),
    Format("lse", "Texas market", lse.looks, lse.read, lse.write, "lse", frozenset(lse.CHANNEL_OF)),
    Format("wide-csv", "a row a day", wide_csv.looks, wide_csv.read, wide_csv.write, one_length=True),
    Format("csv", "a row an interval", long_csv.looks, long_csv.read, long_csv.write),
)}  # fmt: skip


def opened(data: bytes) -> bytes:
    """Unzipped where it is zipped. Raises ContractError for what is too large, or no whole gzip file."""
    if data[:2] == b"\x1f\x8b":
        try:
            unzip = zlib.decompressobj(wbits=31)
            data = unzip.decompress(data, LARGEST_BYTES + 1)
            if not unzip.eof and len(data) <= LARGEST_BYTES:
                raise EOFError("it ends too early")
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise refused(0, "file", "", f"this gzip file can not be opened: {error}") from None
    if len(data) > LARGEST_BYTES:
        raise refused(0, "file", "", f"more than {LARGEST_BYTES // 1_000_000} MB in one file: cut it by month")
    return data


def recognised(data: bytes) -> Format:
    """The format a file looks like. Raises ContractError where it looks like none."""
    head = next((line.strip() for line in data[:65_536].decode("utf-8-sig", "replace").splitlines() if line.strip()), "")
    for known in FORMATS.values():
        if known.looks(head):
            return known
    text = f"this looks like none of {', '.join(FORMATS)}; name one with --format"
    raise refused(1, "file", head[:60], text)


def read(data: bytes, asked: Asked, name: str = "auto") -> Content:
    """Raises ContractError where the file is none of the format."""
    whole = opened(data)
    known = recognised(whole) if name == "auto" else FORMATS[name]
    return known.read(whole, asked)
