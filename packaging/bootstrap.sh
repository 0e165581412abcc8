#!/bin/sh
# Builds the Python environment in .venv with one extra of pyproject.toml: packaging/bootstrap.sh demo|test|bench
# Needs python3 (3.11 or newer) with venv; without a C compiler it says so and the pure module is used.
set -eu
extra="$1"
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"

need() { printf '%s\n' "gridtally: $1" "  install it with: $2" >&2; exit 3; }

command -v "$python" >/dev/null 2>&1 || need "python3 is missing" "apt-get install python3 python3-venv"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    need "$("$python" --version 2>&1) is too old, 3.11 or newer is needed" "apt-get install python3 (Debian 12 or newer)"
"$python" -c 'import ensurepip, venv' 2>/dev/null || need "python3 lacks the venv module" "apt-get install python3-venv"
"$python" - <<'PY' || echo "gridtally: no C compiler or Python headers: the pure module is used (about 60 times slower in bulk work); apt-get install gcc python3-dev for the fast one"
import os, shutil, sys, sysconfig
header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
sys.exit(not (any(shutil.which(c) for c in ("cc", "gcc", "clang")) and os.path.exists(header)))
PY

want="$(cat pyproject.toml native/gridtally_native/*.pyx | cksum)"
stamp=".venv/.built-$extra"
if [ ! -x .venv/bin/gridtally-dcu ] || [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
    echo "gridtally: building the environment in .venv (a minute or two, once) ..."
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[$extra]" ||
        need "pip could not install the dependencies (see above)" "check the network or the package index, then repeat"
    printf '%s' "$want" > "$stamp"
fi
.venv/bin/python -c 'import gridtally_native as n; print("gridtally: native module:", n.BACKEND)'
