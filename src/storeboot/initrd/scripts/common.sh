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

# nic_of_mac: the name of the NIC that booted. Names change between initrd and stage 2; the MAC
# address does not.
nic_of_mac() {
    for address in /sys/class/net/*/address; do
        if [ "$(cat "$address" 2>/dev/null)" = "$(fact mac)" ]; then
            address=${address%/address}
            echo "${address##*/}"
            return 0
        fi
    done
    return 1
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
