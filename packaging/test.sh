#!/bin/sh
# `make test`: installs what the tests need, then lint, types, the suite on the compiled module (on both cores; what measures time
# alone, afterwards), and the native, contract and one scenario again on the pure one, and the MDM's
# store on PostgreSQL. GRIDTALLY_REQUIRE names parts that must not be missing (tests/support/required.py).
set -eu
cd "$(dirname "$0")/.."

missing="$(awk -F'\t' '!/^#/ && NF>1 {print $1, $2}' packaging/system-packages.txt | while read -r package program; do
    PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null 2>&1 || printf '%s ' "$package"; done)"
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "gridtally: installing $missing"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing; } >/dev/null ||
            echo "gridtally: apt-get could not install $missing; their tests will be skipped"
    else
        echo "gridtally: some tests will be skipped; to run them: sudo apt-get install $missing"
    fi
fi

sh packaging/bootstrap.sh test,interop
mkdir -p artefacts
export GRIDTALLY_COVERAGE="$PWD/artefacts/coverage.jsonl"
: > "$GRIDTALLY_COVERAGE"
python=.venv/bin/python

step() { printf '\n== %s\n' "$1"; }
step "lint";                          .venv/bin/ruff check shared native edge cloud packaging tests
step "types";                         .venv/bin/mypy
both="-n 2 --dist loadfile --no-loadscope-reorder"
step "the suite, compiled module";    $python -m pytest -q --durations=15 $both -m "not quiet" "$@"
step "what measures time, alone";     $python -m pytest -q -m quiet
step "native, contract and the chain scenario on the pure module"
GRIDTALLY_NO_NATIVE=1 GRIDTALLY_REQUIRE="$(printf '%s' "${GRIDTALLY_REQUIRE:-}" | sed 's/native//')" \
    $python -m pytest -q $both tests/unit/native tests/contract tests/scenarios/test_chain.py -k "not mosquitto"
step "the MDM store on PostgreSQL"
mdm=tests/unit/cloud
GRIDTALLY_STORE=postgresql $python -m pytest -q $both -m "not quiet" $mdm/store $mdm/ingest $mdm/meters $mdm/prepay $mdm/billing $mdm/customers \
    $mdm/person $mdm/commands $mdm/exchange $mdm/programs $mdm/assets $mdm/workorders $mdm/inquiry $mdm/grid \
    $mdm/vee/test_doubts.py $mdm/vee/test_meanwhile*.py $mdm/vee/test_edits.py \
    $mdm/web/test_api.py $mdm/web/test_access.py $mdm/web/test_sign_in.py $mdm/web/test_erased_pages.py
step "requirements";                  $python tests/trace.py --check
