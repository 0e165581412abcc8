"""What a process of the MDM does not load: memory is its target (performance.md section 8)."""

from __future__ import annotations

import os
import subprocess
import sys

from support.required import ROOT

LOADED = "import sys, gridtally_cloud.server, gridtally_cloud.app; print('\\n'.join(sys.modules))"


def test_pages_and_worker_start_without_the_modules_of_postgresql_and_of_tools() -> None:
    """A table or index with an option of the dialect would load it, with 2 MB (store/tables.py, `say_to_postgresql`)."""
    path = os.pathsep.join(str(ROOT / part) for part in ("shared", "native", "cloud"))
    done = subprocess.run([sys.executable, "-c", LOADED], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "sqlalchemy.dialects.sqlite" in loaded
    assert not {"sqlalchemy.dialects.postgresql", "gridtally_cloud.vee.cli", "pandas"} & loaded
