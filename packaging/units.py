"""What the systemd units set for their processes: a test and a benchmark start them the same way."""

from __future__ import annotations

from pathlib import Path

UNITS = Path(__file__).parent / "systemd"


def environment(unit: str) -> dict[str, str]:
    """The `Environment=` lines of a unit, such as "gridtally-mdm"."""
    lines = (UNITS / f"{unit}.service").read_text(encoding="utf-8").splitlines()
    settings = (line.removeprefix("Environment=").partition("=") for line in lines if line.startswith("Environment="))
    return {name: value for name, _, value in settings}
