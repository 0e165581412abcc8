"""How payments, events and assessments are named on paper."""

from __future__ import annotations

_EVENT = "EVENT-"


def payment_name(payment_no: int) -> str:
    return f"P-{payment_no}"


def assessment_name(assessment_no: int) -> str:
    return f"A-{assessment_no}"


def event_name(schedule_no: int) -> str:
    return f"{_EVENT}{schedule_no}"


def is_event(name: str) -> bool:
    return name.startswith(_EVENT)
