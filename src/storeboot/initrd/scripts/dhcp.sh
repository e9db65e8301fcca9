#!/bin/sh
# Called by udhcpc with its findings in the environment: the first lease configures the NIC, a
# renewal only confirms it.
if [ -e /storeboot/common.sh ]; then . /storeboot/common.sh; else . /run/storeboot/common.sh; fi

# shellcheck disable=SC2154 # set by udhcpc
case "$1" in
bound | renew)
    if [ -n "$(fact ip)" ]; then
        # Another address is added, never put in the old one's place: the store hangs on that.
        if [ "$(fact ip)" != "$ip" ] && ip addr add "$ip/${mask:-24}" dev "$interface" 2>/dev/null; then
            echo "storeboot: the DHCP server now gives $ip" >>"$SB/log"
        fi
        exit 0
    fi
    mask=${mask:-24}
    ip addr add "$ip/$mask" broadcast "${broadcast:-+}" dev "$interface" || exit 1
    for address in $router; do
        ip route add "$address" dev "$interface" 2>/dev/null
        ip route add default via "$address" dev "$interface" && break
    done
    fact ip "$ip"
    fact prefix "$mask"
    fact router "${router%% *}"
    fact dns "$dns"
    fact domain "$domain"
    fact lease "$lease"
    ;;
esac
exit 0
