# shellcheck shell=sh
# The NIC that booted, its link, its address.

load_drivers() {
    # shellcheck disable=SC2046 # an alias has no white space
    modprobe -a -q $(find /sys/devices -name modalias -exec cat {} + 2>/dev/null | sort -u) 2>/dev/null
}

first_nic() {
    for device in /sys/class/net/*/device; do
        [ -e "$device" ] || continue
        cat "${device%/device}/address"
        return 0
    done
    return 1
}

nic_is_there() {
    load_drivers
    [ -n "$(fact mac)" ] || fact mac "$(first_nic)"
    nic_of_mac >/dev/null
}

find_nic() {
    modprobe -a -q af_packet
    if ! wait_for 30 nic_is_there; then
        fail "no network card with address '$(fact mac)' after 30 s; found: $(cat \
            /sys/class/net/*/address | tr '\n' ' ') (is its driver among the initrd's?)"
    fi
    remember_nic
    say "booting from $(boot_nic), $(fact mac)"
}

has_carrier() {
    [ "$(cat "/sys/class/net/$1/carrier" 2>/dev/null)" = 1 ]
}

# lease NAME: of the lease that the machine had before kexec: storeboot.lease=NAME:VALUE,…
lease() {
    param storeboot.lease | tr ',' '\n' | sed -n "s/^$1://p" | tr '+' ' '
}

configure_network() {
    nic=$(boot_nic)
    ip link set lo up
    ip link set "$nic" up || fail "cannot bring up $nic"
    wait_for 60 has_carrier "$nic" || fail "$nic has no link after 60 s: check cable and switch port"
    if [ -n "$(param storeboot.lease)" ]; then
        keep_address "$nic"
    else
        ask_for_address "$nic"
    fi
    say "address $(fact ip)/$(fact prefix) on $nic, router '$(fact router)'"
}

# As if DHCP had answered; the agent renews the lease as it did before.
keep_address() {
    ip=$(lease ip) mask=$(lease prefix) router=$(lease router) dns=$(lease dns) \
        domain=$(lease domain) mtu=$(lease mtu) search=$(lease search) ntpsrv=$(lease ntp) \
        staticroutes=$(lease routes) interface=$1 sh /storeboot/dhcp.sh bound >>"$SB/log" 2>&1
    [ -n "$(fact ip)" ] || fail "cannot give $1 the address of before: $(param storeboot.lease)"
}

ask_for_address() {
    nic=$1
    say "$nic has a link, asking for an address (a switch with spanning tree may take a minute)"
    ask_dhcp "$nic" /storeboot/dhcp.sh -q -n -t 30 -T 3 >>"$SB/log" 2>&1 ||
        fail "$nic has a link, but no DHCP server answered in 90 s"
    [ -n "$(fact ip)" ] || fail "the DHCP server of $nic gave no address"
}
