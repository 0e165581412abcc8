"""What we depend on: that it is used, why it is there, under which licence, and how much of it an installation gets."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.required import ROOT

TEXT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PROJECT: dict[str, Any] = tomllib.loads(TEXT)
PRODUCT = ("shared/gridtally_shared", "native/gridtally_native", "edge/gridtally_edge", "cloud/gridtally_cloud")

# Distribution -> module, and the folders at least one of which must import it.
NAMED = {
    "paho-mqtt": ("paho.mqtt", PRODUCT),
    "pyserial": ("serial", PRODUCT),
    "pymodbus": ("pymodbus", PRODUCT),
    "tinydb": ("tinydb", PRODUCT),
    "cryptography": ("cryptography", PRODUCT),
    "flask": ("flask", PRODUCT),
    "sqlite-utils": ("sqlite_utils", PRODUCT),
    "pytest": ("pytest", ("tests",)),
}

FORBIDDEN = re.compile(r"\bA?GPL|GNU (Affero )?General Public|\bBUSL|Business Source|\bSSPL|Server Side Public", re.IGNORECASE)
WEAK = re.compile(r"\bLGPL|GNU Lesser General Public|GNU Library", re.IGNORECASE)
WEAK_ALLOWED = {"fpdf2"}
LAST_MIT_PEER = "dlms-cosem==21.3.2"
COPYLEFT_PEERS = {"gurux_dlms", "dlms_cosem", "pydlms", "pydlms_client"}

# An installation of one side brings no more distributions than this. On 2026-10 it was 17 for the edge and 34 for the cloud.
MOST = {"edge": 20, "cloud": 40}
ABSENT = {
    "edge": {"flask", "sqlalchemy", "alembic", "werkzeug", "jinja2", "fpdf2", "pillow", "numpy", "pandas"},
    "cloud": {"numpy", "pandas", "pyserial", "pymodbus", "tinydb"},
}


@cache
def imports(folder: str) -> frozenset[tuple[str, str]]:
    """Every module that is imported below the folder, with the file that does it."""
    return frozenset((module, str(path.relative_to(ROOT))) for path in (ROOT / folder).rglob("*.py") for module in imported(path))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


def users(module: str, folders: tuple[str, ...]) -> set[str]:
    """Files below the folders that import the module or a part of it."""
    return {file for folder in folders for name, file in imports(folder) if f"{name}.".startswith(f"{module}.")}


def declared() -> dict[str, list[str]]:
    """Every list of requirements in pyproject.toml."""
    extras: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
    return {"build": PROJECT["build-system"]["requires"], "base": PROJECT["project"]["dependencies"], **extras}


def closure(extra: str) -> set[str]:
    """Names of all distributions that installing gridtally with one extra brings, from the installed metadata."""
    waiting = [Requirement(text) for key in ("base", extra) for text in declared()[key]]
    seen: dict[str, set[str]] = {}
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in seen or not requirement.extras <= seen[name]:
            seen.setdefault(name, set()).update(requirement.extras)
            waiting += needed_by(name, seen[name])
    return set(seen)


def needed_by(name: str, extras: set[str]) -> Iterator[Requirement]:
    for text in metadata.requires(name) or []:
        requirement = Requirement(text)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def licence_of(name: str) -> str:
    """Everything the metadata says about the licence; of a whole licence text only its beginning."""
    fields = metadata.metadata(name)
    classifiers = [c for c in fields.get_all("Classifier") or [] if c.startswith("License ::")]
    return "; ".join(part for part in (fields.get("License-Expression"), (fields.get("License") or "")[:200], *classifiers) if part)


def is_forbidden(name: str, licence: str) -> bool:
    return bool(FORBIDDEN.search(licence) or (WEAK.search(licence) and name not in WEAK_ALLOWED))


@pytest.mark.parametrize("distribution", NAMED)
def test_a_named_package_is_declared_importable_and_used(distribution: str) -> None:
    module, folders = NAMED[distribution]
    assert distribution in {Requirement(text).name for texts in declared().values() for text in texts}
    assert importlib.import_module(module)
    assert metadata.version(distribution)
    assert users(module, folders), f"nothing below {', '.join(folders)} imports {module}"


def test_cython_builds_the_native_module() -> None:
    assert any(Requirement(text).name == "Cython" for text in declared()["build"])
    modules = PROJECT["tool"]["setuptools"]["ext-modules"]
    sources = [ROOT / source for module in modules for source in module["sources"]]
    assert {source.suffix for source in sources} == {".pyx"}
    assert sorted(sources) == sorted((ROOT / "native").rglob("*.pyx")), "what is written is also built"
    assert all(s.read_text(encoding="utf-8").count("cdef ") > 5 for s in sources), "types for the C compiler, not Python renamed"
    assert importlib.import_module("Cython.Compiler.Main")


def test_every_dependency_says_why_it_is_there_and_its_licence() -> None:
    commented = Counter(re.findall(r'^ *"([^"]+)",? +# .*\w+ .*\([^()]+\)$', TEXT, re.MULTILINE))
    ours = {text for texts in declared().values() for text in texts if Requirement(text).name == PROJECT["project"]["name"]}
    wanted = Counter(text for texts in declared().values() for text in texts if text not in ours)
    assert wanted - commented == Counter()
    assert sum(wanted.values()) > 25


@pytest.mark.parametrize("extra", ["edge", "cloud"])
def test_no_copyleft_in_what_an_installation_brings(extra: str) -> None:
    licences = {name: licence_of(name) for name in closure(extra)}
    assert [name for name, licence in licences.items() if not licence] == [], "a distribution that states no licence"
    assert {name: licence for name, licence in licences.items() if is_forbidden(name, licence)} == {}


@pytest.mark.parametrize(
    ("name", "licence", "forbidden"),
    [
        ("a", "GPLv2", True),
        ("a", "License :: OSI Approved :: GNU General Public License v2 (GPLv2)", True),
        ("a", "AGPL-3.0-only", True),
        ("a", "GNU Affero General Public License v3", True),
        ("a", "BUSL-1.1", True),
        ("a", "LGPL-3.0-only", True),
        ("a", "License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)", True),
        ("fpdf2", "LGPL-3.0-only", False),
        ("fpdf2", "GPL-3.0-only", True),
        ("a", "MIT AND PSF-2.0", False),
        ("a", "BSL-1.0", False),
    ],
)
def test_the_licence_rule_itself(name: str, licence: str, forbidden: bool) -> None:
    assert is_forbidden(name, licence) is forbidden


def test_a_copyleft_peer_is_imported_by_its_own_script_only() -> None:
    files = {file for peer in COPYLEFT_PEERS for file in users(peer, ("shared", "native", "edge", "cloud", "packaging", "tests"))}
    assert files == {"tests/interop/gurux_client.py", "tests/interop/gurux_server.py", "tests/interop/pydlms_client.py"}
    for file in files:
        assert "gridtally_" not in (ROOT / file).read_text(encoding="utf-8"), "no process holds both"


def test_a_copyleft_peer_comes_with_the_interop_extra_only() -> None:
    wanted = [(extra, Requirement(text)) for extra, texts in declared().items() for text in texts]
    peers = [(extra, str(r)) for extra, r in wanted if r.name.replace("-", "_") in COPYLEFT_PEERS and str(r) != LAST_MIT_PEER]
    assert {extra for extra, _ in peers} == {"interop"}
    assert {extra for extra, r in wanted if str(r) == LAST_MIT_PEER} == {"bench"}


@pytest.mark.parametrize("extra", MOST)
def test_one_side_brings_nothing_of_the_other_and_not_much_of_its_own(extra: str) -> None:
    names = closure(extra)
    assert names & ABSENT[extra] == set()
    assert len(names) <= MOST[extra], f"{len(names)}: {', '.join(sorted(names))}"
