#!/bin/sh
# Sets up everything and runs all tests: `sh tests/run.sh`. Words behind it go to ctest's last run,
# e.g. `sh tests/run.sh -L unit`. Ends on CTest's own summary.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

sh tests/setup/install.sh build test
[ -e tests/node_modules/.installed ] || {
    (cd tests && npm ci --no-audit --no-fund --loglevel=error)
    touch tests/node_modules/.installed
}

# What CI can't do without is a failure there, and skipped with its reason elsewhere.
trap 'sh tests/setup/docker.sh stop' EXIT
sh tests/setup/docker.sh start || [ -z "${CI-}" ]

sh tests/setup/check.sh

# The suite under the sanitizers first; then as it is shipped.
for preset in asan dev; do
    cmake --preset "$preset" >/dev/null
    cmake --build --preset "$preset"
done
ctest --test-dir build-asan --output-on-failure -j2 -L 'unit|e2e' -LE slow
ctest --test-dir build --output-on-failure -j2 "$@"
