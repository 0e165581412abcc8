"""The staff's chart: what share of each day's intervals arrived. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gridtally_cloud.store.days import date_of
from gridtally_cloud.web.charts import Axis, Bar, Mark, Stop, bar_chart
from gridtally_cloud.web.i18n import Language
from gridtally_cloud.web.reads.overview import Completeness

TICKS = (0, 250, 500, 750, 1000)


def days_chart(days: Sequence[Completeness], words: Language) -> str:
    """One bar a day, in per cent."""
    axis = Axis(1000, tuple((v, f"{words.number(v // 10)} %") for v in TICKS))
    return bar_chart("days", words.t("overview.days"), [_stop(d, words) for d in days], axis)


def _stop(day: Completeness, words: Language) -> Stop:
    date = date_of(day.day)
    text = f"{words.day_of(date)}: {words.number(day.permille, 1)} % ({words.number(day.present)} / {words.number(day.expected)})"
    return Stop((Bar(day.permille, Mark.MEASURED, text),), text, f"{date.day}", date.day % 2 == 1)
