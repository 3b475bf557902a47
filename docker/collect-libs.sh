#!/bin/sh
# Makes a prefix self-contained: its programs run in any image, also one with another libc or none.
#
#   collect-libs.sh PREFIX [PACKAGE...]
#
# For every dynamic program in PREFIX/bin:
#  - the libraries it is linked with, theirs, and its loader are copied into PREFIX/lib;
#  - the loader there becomes its interpreter. The kernel only knows absolute paths, so PREFIX must
#    be the place where the programs will be run;
#  - PREFIX/lib becomes its DT_RPATH. Unlike DT_RUNPATH that holds for the libraries' libraries too
#    and goes before LD_LIBRARY_PATH, which an image may have set for its own program;
#  - the loader forgets /etc/ld.so.preload and /etc/ld.so.cache. It would follow the image's, and
#    what is made to be preloaded into another libc can keep a program from starting.
# The copyright file of every package that something came from goes to PREFIX/share/doc; PACKAGE
# names those that no library tells of: statically linked ones, data, the programs' own.
#
# Fails where a library is missing or would still be taken from elsewhere.
set -eu

prefix=$1
shift

fail() {
    echo "collect-libs: $*" >&2
    exit 1
}

# What the loader maps for a program, one absolute path a line.
mapped() {
    LD_TRACE_LOADED_OBJECTS=1 "$1" | awk '
        /not found/ { print "collect-libs: " $1 " is not found" > "/dev/stderr"; exit 1 }
        $2 == "=>"  { print $3; next }
        /^\t\//     { print $1 }'
}

# The package that owns a file. dpkg knows the path that the package was made with, which may lack
# the /usr that the file lies under on a merged system.
package_of() {
    file=$(realpath "$1")
    owner=$(dpkg -S "$file" 2>/dev/null || dpkg -S "${file#/usr}") || fail "no package owns $file"
    echo "${owner%%:*}"
}

keep_copyright() {
    mkdir -p "$prefix/share/doc/$1"
    cp -L "/usr/share/doc/$1/copyright" "$prefix/share/doc/$1/"
}

mkdir -p "$prefix/lib"
for program in "$prefix"/bin/*; do
    if ! interpreter=$(patchelf --print-interpreter "$program" 2>&1); then
        case $interpreter in
            *'statically linked'*) continue ;;
            *) fail "$program: $interpreter" ;;
        esac
    fi
    libraries=$(mapped "$program")
    [ -n "$libraries" ] || fail "the loader tells nothing of $program"
    for library in $libraries; do
        cp -L "$library" "$prefix/lib/"
        keep_copyright "$(package_of "$library")"
    done
    loader=$prefix/lib/${interpreter##*/}
    # The two names become empty strings, which name no file.
    LC_ALL=C sed -i 's,/\(etc/ld\.so\.\(preload\|cache\)\),\x00\1,g' "$loader"
    patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$prefix/lib" "$program"

    libraries=$(mapped "$program")
    for library in $libraries; do
        case $(realpath "$library") in
            "$prefix"/lib/*) ;;
            *) fail "$program still takes $library" ;;
        esac
    done
done

for package; do
    keep_copyright "$package"
done
