# shellcheck shell=sh
# Begin the boot, mount the store, lay the overlay above it.

begin_boot() {
    boot_request >"$SB/request"
    wait_for 60 post_boot || fail "no answer from $(fact url) in 60 s: $(http_error)"
    read_answer
    date -s "@$(fact time)" >/dev/null || say "could not set the clock"
    hostname "$(fact hostname)"
    say "boot $(fact boot) as $(fact hostname) has begun"
}

# Everything is said to the kernel, so that it needs no rpcbind and no mount helper. Not noacl:
# over NFSv3 without ACLs overlayfs refuses every user but root (EOPNOTSUPP).
nfs_options() {
    server=$(fact nfs_server) port=$(fact nfs_port) version=$(fact nfs_version)
    options="ro,nosuid,nodev,noatime,nocto,actimeo=86400,hard,proto=tcp,addr=$server,port=$port"
    case "$version" in
    3) echo "$options,vers=3,nolock,mountaddr=$server,mountport=$port,mountproto=tcp" ;;
    *) echo "$options,vers=$version,clientaddr=$(fact ip)" ;;
    esac
}

nfs_type() {
    if [ "$(fact nfs_version)" = 3 ]; then echo nfs; else echo nfs4; fi
}

# A client that only gets a refusal or silence would retry for minutes without a word.
probe_nfs() {
    timeout 10 nc -w 5 "$(fact nfs_server)" "$(fact nfs_port)" </dev/null 2>"$SB/nc-error" >/dev/null
}

# What passes is tried again: a server that is restarted refuses or cuts the connection, and one
# whose disk or descriptors fail it says so, as a remote I/O error over NFSv3. Any other answer is
# final.
mount_nfs() {
    probe_nfs || return 1
    timeout -s KILL 60 mount -i -t "$1" -o "$(nfs_options)" \
        "$(fact nfs_server):/view/$(fact token)" "$SYSROOT/nix/.ro-store" 2>"$SB/mount-error" &&
        return 0
    status=$?
    case "$(cat "$SB/mount-error")" in
    *"Connection "* | *"Broken pipe"* | *"timed out"*) return 1 ;;
    *"I/O error"* | *"nput/output error"* | *"temporarily unavailable"*) return 1 ;;
    esac
    fail "$where does not let this boot mount its view: $(cat "$SB/mount-error") (status $status)"
}

SYSROOT=/sysroot

mount_store() {
    where="NFS server $(fact nfs_server) port $(fact nfs_port)"
    wait_for 30 probe_nfs || fail "$where cannot be reached: $(cat "$SB/nc-error")"
    wait "$STORE_MODULES"
    # Machines with one host name must not be one client to the server, so this comes first.
    echo "storeboot-$(fact machine_id)" >/sys/module/nfs/parameters/nfs4_unique_id
    mount -t tmpfs -o mode=0755 tmpfs "$SYSROOT" || fail "cannot mount a tmpfs as root"
    mkdir -p "$SYSROOT/nix/.ro-store"
    wait_for 60 mount_nfs "$(nfs_type)" ||
        fail "$where was reached, but its view could not be mounted in 60 s: $(cat "$SB/nc-error" "$SB/mount-error")"
    # Above so many, 5000 by default, Linux hands delegations back at every close.
    watermark=/sys/module/nfsv4/parameters/delegation_watermark
    [ ! -e "$watermark" ] || echo 1000000 >"$watermark"
    [ -e "$SYSROOT/nix/.ro-store/$(basename "$(fact toplevel)")" ] ||
        fail "the view has no $(fact toplevel)"
}

mount_overlay() {
    mkdir -p "$SYSROOT/nix/.rw-store" "$SYSROOT/nix/store"
    if [ -n "$(fact overlay_label)" ]; then
        mount_label "$(fact overlay_label)" "$SYSROOT/nix/.rw-store" noatime,nosuid,nodev
        # What lies above one lower store must never lie above another: each boot has its own.
        overlays="$SYSROOT/nix/.rw-store/storeboot-overlay"
        # The agent removes those of before; a disk that they have filled cannot wait for it.
        [ "$(df -kP "$SYSROOT/nix/.rw-store" | awk 'END { print $4 }')" -gt 65536 ] ||
            timeout 300 rm -rf "$overlays"
        writable="$overlays/$(fact boot)"
    else
        mount -t tmpfs -o "mode=0755,size=$(fact overlay_size)" tmpfs "$SYSROOT/nix/.rw-store" ||
            fail "cannot mount a tmpfs of size $(fact overlay_size) for the overlay"
        writable="$SYSROOT/nix/.rw-store"
    fi
    mkdir -p "$writable/store" "$writable/work" ||
        fail "cannot write to the file system of the overlay"
    # A whiteout: what the pack has for its trial is no part of the store.
    [ -z "$(fact pack)" ] || mknod "$writable/store/.storeboot-trial" c 0 0
    lay_overlay "upperdir=$writable/store,workdir=$writable/work" ||
        fail "cannot lay the overlay above NFS: $(dmesg | tail -n 1)"
    mount_etc_overlay
    mount_persistent
    start_zram
}

# system.etc.overlay.enable: what NixOS's own stage 1 does for it (etc-activation, etc.nix).
mount_etc_overlay() {
    system="$SYSROOT$(fact toplevel)"
    [ -L "$system/etc-metadata-image" ] || return 0
    image=$(chroot_path "$(readlink "$system/etc-metadata-image")")
    base=$(chroot_path "$(readlink "$system/etc-basedir")")
    modprobe -a -q erofs loop
    mkdir -p /run/nixos-etc-metadata "$SYSROOT/etc" "$SYSROOT/.rw-etc/upper" "$SYSROOT/.rw-etc/work"
    mount -t erofs -o ro,loop "$image" /run/nixos-etc-metadata ||
        fail "cannot mount the system's etc-metadata-image"
    mount -t overlay -o "lowerdir=/run/nixos-etc-metadata::$base,redirect_dir=on,metacopy=on,upperdir=$SYSROOT/.rw-etc/upper,workdir=$SYSROOT/.rw-etc/work" \
        overlay "$SYSROOT/etc" || fail "cannot lay the system's etc overlay: $(dmesg | tail -n 1)"
}

chroot_path() {
    echo "$SYSROOT$1"
}
