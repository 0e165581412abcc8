"""Whether a meter is looked after by an agent that runs on this machine: such a meter is never switched from a shell.

* Running agents are found by their processes, wherever their configuration is; the meters they look after are those of their
  registry and of their signed configuration.
* A switch action from a shell is asked for once more and written down, one JSON line each (safety.md 9).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from gridtally_edge.registry import Registry
from gridtally_shared.errors import ConfigError, GridtallyError, RefusedCommand
from gridtally_shared.lifecycle import Reason
from gridtally_shared.records import dataclass

PROC = Path("/proc")
LOG_NAME = "switched-by-hand.jsonl"


@dataclass(frozen=True, slots=True)
class RunningAgent:
    pid: int
    config_file: Path


def running_agents() -> Iterator[RunningAgent]:
    """Every `gridtally-dcu run` of this machine that we may look at."""
    from gridtally_edge.config import DEFAULT_CONFIG

    for folder in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if not _is_agent(words):
                continue
            named = next((Path(words[n + 1]) for n, word in enumerate(words[:-1]) if word == "--config"), DEFAULT_CONFIG)
            yield RunningAgent(int(folder.name), Path(os.readlink(folder / "cwd")) / named)


def _is_agent(words: list[str]) -> bool:
    starts = [n for n, word in enumerate(words) if Path(word).name == "gridtally-dcu" or word == "gridtally_edge.cli"]
    return any(words[n + 1 : n + 2] == ["run"] for n in starts)


def serials_of(agent: RunningAgent) -> frozenset[str]:
    """The meters an agent looks after, by serial: those on its lines and those bound to it."""
    from gridtally_edge.config import load_config

    config = load_config(agent.config_file)
    on_lines = {meter.serial for meter in Registry(config.registry_file).meters() if meter.serial}
    with contextlib.suppress(OSError, ValueError, KeyError):
        status = json.loads(config.status_file.read_text(encoding="utf-8"))
        on_lines |= {row["serial"] for row in status["meters"] if row["serial"]}
    return frozenset(on_lines)


def refuse_managed(serial: str) -> None:
    """Raises RefusedCommand for a meter of a running agent. An agent that can not be looked into counts as its owner."""
    for agent in running_agents():
        try:
            theirs = serial in serials_of(agent)
        except (GridtallyError, OSError) as error:
            raise RefusedCommand(Reason.HELD, f"agent {agent.pid} may look after {serial}, and can not be asked: {error}") from error
        if theirs:
            raise RefusedCommand(
                Reason.HELD,
                f"meter {serial} is looked after by the agent of {agent.config_file} (process {agent.pid}); order it from the "
                f"MDM, or take the meter out with 'gridtally-dcu meter remove' first",
            )


def confirm(serial: str, close: bool, yes: bool) -> None:
    """Ask the person; `yes` was said on the command line. Raises ConfigError where nobody can answer, RefusedCommand on no."""
    act = "Reconnect" if close else "Disconnect"
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("--yes", False, f"add it to {act.lower()} meter {serial} without being asked")
    print(f"{act} meter {serial}? Its supply changes at once. Type its serial number to go on: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != serial:
        raise RefusedCommand(Reason.CANCELLED, "nothing was sent to the meter")


def log_folder() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "gridtally"


def write_down(row: dict[str, object]) -> Path:
    """Append what is about to be done, or was done, durably; where it was written. Raises ConfigError."""
    path = log_folder() / LOG_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
            log.flush()
            os.fsync(log.fileno())
    except OSError as error:
        raise ConfigError("XDG_STATE_HOME", str(path.parent), f"a switch action must be written down, and can not: {error}") from error
    return path
