"""The report beside a file of the watched folder: what became of it, with line and field, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gridtally_cloud.exchange.bringing import Brought
from gridtally_cloud.exchange.folder_rows import FileRow
from gridtally_cloud.exchange.importing import Taken
from gridtally_cloud.exchange.record import Problem
from gridtally_cloud.exchange.units import own_unit
from gridtally_cloud.store.days import utc_text

SHOWN = 100
MEND = "Nothing of this file was taken. Mend it and put it into the folder again; what went before it is untouched."
OPTION = "Where a line above says --unit, --clock or the like, write it into folder.toml beside the files: unit = \"kWh\"."


def text_of(row: FileRow, brought: Brought) -> str:
    return "\n".join(_lines(row, brought)) + "\n"


def _lines(row: FileRow, brought: Brought) -> Iterator[str]:
    where = f"{row.source}/{row.name}" if row.source else row.name
    yield f"{where}: {'taken' if brought.is_taken else 'refused'} (file {row.number}, {row.size} bytes)"
    yield ""
    if brought.problems:
        yield from _shown(brought.problems, "problems")
        if any("--" in p.text for p in brought.problems):
            yield OPTION
        yield MEND
    for point, taken in brought.taken:
        yield f"usage point {point.number}: {sentence(taken, dry=False)}"
        yield from conflict_lines(taken, SHOWN)
    if brought.notes:
        yield from _shown(brought.notes, "notes")


def _shown(problems: Sequence[Problem], what: str) -> Iterator[str]:
    yield f"{what}:"
    yield from (f"  {problem}" for problem in problems[:SHOWN])
    if len(problems) > SHOWN:
        yield f"  and {len(problems) - SHOWN} more"


def sentence(taken: Taken, dry: bool) -> str:
    """What became of a series, in two lines; of what there is none nothing is said."""
    counts = ((taken.new, "new"), (taken.unchanged, "unchanged"), (taken.replaced, "in place of estimates"),
              (len(taken.conflicts), "contradict"), (taken.waiting, "contradicted before and wait"))  # fmt: skip
    told = ", ".join(f"{count} {word}" for count, word in counts if count) or "nothing new"
    unit, length = own_unit(taken.series.quantity), _length(taken.series.period_s)
    first = f"{taken.series.quantity}: {len(taken.series.rows)} intervals of {length}, {taken.series.total} {unit}"
    return f"{first}\n  {'would be taken' if dry else 'taken'}: {told}"


def _length(period_s: int) -> str:
    return f"{period_s} s" if period_s % 60 else f"{period_s // 60} min"


def conflict_lines(taken: Taken, most: int) -> Iterator[str]:
    for conflict in taken.conflicts[:most]:
        place = f"line {conflict.row.line}, {utc_text(conflict.row.start_ms)}"
        yield f"  {place}: {conflict.row.value} contradicts {conflict.held}, which stays; both are kept until a person decides"
