# shellcheck shell=sh
# What the machine has of its own: local disks that it was told to use, memory as swap.

find_label() {
    load_drivers
    findfs "LABEL=$1" >"$SB/device" 2>/dev/null
}

# mount_label LABEL DIRECTORY OPTIONS: nothing is ever formatted here.
mount_label() {
    modprobe -a -q ext4 xfs btrfs f2fs
    wait_for 30 find_label "$1" || fail "no local file system has the label '$1' after 30 s; disks: $(
        awk 'NR > 2 { print $4 }' /proc/partitions | tr '\n' ' ')"
    mkdir -p "$2"
    # Both settings may name one file system.
    mount -o "$3" "$(cat "$SB/device")" "$2" 2>"$SB/mount-error" ||
        fail "cannot mount '$1', $(cat "$SB/device"): $(tail -n 1 "$SB/mount-error")"
    say "$(cat "$SB/device"), labelled '$1', is mounted"
}

# Directories are made on the disk when they are not there yet.
mount_persistent() {
    [ -n "$(fact persist_label)" ] || return 0
    mount_label "$(fact persist_label)" "$SYSROOT/nix/.persist" noatime
    for name in $(fact persist_directories | tr ':' ' '); do
        mkdir -p "$SYSROOT/nix/.persist$name" "$SYSROOT$name"
        mount -o bind "$SYSROOT/nix/.persist$name" "$SYSROOT$name" ||
            fail "cannot lay $name of '$(fact persist_label)' over the root"
    done
}

# In KiB: 50% of the memory, 4G, 512M, 100k, or bytes.
size_in_kib() {
    total=$(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo)
    case "$1" in
    *%) echo $((total * ${1%\%} / 100)) ;;
    *[gG]) echo $((${1%?} * 1048576)) ;;
    *[mM]) echo $((${1%?} * 1024)) ;;
    *[kK]) echo "${1%?}" ;;
    *) echo $(($1 / 1024)) ;;
    esac
}

# A machine without it still boots.
start_zram() {
    [ -n "$(fact zram)" ] || return 0
    modprobe -q zram
    for algorithm in zstd lzo-rle; do
        echo "$algorithm" >/sys/block/zram0/comp_algorithm 2>/dev/null && break
    done
    if echo "$(size_in_kib "$(fact zram)")K" >/sys/block/zram0/disksize &&
        mkswap /dev/zram0 >/dev/null && swapon /dev/zram0; then
        say "swap of $(fact zram) in compressed memory"
    else
        say "no swap in compressed memory: $(dmesg | tail -n 1)"
    fi
}
