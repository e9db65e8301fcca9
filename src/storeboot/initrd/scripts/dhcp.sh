#!/bin/sh
# Called by udhcpc with its findings in the environment: the first lease configures the NIC, a
# renewal confirms it and brings what has changed.
if [ -e /storeboot/common.sh ]; then . /storeboot/common.sh; else . /run/storeboot/common.sh; fi

# shellcheck disable=SC2154 # set by udhcpc
NIC=$interface

# One of less is a mistake of the server: IPv4 asks every host to take 576 bytes (RFC 791).
set_mtu() {
    # shellcheck disable=SC2154 # set by udhcpc
    case "$mtu" in
    '' | *[!0-9]* | "$(fact mtu)") return 0 ;;
    esac
    if [ "$mtu" -ge 576 ] && ip link set dev "$NIC" mtu "$mtu"; then
        fact mtu "$mtu"
    else
        say "the DHCP server's MTU of $mtu is not used"
    fi
}

# add_route DESTINATION GATEWAY: 0.0.0.0 is the link itself.
add_route() {
    if [ "$2" = 0.0.0.0 ]; then
        ip route replace "$1" dev "$NIC"
        return
    fi
    # A gateway need not be in the NIC's own network.
    ip route add "$2" dev "$NIC" 2>/dev/null
    ip route replace "$1" via "$2" dev "$NIC"
}

# Destinations and gateways, in turns. Where there are some, routers do not count (RFC 3442).
set_routes() {
    # shellcheck disable=SC2154 # set by udhcpc
    routes=${staticroutes:-$msstaticroutes}
    [ -n "$routes" ] && [ "$routes" != "$(fact routes)" ] || return 0
    fact routes "$routes"
    # shellcheck disable=SC2086 # addresses have no white space
    set -- $routes
    while [ $# -ge 2 ]; do
        add_route "$1" "$2" || say "no route to $1 by $2"
        shift 2
    done
}

set_router() {
    [ -z "$(fact routes)" ] || return 0
    for address in $router; do
        add_route default "$address" && break
    done
}

# names TEXT: domain names go into files and onto command lines; a server may send any byte.
names() {
    printf '%s' "$1" | tr -cd 'A-Za-z0-9._ -'
}

# What a lease does not say stays as it was.
remember_lease() {
    # shellcheck disable=SC2154 # set by udhcpc
    {
        [ -z "$router" ] || fact router "${router%% *}"
        [ -z "$dns" ] || fact dns "$dns"
        [ -z "$domain" ] || fact domain "$(names "$domain")"
        [ -z "$search" ] || fact search "$(names "$search")"
        [ -z "$ntpsrv" ] || fact ntp "$ntpsrv"
        [ -z "$lease" ] || fact lease "$lease"
    }
}

# shellcheck disable=SC2154 # set by udhcpc
case "$1" in
bound | renew)
    if [ -n "$(fact ip)" ]; then
        # Another address is added, never put in the old one's place: the store hangs on that.
        if [ "$(fact ip)" != "$ip" ] && ip addr add "$ip/${mask:-24}" dev "$NIC" 2>/dev/null; then
            say "the DHCP server now gives $ip"
        fi
        set_mtu
        set_routes
    else
        mask=${mask:-24}
        set_mtu
        ip addr add "$ip/$mask" broadcast "${broadcast:-+}" dev "$NIC" || exit 1
        set_routes
        set_router
        fact ip "$ip"
        fact prefix "$mask"
    fi
    remember_lease
    ;;
esac
exit 0
