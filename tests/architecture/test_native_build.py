"""The native package stands alone, says which twin it uses, and the compiled twin is the one of this source."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.required import ROOT, missing

NATIVE = ROOT / "native" / "gridtally_native"
PUBLIC = (
    "aggregate",
    "crc16_modbus",
    "crc16_x25",
    "decode_block",
    "encode_block",
    "register_intervals",
    "register_intervals_many",
)
REBUILD = "cythonize -i native/gridtally_native/_kernel.pyx"


def _built() -> Path:
    spec = importlib.util.find_spec("gridtally_native._kernel")
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


def test_the_stub_names_what_the_pure_twin_has() -> None:
    pure = _functions(NATIVE / "_pure.py")
    assert sorted(pure) == sorted(PUBLIC)
    assert _functions(NATIVE / "_kernel.pyi") == pure


def test_the_compiled_twin_takes_the_same_arguments() -> None:
    _built()
    from gridtally_native import _kernel, _pure

    for name in PUBLIC:
        pure = inspect.signature(getattr(_pure, name)).parameters
        compiled = inspect.signature(getattr(_kernel, name)).parameters
        assert [(p.name, p.kind, p.default) for p in compiled.values()] == [
            (p.name, p.kind, p.default) for p in pure.values()
        ], name


def test_the_compiled_twin_is_newer_than_its_source() -> None:
    built = _built()
    source = NATIVE / "_kernel.pyx"
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
    """A fresh build of the .pyx in an empty folder, and one call into what came out."""
    _built()
    package = tmp_path / "gridtally_native"
    package.mkdir()
    for name in ("__init__.py", "_records.py", "_pure.py", "_kernel.pyx"):
        (package / name).write_bytes((NATIVE / name).read_bytes())
    command = [sys.executable, "-m", "Cython.Build.Cythonize", "-i", str(package / "_kernel.pyx")]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=170)
    assert built.returncode == 0, built.stderr
    assert "warning" not in (built.stdout + built.stderr).lower()
    assert _backend(PYTHONPATH=str(tmp_path)) == "cython"
