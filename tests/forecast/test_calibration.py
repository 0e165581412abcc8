"""A share of `make forecast-report` in every run: two households, judged with what the other four taught."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from forecast.households import households
from forecast.replay import Answer, Case
from forecast.report import QUICK, figures, judge, lines
from gridtally_shared.clock import MS_PER_HOUR
from support.data import data_path


@pytest.mark.covers("C3-N1")
def test_households_it_was_not_taught_with_are_forecast_safely_and_better_than_by_the_last_day() -> None:
    answers = judge(households(data_path("interval_data")), QUICK, lambda _: None)
    f = figures([a for a in answers if a.case.kind == "rundown"])
    assert f.cases >= 100
    assert f.missed == (), "\n".join(lines(answers))


def test_a_figure_that_is_missed_is_said() -> None:
    def answered(cautious_h: int, central_h: int) -> Sequence[Answer]:
        hour = MS_PER_HOUR
        case = Case("horizon", 0, 1, 20 * hour)
        return [Answer("home", "flat", case, 30 * hour, central_h * hour, cautious_h * hour)] * 20

    assert figures(answered(15, 21)).missed == ()
    assert [text.split()[0] for text in figures(answered(21, 21)).missed] == ["safe"]
    assert [text.split()[0] for text in figures(answered(11, 21)).missed] == ["median"]
    assert [text.split()[0] for text in figures(answered(15, 28)).missed] == ["better"]
