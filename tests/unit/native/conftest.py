"""One test body, two modules: `twin` is the pure module and then the compiled one."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from support.required import missing

KERNEL = "gridtally_native._kernel"
PURE = "gridtally_native._pure"


def compiled() -> ModuleType:
    try:
        return importlib.import_module(KERNEL)
    except ImportError:
        missing("native", "the compiled twin is not built: cythonize -i native/gridtally_native/_kernel.pyx")
        raise


@pytest.fixture(scope="session")
def pure() -> ModuleType:
    return importlib.import_module(PURE)


@pytest.fixture(scope="session")
def kernel() -> ModuleType:
    return compiled()


@pytest.fixture(scope="session", params=["pure", "compiled"])
def twin(request: pytest.FixtureRequest) -> ModuleType:
    return compiled() if request.param == "compiled" else importlib.import_module(PURE)
