"""Parts of the machine a test needs. Missing ones skip with the reason, or fail where GRIDTALLY_REQUIRE names them.

GRIDTALLY_REQUIRE is a comma-separated list of: data, mosquitto, chromium, native, postgresql.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def demanded(part: str) -> bool:
    return part in os.environ.get("GRIDTALLY_REQUIRE", "").split(",")


def missing(part: str, reason: str) -> None:
    """Skip the test, or the module that asks while it is loaded; or fail it where the part is demanded."""
    if demanded(part):
        pytest.fail(f"GRIDTALLY_REQUIRE demands {part}: {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def data_path(relative: str = "") -> Path:
    """A file of the shared test data (GRIDTALLY_DATA, default ../shared/data beside the checkout)."""
    base = Path(os.environ.get("GRIDTALLY_DATA", ROOT.parent / "shared" / "data"))
    path = base / relative
    if not path.exists():
        missing("data", f"{path} is not there: set GRIDTALLY_DATA to the folder with the test data")
    return path


def program(name: str, package: str) -> str:
    """Path of a system program such as mosquitto or chromium."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        missing(package, f"{name} is not installed: apt-get install {package}")
    assert found is not None
    return found
