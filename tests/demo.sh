#!/bin/sh
# Sets up everything, lets a sample program crash under coreinit, and shows the bundle it left.
# No cloud is needed: without S3_BUCKET bundles stay in the cores dir.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

sh tests/setup/install.sh build
cmake --preset dev -DBUILD_TESTING=OFF -B build-demo >/dev/null
cmake --build build-demo

work=$(mktemp -d)
cores=$work/cores
gcc -g -o "$work/sample" tests/programs/crash.c -pthread

show() {
    printf '\n$ %s\n' "$*"
}

cd "$work"
# A real PID 1 where that is allowed; else a subreaper does.
pid1=
if unshare --pid --fork --mount-proc true 2>/dev/null; then
    pid1='unshare --pid --fork --mount-proc'
fi
show coreinit --cores-dir "$cores" -- ./sample handler-abort
status=0
# shellcheck disable=SC2086
env -u S3_BUCKET RUN_ID=demo S3_KEY_PREFIX=demo/sample \
    $pid1 "$root/build-demo/coreinit" --cores-dir "$cores" -- ./sample handler-abort || status=$?
show 'echo $?'
echo "$status"
[ "$status" = 134 ] || { echo "expected 134: the sample's SIGSEGV handler aborts" >&2; exit 1; }

show ls -lA "$cores"
ls -lA "$cores"
show "sed -n '/^Thread 1/,\$p' $cores/*.stacktrace | head -n 30"
sed -n '/^Thread 1/,$p' "$cores"/*.stacktrace | head -n 30
show unzip -t "$cores/*.core.zip"
unzip -t "$cores"/*.core.zip

show "unzip the core and the libraries, and open them in gdb"
unzip -q "$cores"/*.core.zip -d "$work/unpacked"
unzip -q "$cores"/*.libs.zip -d "$work/unpacked/sysroot"
gdb -nx -batch -q -ex "set sysroot $work/unpacked/sysroot" -ex "file $(ls "$cores"/*.executable)" \
    -ex "core-file $work/unpacked/core" -ex 'echo \nbt\n' -ex bt 2>/dev/null | sed '1,/^bt$/d'

echo
echo "The bundle is in $cores"

echo
echo "Where the host's kernel writes no core, coreinit traces the program and reads the core out of the"
echo "stopped process. Here it is asked to; elsewhere it does so by itself:"
show coreinit --capture ptrace --cores-dir "$work/traced" -- ./sample segv
status=0
# shellcheck disable=SC2086
env -u S3_BUCKET RUN_ID=demo S3_KEY_PREFIX=demo/sample \
    $pid1 "$root/build-demo/coreinit" --capture ptrace --cores-dir "$work/traced" -- ./sample segv ||
    status=$?
show 'echo $?'
echo "$status"
[ "$status" = 139 ] || { echo "expected 139: SIGSEGV" >&2; exit 1; }
show ls -lA "$work/traced"
ls -lA "$work/traced"
