# shellcheck shell=sh
# What a machine says when its boot begins, and what it is told.

post_boot() {
    http_post 10 /boots "$SB/request" "$SB/answer" && return 0
    case "$(http_error)" in
    4??\ *) fail "the server refuses this boot: $(http_error)" ;;
    esac
    return 1
}

# By SMBIOS, or by the device tree that a Raspberry Pi's firmware hands over.
board_serial() {
    cat /sys/class/dmi/id/product_serial 2>/dev/null ||
        tr -d '\0' </proc/device-tree/serial-number 2>/dev/null
}

# BOOTIF=01-<mac>, as PXELINUX and iPXE write it: 01 is Ethernet.
boot_mac() {
    param BOOTIF | sed 's/^01-//; s/-/:/g' | tr 'A-F' 'a-f'
}

nonce() {
    head -c 16 /dev/urandom | xxd -p
}

# The nonce makes a request that is sent twice one boot.
boot_request() {
    echo "host=$(fact host)"
    echo "view=$(fact view)"
    echo "ticket=$(param storeboot.ticket)"
    echo "nonce=$(nonce)"
    echo "mac=$(fact mac)"
    echo "uuid=$(cat /sys/class/dmi/id/product_uuid 2>/dev/null)"
    echo "serial=$(board_serial)"
    echo "address=$(fact ip)"
    echo "uptime=$(uptime_seconds)"
    [ ! -e "$SB/early" ] || cat "$SB/early"
}

# Every field of the answer becomes a fact of its name.
read_answer() {
    while IFS= read -r line; do
        case "${line%%=*}" in
        "$line" | '' | *[!a-z0-9_]*) ;;
        *) fact "${line%%=*}" "${line#*=}" ;;
        esac
    done <"$SB/answer"
    [ -n "$(fact boot)" ] || fail "the server's answer has no boot id"
}

# init=/nix/store/…-nixos-system-…/init names the system, as in NixOS.
read_command_line() {
    for name in url host view; do
        [ -n "$(param "storeboot.$name")" ] || fail "storeboot.$name is missing on the kernel command line"
        fact "$name" "$(param "storeboot.$name")"
    done
    fact init "$(param init)"
    fact toplevel "$(param init | sed 's,/init$,,')"
    [ -n "$(fact init)" ] || fail "init= is missing on the kernel command line"
    fact mac "$(boot_mac)"
}
