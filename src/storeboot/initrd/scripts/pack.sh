# shellcheck shell=sh
# The pack: names and hot files of the view in one file. Whatever fails here, the boot goes on.

PACK="$SB/pack"

# Fetched while the store and a local disk are mounted. A server that falls silent is waited for half
# a minute.
fetch_pack() {
    [ -n "$(fact pack)" ] || return 0
    for attempt in 1 2 3; do
        timeout 300 wget -q -c -O "$PACK.squashfs" \
            "$(fact url)/views/$(fact view)/pack/$(fact pack)" 2>"$PACK.error" &
        fetching=$!
        end_if_silent "$fetching" &
        watching=$!
        wait "$fetching" && break
        kill "$watching" 2>/dev/null
        sleep "$attempt"
    done
    kill "$watching" 2>/dev/null
    : >"$PACK.over"
}

# end_if_silent PID: when the pack has not grown for ten seconds. (wget -T kills static busyboxes.)
end_if_silent() {
    had=0
    while sleep 10; do
        has=$(stat -c %s "$PACK.squashfs" 2>/dev/null || echo 0)
        [ "$has" = "$had" ] && break
        had=$has
    done
    echo "nothing came for ten seconds" >>"$PACK.error"
    kill "$1"
}

# plainly REASON: without the pack, and the server is told why.
plainly() {
    say "no pack: $1"
    echo "$1" >"$PACK.reason"
    report plain "$PACK.reason"
    rm -f "$PACK.squashfs"
    fact pack ''
}

# Said only while there is nothing else to do, so that it takes no time of the boot.
await_pack() {
    [ -e "$PACK.over" ] || report await-pack
    wait "$PACK_FETCHED"
}

mount_pack() {
    [ -n "$(fact pack)" ] || return 1
    await_pack
    if [ ! -s "$PACK.squashfs" ]; then
        plainly "it could not be fetched: $(tail -n 1 "$PACK.error")"
    elif ! echo "$(fact pack_sha256)  $PACK.squashfs" | sha256sum -c >/dev/null 2>&1; then
        plainly "what was fetched is damaged"
    else
        mkdir -p "$PACK"
        modprobe -a -q loop squashfs
        mount -t squashfs -o ro,loop "$PACK.squashfs" "$PACK" 2>"$PACK.error" && return 0
        plainly "it cannot be mounted: $(tail -n 1 "$PACK.error")"
    fi
    return 1
}

# Whether this kernel finds the data of a stub in the layer below. Where its squashfs knows no
# extended attributes, or its overlayfs is given to do something else with them, each stub would be
# a file of zeros. The pack has a stub for which the data is here.
try_pack() {
    trial="$PACK.trial"
    mkdir -p "$trial/lower" "$trial/overlay"
    echo storeboot >"$trial/lower/.storeboot-trial-data"
    mount -t overlay -o "ro,$(pack_layers "$1" "$trial/lower")" overlay "$trial/overlay" \
        2>/dev/null || return 1
    found=$(tr -d '\0' <"$trial/overlay/.storeboot-trial" 2>/dev/null)
    umount "$trial/overlay"
    [ "$found" = storeboot ] || refused="the kernel does not find the data of its files (Linux options \
SQUASHFS_XATTR and OVERLAY_FS_METACOPY)"
    [ "$found" = storeboot ]
}

# pack_layers SEPARATOR LOWER: with "::" its files' data is found when it is needed (Linux 6.5), with
# ":" it is looked up with the name.
pack_layers() {
    echo "lowerdir=$PACK$1$2,metacopy=on,redirect_dir=on"
}

# lay_overlay UPPER-AND-WORK: with the pack in the way that the kernel takes and that works.
lay_overlay() {
    lower="$SYSROOT/nix/.ro-store"
    if mount_pack; then
        refused=''
        for separator in :: :; do
            if try_pack "$separator" &&
                mount -t overlay -o "$(pack_layers "$separator" "$lower"),$1" \
                    overlay "$SYSROOT/nix/store" 2>/dev/null; then
                report pack
                return 0
            fi
        done
        plainly "${refused:-the kernel takes no overlay with it: $(dmesg | tail -n 1)}"
        umount "$PACK"
    fi
    mount -t overlay -o "lowerdir=$lower,$1" overlay "$SYSROOT/nix/store"
}
