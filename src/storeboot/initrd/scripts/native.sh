# shellcheck shell=sh
# The agent of a system whose own initrd has mounted the store: its stage 2 starts this twice.
#
# native.sh prepare BUSYBOX SCRIPTS   copy all that the agent needs to RAM
# native.sh run                       from there, with RAM's own programs

export PATH=/run/storeboot/bin
# shellcheck disable=SC2034 # read by common.sh
CONSOLE='' SOURCE=agent
. "${3:-/run/storeboot}/common.sh"
. "${3:-/run/storeboot}/begin.sh"

fail() {
    say "$1"
    echo "storeboot: $1" >&2
    exit 1
}

# The address that the way to the server has.
own_address() {
    ip -4 route get "$1" 2>/dev/null | sed -n 's/.* src \([0-9.]*\).*/\1/p' | head -n 1
}

prepare() {
    . "$2/resident.sh"
    umask 077
    keep_in_ram "$1" "$2"
    read_command_line
    fact lease_owner system
}

# Stage 2 may still be busy with the network, and a request says when it was made.
begin() {
    fact ip "$(own_address "$(fact url | sed 's,^http://,,; s,:.*,,')")"
    boot_request | sed "s/^nonce=.*/nonce=$(fact nonce)/" >"$SB/request"
    post_boot
}

run() {
    # An agent that was started again goes on with its boot.
    if [ -z "$(fact boot)" ]; then
        [ -n "$(fact nonce)" ] || fact nonce "$(nonce)"
        until begin; do
            say "no answer from $(fact url): $(http_error)"
            sleep 10
        done
        read_answer
    fi
    exec "$SB/bin/sh" "$SB/agent.sh" run
}

case "$1" in
prepare) prepare "$2" "$3" ;;
run) run ;;
*) fail "usage: native.sh prepare BUSYBOX SCRIPTS | run" ;;
esac
