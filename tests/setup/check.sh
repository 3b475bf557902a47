#!/bin/sh
# What is checked without running anything: format and static analysis.
set -eu
cd "$(dirname "$0")/../.."

clang-format-14 --dry-run --Werror $(git ls-files -co --exclude-standard '*.c' '*.h')
cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability \
         --inline-suppr --suppress=missingIncludeSystem -D_GNU_SOURCE -DCOREINIT_VERSION='""' \
         -I src src
