"""`gridtally-dcu status`: status.json in words."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gridtally_edge.config import load_config
from gridtally_shared.errors import LinkDown

STALE_S = 10.0


def print_status(config_file: Path, as_json: bool) -> int:
    """Exit code 0 when the agent runs; raises LinkDown when it does not."""
    path = load_config(config_file).status_file
    try:
        age_s = time.time() - path.stat().st_mtime
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LinkDown(f"the agent has never run here ({path} is missing); start it with 'gridtally-dcu run'") from None
    if as_json:
        print(text)
    else:
        print(status_text(json.loads(text)))
    if age_s > STALE_S:
        raise LinkDown(f"the agent does not run: its last status is {age_s:.0f} s old")
    return 0


def status_text(status: dict[str, Any]) -> str:
    uplink = status["uplink"]
    lines = [
        f"{status['dcu']}  version {status['version']}  clock {status['clock_state']}  configuration {status['config_version']}",
        f"readings   {status['samples']} samples, {status['intervals']} intervals",
        f"uplink     {uplink['state']}  {uplink['waiting']} waiting, {uplink['in_flight']} on their way  {uplink['trouble']}",
    ]
    if any(status.get("pushes", {}).values()):
        lines.append(_pushes(status["pushes"]))
    if status["slowed_to"]:
        lines.append(f"time       slowed down to {status['slowed_to']:.0f} times real time: the lines could not keep up")
    lines += [f"line       {row['name']:12} {row['state']:6} {row['device']}  {row['trouble']}" for row in status["lines"]]
    lines += [_meter(row) for row in status["meters"]]
    return "\n".join(lines)


def _pushes(counts: dict[str, int]) -> str:
    return (
        f"pushes     {counts['strangers']} senders that nobody here can read, {counts['refused']} messages refused, "
        f"{counts['replayed']} replayed"
    )


def _meter(row: dict[str, Any]) -> str:
    number = row["meter_no"] or "not bound"
    contact = f"last contact {_time(row['contact_ms'])}" if row["contact_ms"] else "no contact yet"
    late = "".join(f"  {content} rows late" for content, state in row["rows"] if state == "late")
    return f"meter      {row['key']:14} {row['serial']:14} {number!s:9} {row['switch']:8} {contact}  {row['trouble']}{late}"


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
