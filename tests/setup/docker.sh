#!/bin/sh
# Gives the tests a Docker engine and the image debian:bookworm-slim.
#
#   docker.sh start   takes the engine that answers; where none does, starts one (as root)
#   docker.sh stop    ends the engine that start started, never another one
#
# start exits with 0, or with 1 and the reason on stderr.
set -eu

state=/run/coreinit-tests
image=debian:bookworm-slim

fail() {
    echo "docker.sh: $*" >&2
    exit 1
}

answers() {
    docker info >/dev/null 2>&1
}

start_engine() {
    command -v docker >/dev/null || fail "docker is not installed"
    if answers; then
        return
    fi
    [ "$(id -u)" = 0 ] || fail "no Docker engine answers, and only root can start one"
    command -v dockerd >/dev/null || fail "no Docker engine answers, and dockerd is not installed"

    mkdir -p "$state"
    setsid dockerd --pidfile "$state/dockerd.pid" </dev/null >"$state/dockerd.log" 2>&1 &
    engine=$!
    for _ in $(seq 60); do
        if answers; then
            return
        fi
        kill -0 "$engine" 2>/dev/null || break
        sleep 1
    done
    tail -n 5 "$state/dockerd.log" >&2
    fail "dockerd does not come up; its log is $state/dockerd.log"
}

stop_engine() {
    pid=$(cat "$state/dockerd.pid" 2>/dev/null) || return 0
    # One that did not end well leaves its file, and by now the number may be another process's.
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] || return 0
    kill "$pid"
    for _ in $(seq 30); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 1
    done
    fail "dockerd (pid $pid) does not end"
}

# Debian's image, or one like it made from packages. Its apt is set up as this machine's is, so that
# apt works in `docker build` wherever it works here.
make_image() {
    if docker image inspect "$image" >/dev/null 2>&1; then
        return
    fi
    timeout 120 docker pull -q "$image" && return
    [ "$(id -u)" = 0 ] || fail "$image can't be pulled, and only root can make it"
    command -v mmdebstrap >/dev/null ||
        fail "$image can't be pulled, and mmdebstrap is not installed"

    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    # Nothing here where this machine's packages are another distribution's: then mmdebstrap's own
    # list is used.
    apt-get indextargets --format "deb \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" \
            'Identifier: Packages' 'Origin: Debian' |
        grep ' bookworm' >"$work/sources.list" || true
    apt-config dump Acquire | grep -E '^Acquire::(Check-|https?::)' >"$work/apt.conf" || true

    set -- --quiet --variant=apt
    [ ! -s "$work/apt.conf" ] || set -- "$@" --aptopt="$work/apt.conf"
    set -- "$@" bookworm "$work/image.tar"
    [ ! -s "$work/sources.list" ] || set -- "$@" "$work/sources.list"
    mmdebstrap "$@"
    docker import --change 'CMD ["bash"]' --message 'made by tests/setup/docker.sh' \
           "$work/image.tar" "$image"
}

case ${1-} in
start)
    start_engine
    make_image
    ;;
stop)
    stop_engine
    ;;
*)
    fail "usage: docker.sh start|stop"
    ;;
esac
