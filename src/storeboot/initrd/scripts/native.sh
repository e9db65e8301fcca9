# shellcheck shell=sh
# The agent of a system whose own initrd has mounted the store: its stage 2 starts this twice.
#
# native.sh prepare BUSYBOX SCRIPTS OWNER   copy all that the agent needs to RAM
# native.sh run                             from there, with RAM's own programs
#
# OWNER renews the lease: `system` if its network manager does, else `agent`.

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

server_address() {
    fact url | sed 's,^http://,,; s,:.*,,'
}

prepare() {
    . "$2/resident.sh"
    umask 077
    keep_in_ram "$1" "$2"
    read_command_line
    remember_nic
    fact lease_owner "$3"
    [ "$3" = system ] || take_over_lease "$2"
}

# Before the network manager starts, which is told to leave the NIC alone: it learns the name servers
# from here. A DHCP server that is silent now is asked again by the agent.
take_over_lease() {
    . "$1/stage2.sh"
    fact ip "$(own_address "$(server_address)")"
    ask_dhcp "$(boot_nic)" "$SB/dhcp.sh" -r "$(fact ip)" -q -n -t 3 -T 2 >>"$SB/log" 2>&1
    (umask 022 && write_network_manager && write_timesyncd)
}

# Stage 2 may still be busy with the network, and a request says when it was made.
begin() {
    fact ip "$(own_address "$(server_address)")"
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
prepare) prepare "$2" "$3" "${4:-system}" ;;
run) run ;;
*) fail "usage: native.sh prepare BUSYBOX SCRIPTS OWNER | run" ;;
esac
