"""Schedules of prepayment: time frames at one's own supply, events at another's. Pure; edge and cloud use the same."""
