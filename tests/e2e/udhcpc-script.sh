#!/bin/sh
# What initrd-network.nix does with a lease.
if [ "$1" = bound ]; then
    ip address add "$ip/$mask" dev "$interface"
    if [ -n "$router" ]; then
        ip route add default via "$router" dev "$interface"
    fi
fi
