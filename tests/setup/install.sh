#!/bin/sh
# Installs what is missing of the packages in the named lists (packages.<list> beside this file).
#
#   install.sh build         what building and the demo need
#   install.sh build test    what the tests need too
#
# A line of a list is a package, and maybe a command that can come from elsewhere as well: where it
# is there, the package isn't needed (npm has many vendors, and they conflict).
#
# As root with apt-get it installs; otherwise it says what is missing and fails.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

missing=
for list in "$@"; do
    while read -r package command; do
        if [ -n "$command" ] && command -v "$command" >/dev/null; then
            continue
        fi
        case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true) in
        "install ok installed") ;;
        *) missing="$missing $package" ;;
        esac
    done <"$here/packages.$list"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "install these Debian packages (or your system's equals), then run this again:$missing" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
echo "installing:$missing"
log=$(mktemp)
# The lists may be missing or old: a package that can't be had then is tried again after an update.
# shellcheck disable=SC2086
if ! { apt-get install -qq -y --no-install-recommends $missing >"$log" 2>&1 ||
       { apt-get update -qq && apt-get install -qq -y --no-install-recommends $missing; } \
           >"$log" 2>&1; }; then
    cat "$log" >&2
    exit 1
fi
rm -f "$log"
