#!/bin/sh
# Sets up everything and runs all tests: `sh tests/run.sh`. Words behind it go to ctest's last run,
# e.g. `sh tests/run.sh -L unit`, and there is no fuzzing then. Ends on CTest's own summary.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

sh tests/setup/install.sh build test
[ -e tests/node_modules/.installed ] || {
    (cd tests && npm ci --no-audit --no-fund --loglevel=error)
    touch tests/node_modules/.installed
}

# What CI can't do without is a failure there, and skipped with its reason elsewhere.
fuzzing=
trap '[ -z "$fuzzing" ] || kill "$fuzzing" 2>/dev/null || :; sh tests/setup/docker.sh stop' EXIT
sh tests/setup/docker.sh start || [ -z "${CI-}" ]

sh tests/setup/check.sh

presets="asan dev"
if [ $# -gt 0 ]; then
    echo "not all tests are asked for: the fuzz targets are left out"
elif command -v clang-14 >/dev/null || [ -n "${CI-}" ]; then
    presets="$presets fuzz"
else
    echo "there is no clang-14: the fuzz targets are skipped" >&2
fi
for preset in $presets; do
    cmake --preset "$preset" >/dev/null
    cmake --build --preset "$preset"
done

# The suite under the sanitizers first; the fuzz targets have the processor while it waits.
case $presets in
*fuzz)
    nice -n 19 ctest --test-dir build-fuzz --output-on-failure -j2 -L fuzz >build-fuzz/log 2>&1 &
    fuzzing=$!
    ;;
esac
ctest --test-dir build-asan --output-on-failure -j2 -L 'unit|e2e' -LE slow
if [ -n "$fuzzing" ]; then
    fuzzed=0
    wait "$fuzzing" || fuzzed=$?
    fuzzing=
    cat build-fuzz/log
    [ "$fuzzed" -eq 0 ]
fi

# Then as it is shipped: containers mostly wait, too.
ctest --test-dir build --output-on-failure -j3 "$@"
