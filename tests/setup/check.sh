#!/bin/sh
# What is checked without running anything: format and static analysis.
set -eu
cd "$(dirname "$0")/../.."

clang-format-14 --dry-run --Werror $(git ls-files -co --exclude-standard '*.c' '*.h')
# memleak: cppcheck doesn't know __attribute__((cleanup)).
cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability \
         --inline-suppr --suppress=missingIncludeSystem --suppress=memleak -D__x86_64__ -D_GNU_SOURCE -DCOREINIT_VERSION='""' \
         -I src src
