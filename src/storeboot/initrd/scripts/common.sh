# shellcheck shell=sh
# Words that the initrd and the agent share. Facts of this boot are files in $SB, which is in RAM
# and stays when stage 2 starts.

SB=/run/storeboot

# fact NAME [VALUE]: print a fact, or set it.
fact() {
    if [ $# -eq 2 ]; then
        printf '%s\n' "$2" >"$SB/fact.$1"
    elif [ -f "$SB/fact.$1" ]; then
        cat "$SB/fact.$1"
    fi
}

# param NAME: the last value of NAME=VALUE on the kernel command line.
param() {
    tr ' ' '\n' </proc/cmdline | sed -n "s/^$1=//p" | tail -n 1
}

uptime_seconds() {
    cut -d ' ' -f 1 /proc/uptime
}

say() {
    echo "storeboot: $*" >>"$SB/log"
    if [ -n "$CONSOLE" ]; then
        echo "storeboot: $*" >"$CONSOLE" 2>/dev/null
    fi
}

# http_post SECONDS PATH FILE ANSWER: post a file; what went wrong is left in $SB/http-error.
http_post() {
    timeout "$1" wget -q -O "$4" --header "Authorization: Bearer $(fact key)" \
        --post-file "$3" "$(fact url)$2" 2>"$SB/http-error"
}

# http_get SECONDS PATH FILE: the same for what only this boot may have.
http_get() {
    timeout "$1" wget -q -O "$3" --header "Authorization: Bearer $(fact key)" \
        "$(fact url)$2" 2>"$SB/http-error"
}

http_error() {
    tail -n 1 "$SB/http-error" | sed 's/^wget: //; s/server returned error: HTTP\/1.. //'
}

# report STAGE [FILE]: tell the server that a stage is reached. A server that does not answer
# stops nothing; what is reached before the boot has begun is told when it begins. Fails if nobody has
# heard it.
report() {
    uptime=$(uptime_seconds)
    if [ -z "$(fact boot)" ]; then
        echo "stage=$1 $uptime" >>"$SB/early"
        return 0
    fi
    http_post 5 "/boots/$(fact boot)/events?source=$SOURCE&stage=$1&uptime=$uptime" \
        "${2:-/dev/null}" /dev/null && return 0
    say "could not report $1: $(http_error)"
    return 1
}

# refuse REASON: what the server has asked for is not done.
refuse() {
    say "refused: $1"
    echo "$1" >"$SB/refusal"
    report refused "$SB/refusal"
    return 1
}

# boot_nic: the name of the NIC that booted. Names change between initrd and stage 2, and addresses
# are copied or changed where a NIC gets into a bond; its index stays as long as it is there.
boot_nic() {
    index=$(fact ifindex)
    for nic in ${index:+/sys/class/net/*}; do
        if [ "$(cat "$nic/ifindex" 2>/dev/null)" = "$index" ]; then
            echo "${nic##*/}"
            return 0
        fi
    done
    nic_of_mac
}

# nic_of_mac: the name of the NIC with the MAC address that booted. Only NICs have a device; VLANs,
# macvlans, bridges and bonds may have the same address. Of two, it is the one that no other
# interface holds, as a virtual function is held by the NIC that it speeds up.
nic_of_mac() {
    held=
    for nic in /sys/class/net/*; do
        if [ ! -e "$nic/device" ] || [ "$(cat "$nic/address" 2>/dev/null)" != "$(fact mac)" ]; then
            continue
        fi
        if [ ! -e "$nic/master" ]; then
            echo "${nic##*/}"
            return 0
        fi
        held=${held:-${nic##*/}}
    done
    [ -n "$held" ] && echo "$held"
}

remember_nic() {
    nic=$(nic_of_mac) && fact ifindex "$(cat "/sys/class/net/$nic/ifindex")"
}

# ask_dhcp NIC SCRIPT OPTION…: besides what busybox asks for by itself, for the MTU (26), time
# servers (42), the search list (119) and routes (121, and 249 of old servers). By number: a busybox
# that cannot decode them knows no names for them.
ask_dhcp() {
    nic=$1 script=$2
    shift 2
    udhcpc -f -i "$nic" -s "$script" -V storeboot -O 26 -O 42 -O 119 -O 121 -O 249 "$@"
}

# search_list: what short names are looked up below.
search_list() {
    search=$(fact search)
    echo "${search:-$(fact domain)}"
}

# wait_for SECONDS COMMAND…: until it succeeds or the time is over.
wait_for() {
    end=$(($(date +%s) + $1))
    shift
    while ! "$@"; do
        [ "$(date +%s)" -lt "$end" ] || return 1
        sleep 0.2
    done
}
