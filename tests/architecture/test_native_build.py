"""The native package stands alone, says which twin it uses, and the compiled twin is the one of this source."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gridtally_native
from support.required import ROOT, missing

NATIVE = ROOT / "native" / "gridtally_native"
TWINS: dict[str, tuple[str, ...]] = {
    "kernel": (
        "aggregate",
        "crc16_modbus",
        "crc16_x25",
        "decode_block",
        "encode_block",
        "encode_blocks",
        "register_intervals",
        "register_intervals_many",
    ),
    "windows": ("demand_windows", "lay_on_grid", "tou_totals"),
    "axdr": ("profile_table",),
    "screen": ("screen_days",),
}
PURE = {"kernel": "_pure", "windows": "_pure_windows", "axdr": "_pure_axdr", "screen": "_pure_screen"}
twins = pytest.mark.parametrize("name", TWINS)
REBUILD = "cythonize -i native/gridtally_native/*.pyx"


def _built(name: str = "kernel") -> Path:
    spec = importlib.util.find_spec(f"gridtally_native._{name}")
    if spec is None or spec.origin is None:
        missing("native", f"the compiled twin is not built: {REBUILD}")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def _backend(**extra: str) -> str:
    """BACKEND of a fresh interpreter; the choice is made once, at import."""
    environment = {k: v for k, v in os.environ.items() if k != "GRIDTALLY_NO_NATIVE"} | {"PYTHONPATH": str(NATIVE.parent)} | extra
    command = [sys.executable, "-c", "import gridtally_native; print(gridtally_native.BACKEND)"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def _functions(path: Path) -> dict[str, list[str]]:
    """Public functions of a source file, with their parameters; keyword-only ones start with a star."""
    found = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            found[node.name] = [a.arg for a in node.args.args] + ["*" + a.arg for a in node.args.kwonlyargs]
    return found


def test_the_compiled_twin_is_preferred() -> None:
    _built()
    assert _backend() == "cython"


def test_the_pure_twin_can_be_forced() -> None:
    assert _backend(GRIDTALLY_NO_NATIVE="1") == "pure"


@twins
def test_the_stub_names_what_the_pure_twin_has(name: str) -> None:
    pure = _functions(NATIVE / f"{PURE[name]}.py")
    assert sorted(pure) == sorted(TWINS[name])
    assert _functions(NATIVE / f"_{name}.pyi") == pure


def test_everything_is_offered_by_the_package() -> None:
    assert {function for names in TWINS.values() for function in names} <= set(gridtally_native.__all__)


@twins
def test_the_compiled_twin_takes_the_same_arguments(name: str) -> None:
    _built(name)
    pure, compiled = (importlib.import_module(f"gridtally_native.{module}") for module in (PURE[name], f"_{name}"))
    for function in TWINS[name]:
        wanted, there = (inspect.signature(getattr(module, function)).parameters for module in (pure, compiled))
        assert [(p.name, p.kind, p.default) for p in there.values()] == [
            (p.name, p.kind, p.default) for p in wanted.values()
        ], function


@twins
def test_the_compiled_twin_is_newer_than_its_source(name: str) -> None:
    built = _built(name)
    source = NATIVE / f"_{name}.pyx"
    assert built.stat().st_mtime >= source.stat().st_mtime, f"{built.name} is older than {source.name}: {REBUILD}"


def test_native_imports_nothing_of_ours() -> None:
    for path in (*NATIVE.glob("*.py"), *NATIVE.glob("*.pyx")):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] in (["from"], ["import"], ["cimport"]) and "gridtally" in words[1]:
                assert words[1].split(".")[0] == "gridtally_native", f"{path.name}: {line}"


def test_what_the_compiler_leaves_is_not_in_the_repository() -> None:
    tracked = subprocess.run(["git", "ls-files", "native"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    left = [name for name in tracked.stdout.splitlines() if name.endswith((".c", ".so", ".o")) or "/build/" in name]
    assert left == []


@pytest.mark.slow
def test_the_source_compiles_without_a_warning(tmp_path: Path) -> None:
    """A fresh build of every .pyx in an empty folder, and one call into what came out."""
    _built()
    package = tmp_path / "gridtally_native"
    package.mkdir()
    for source in (*NATIVE.glob("*.py"), *NATIVE.glob("*.pyx")):
        (package / source.name).write_bytes(source.read_bytes())
    command = [sys.executable, "-m", "Cython.Build.Cythonize", "-i", *map(str, package.glob("*.pyx"))]
    quickly = os.environ | {"CFLAGS": "-O1"}  # the warnings are the same, in half the time
    built = subprocess.run(command, cwd=tmp_path, env=quickly, capture_output=True, text=True, check=False, timeout=170)
    assert built.returncode == 0, built.stderr
    assert "warning" not in (built.stdout + built.stderr).lower()
    assert _backend(PYTHONPATH=str(tmp_path)) == "cython"
