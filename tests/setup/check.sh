#!/bin/sh
# What is checked without running anything: format, static analysis, and that all of it compiles for
# arm64 too, the other machine that the register code is written for.
set -eu
cd "$(dirname "$0")/../.."

clang-format-14 --dry-run --Werror $(git ls-files -co --exclude-standard '*.c' '*.h')
# memleak: cppcheck doesn't know __attribute__((cleanup)).
cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability \
         --inline-suppr --suppress=missingIncludeSystem --suppress=memleak -D__x86_64__ -D_GNU_SOURCE -DCOREINIT_VERSION='""' \
         -I src src

# The libraries' headers are those of this machine; libc's must be the cross compiler's, so of the
# folder where both kinds lie together only the former are shown to it.
headers=$(mktemp -d)
trap 'rm -rf "$headers"' EXIT
for header in curl openssl expat_config.h; do
    ln -s "/usr/include/$(gcc -print-multiarch)/$header" "$headers"
done
warnings=$(sed 's/-Wl,[^ )]*//g' CMakeLists.txt | grep -oE -e '-W[a-z0-9=-]+')
# shellcheck disable=SC2086
printf '%s\0' src/*/*.c |
    xargs -0 -n 1 -P "$(nproc)" aarch64-linux-gnu-gcc -std=gnu17 -O2 -c -o /dev/null $warnings \
          -D_GNU_SOURCE -DCOREINIT_VERSION='""' -D_FORTIFY_SOURCE=2 \
          -Isrc -idirafter "$headers" -idirafter /usr/include
