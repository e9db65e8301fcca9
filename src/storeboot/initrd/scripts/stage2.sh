# shellcheck shell=sh
# What stage 2 finds in /run, whatever init and network manager it has.

UNITS=/run/systemd/system

prepare_stage2() {
    write_identity
    write_host_key
    write_nix_database
    write_networkd
    keep_nic_name
    write_network_manager
    write_timesyncd
    write_units
    keep_in_ram /bin/busybox /storeboot
    # From here on the initrd itself reaches these through the new root.
    for name in dev proc sys run; do
        mkdir -p "$SYSROOT/$name"
        mount -o move "/$name" "$SYSROOT/$name" || fail "cannot move /$name into the new root"
        rm -r "/${name:?}"
        ln -s "$SYSROOT/$name" "/$name"
    done
    mkdir -p "$SYSROOT/tmp"
    chmod 1777 "$SYSROOT/tmp"
    write_dhcpcd
    # The stage-2 script of a system with systemd stage 1; a scripted one runs it as its init.
    if [ -e "$SYSROOT/nix/.ro-store/$(basename "$(fact toplevel)")/prepare-root" ]; then
        chroot "$SYSROOT" /run/storeboot/bin/env -i IN_NIXOS_SYSTEMD_STAGE1=true \
            "$(fact toplevel)/prepare-root" >>"$SB/log" 2>&1 ||
            fail "$(fact toplevel)/prepare-root ended with status $?"
    fi
}

write_identity() {
    mkdir -p "$SYSROOT/etc"
    [ -e "$SYSROOT/etc/machine-id" ] || fact machine_id >"$SYSROOT/etc/machine-id"
    [ -e "$SYSROOT/etc/hostname" ] || fact hostname >"$SYSROOT/etc/hostname"
    {
        [ -z "$(search_list)" ] || echo "search $(search_list)"
        for address in $(fact dns); do echo "nameserver $address"; done
    } >"$SB/resolv.conf"
    [ -e "$SYSROOT/etc/resolv.conf" ] || cat "$SB/resolv.conf" >"$SYSROOT/etc/resolv.conf"
}

# sshd makes the keys that it does not find, so a machine that gets none has a new one each boot.
write_host_key() {
    file="$SYSROOT/etc/ssh/ssh_host_ed25519_key"
    [ "$(fact ssh_host_key)" = yes ] && [ ! -e "$file" ] || return 0
    mkdir -p "${file%/*}"
    (umask 077 && http_get 10 "/boots/$(fact boot)/ssh-host-key" "$SB/ssh-host-key")
    if [ -s "$SB/ssh-host-key" ]; then
        (umask 077 && cat "$SB/ssh-host-key" >"$file")
    else
        say "no ssh host key: $(http_error)"
    fi
    rm -f "$SB/ssh-host-key"
}

# Fetched while the store is mounted.
fetch_database() {
    [ "$(fact nix_store)" = local ] || return 0
    timeout 20 wget -q -O "$SB/database.gz" "$(fact url)/views/$(fact view)/database" 2>/dev/null
}

# The machine's own Nix knows the store's paths from its start, and need not run for it. A database
# that is there already, on a local disk, is added to by the agent; so is that of a local-overlay's
# lower store, which the machine's Nix could not bring up to date.
write_nix_database() {
    wait "$DATABASE_FETCHED"
    nix="$SYSROOT/nix/var/nix"
    # Nothing of what the machine runs is garbage to its own Nix.
    mkdir -p "$nix/gcroots"
    ln -sfn "$(fact toplevel)" "$nix/gcroots/storeboot"
    if [ "$(fact nix_store)" = local ] && [ -s "$SB/database.gz" ] && [ ! -e "$nix/db/db.sqlite" ]; then
        mkdir -p "$nix/db"
        if gunzip -c "$SB/database.gz" >"$nix/db/db.sqlite"; then
            printf 10 >"$nix/db/schema"
            fact database new
        else
            rm -r "$nix/db"
        fi
    fi
    rm -f "$SB/database.gz"
}

# The NIC, and nothing that has only copied its address, such as a VLAN or macvlan: those have a kind.
match_nic() {
    printf '[Match]\nMACAddress=%s\nType=ether\nKind=!*\n\n' "$(fact mac)"
}

# The address stays ours: the store hangs on it, and the agent renews its lease.
write_networkd() {
    mkdir -p /run/systemd/network
    {
        match_nic
        printf '[Network]\nDHCP=no\nLinkLocalAddressing=no\nIPv6AcceptRA=no\nKeepConfiguration=yes\n'
        for address in $(fact dns); do echo "DNS=$address"; done
        [ -z "$(search_list)" ] || echo "Domains=$(search_list)"
    } >/run/systemd/network/00-storeboot.network
}

# Before Linux 6.2 an interface that is up cannot be renamed; udev tries, and networkd then keeps
# the link "pending" for ever.
keep_nic_name() {
    version=$(uname -r)
    minor=${version#*.}
    [ $((${version%%.*} * 1000 + ${minor%%[!0-9]*})) -lt 6002 ] || return 0
    {
        match_nic
        printf '[Link]\nNamePolicy=keep\n'
    } >/run/systemd/network/00-storeboot.link
}

write_network_manager() {
    mkdir -p /run/NetworkManager/conf.d
    {
        printf '[device-storeboot]\nmatch-device=mac:%s' "$(fact mac)"
        for kind in bond bridge macvlan team vlan; do
            printf ';except:type:%s' "$kind"
        done
        printf '\nmanaged=0\n'
        if [ -n "$(fact dns)" ]; then
            printf '\n[global-dns]\n'
            [ -z "$(search_list)" ] || printf 'searches=%s\n' "$(search_list | tr ' ' ',')"
            printf '\n[global-dns-domain-*]\nservers=%s\n' "$(fact dns | tr ' ' ',')"
        fi
    } >/run/NetworkManager/conf.d/00-storeboot.conf
}

# Whatever manages the network: the network's time servers, besides those of the system.
write_timesyncd() {
    [ -n "$(fact ntp)" ] || return 0
    mkdir -p /run/systemd/timesyncd.conf.d
    printf '[Time]\nNTP=%s\n' "$(fact ntp)" >/run/systemd/timesyncd.conf.d/00-storeboot.conf
}

# The initrd's builder has made them, with the links that pull them in.
write_units() {
    mkdir -p "$UNITS"
    cp -dR /storeboot/units/. "$UNITS"
    for file in /storeboot/units/*.mount; do
        [ -e "$file" ] || continue
        say "masked: ${file##*/} (not on this diskless machine)"
    done
}

# dhcpcd has no configuration below /run, so its command line gets the boot NIC denied: by the
# name that it has at that time.
write_dhcpcd() {
    command=$(chroot "$SYSROOT" "$SB/bin/sed" -n 's/^ExecStart=//p' \
        "$(fact toplevel)/etc/systemd/system/dhcpcd.service" 2>/dev/null | head -n 1)
    [ -n "$command" ] || return 0
    mkdir -p "$UNITS/dhcpcd.service.d"
    cat >"$UNITS/dhcpcd.service.d/50-storeboot.conf" <<END
[Service]
Environment=STOREBOOT_NIC=none
EnvironmentFile=-$SB/nic.env
ExecStartPre=+$SB/bin/sh $SB/agent.sh nic-env
ExecStart=
ExecStart=$command --background --denyinterfaces \${STOREBOOT_NIC}
END
}

start_agent() {
    setsid chroot "$SYSROOT" "$SB/bin/sh" "$SB/agent.sh" run </dev/null >>"$SB/agent.log" 2>&1 &
}

hand_over() {
    chroot "$SYSROOT" "$SB/bin/test" -x "$(fact init)" ||
        fail "$(fact init) is not there, or cannot be executed"
    # Should switch_root or init end, the kernel panics: it shall not sit there for ever.
    [ "$(cat /proc/sys/kernel/panic)" != 0 ] || echo 30 >/proc/sys/kernel/panic
    say "starting $(fact init)"
    exec env -i "TERM=${TERM:-linux}" /bin/switch_root "$SYSROOT" "$(fact init)"
}
