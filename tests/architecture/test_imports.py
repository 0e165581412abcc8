"""Who may import whom (architecture.md section 2). Read from the source, so that a wrong import fails before it runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.required import ROOT

PACKAGES = {
    "gridtally_shared": ROOT / "shared" / "gridtally_shared",
    "gridtally_native": ROOT / "native" / "gridtally_native",
    "gridtally_edge": ROOT / "edge" / "gridtally_edge",
    "gridtally_cloud": ROOT / "cloud" / "gridtally_cloud",
}
MAY_IMPORT = {
    "gridtally_shared": {"gridtally_shared"},
    "gridtally_native": {"gridtally_native"},
    "gridtally_edge": {"gridtally_edge", "gridtally_shared", "gridtally_native"},
    "gridtally_cloud": {"gridtally_cloud", "gridtally_shared", "gridtally_native"},
}
# The one place that may import each of these.
ONLY_IN = {
    "paho": {"edge/gridtally_edge/sync/mqtt.py", "cloud/gridtally_cloud/mqtt.py",
             "edge/gridtally_edge/provisioning/link.py", "cloud/gridtally_cloud/provisioning/link.py"},
    "serial": {"edge/gridtally_edge/transports/"},
    "pymodbus": {"edge/gridtally_edge/transports/modbus_tcp.py"},
    "iotcore": {"cloud/gridtally_cloud/embedded_broker.py"},
    "numpy": set(),
    "pandas": set(),
}  # fmt: skip
# Pure by rule: no sockets, files, threads, clocks or environment.
PURE = [
    "edge/gridtally_edge/protocols",
    "edge/gridtally_edge/drivers",
    "shared/gridtally_shared/ledger",
    "shared/gridtally_shared/tariff",
    "shared/gridtally_shared/contract",
    "cloud/gridtally_cloud/vee/rules.py",
    "cloud/gridtally_cloud/billing/model.py",
    "shared/gridtally_shared/prepay",
    "edge/gridtally_edge/polling/plan.py",
]
IMPURE = {"socket", "threading", "time", "os", "select", "subprocess", "sqlite3", "asyncio", "requests", "random"}


def sources(folder: Path) -> Iterator[Path]:
    yield from ([folder] if folder.is_file() else sorted(folder.rglob("*.py")))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.lineno, node.module


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_they_may(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources(PACKAGES[package])
        for line, module in imported(path)
        if module.split(".")[0] in PACKAGES and module.split(".")[0] not in MAY_IMPORT[package]
    ]
    assert not wrong


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_with_one_home_stays_there(library: str) -> None:
    homes = ONLY_IN[library]
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for folder in PACKAGES.values()
        for path in sources(folder)
        for line, module in imported(path)
        if module.split(".")[0] == library and not any(str(path.relative_to(ROOT)).startswith(home) for home in homes)
    ]
    assert not wrong


@pytest.mark.parametrize("place", PURE)
def test_the_middle_is_pure(place: str) -> None:
    folder = ROOT / place
    assert folder.exists(), f"{place} moved: correct this list"
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources(folder)
        for line, module in imported(path)
        if module.split(".")[0] in IMPURE
    ]
    assert not wrong
