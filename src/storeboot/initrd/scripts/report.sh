#!/run/storeboot/bin/sh
# shellcheck shell=sh
# The machine's own account of its store, made from its own mounts, part by part.

export PATH=/run/storeboot/bin
# shellcheck disable=SC2034 # read by common.sh
CONSOLE='' SOURCE=agent
. /run/storeboot/common.sh

SYSTEM_BIN=/run/current-system/sw/bin
WORK="$SB/report"
mkdir -p "$WORK"

send() {
    http_post 120 "/boots/$(fact boot)/reports/$1" "$WORK/$1" /dev/null ||
        say "could not send report $1: $(http_error)"
}

# Remounted in a mount namespace of its own, as Nix does it to write to its store.
try_to_write() {
    name=/nix/store/storeboot-write-test-$(fact boot)
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare -m sh -c '
        mount -o remount,bind,rw /nix/store 2>/dev/null
        echo "$1" >"$1" && [ "$(cat "$1")" = "$1" ]
    ' sh "$name" && [ -e "$name" ]
}

closure_is_valid() {
    [ -x "$SYSTEM_BIN/nix-store" ] || return 1
    # shellcheck disable=SC2046 # store paths have no white space
    "$SYSTEM_BIN/nix-store" --check-validity $(cat "$WORK/paths")
}

# hash_some REMAINDER: every second path of the closure; two of these run side by side. With
# storeboot.sample=N one file of N, which ones depends on the boot.
# (busybox 1.35's xargs mangles long arguments where its buffer wraps, find's -exec does not.)
hash_some() {
    every=$(param storeboot.sample)
    [ -z "$every" ] || first=$((0x$(fact boot | cut -c 1-4) % every))
    awk -v remainder="$1" 'NR % 2 == remainder' "$WORK/paths" | while read -r path; do
        if [ -z "$every" ]; then
            find "$path" -type f -exec sha256sum {} +
        else
            find "$path" -type f | awk -v every="$every" -v first="$first" 'NR % every == first' |
                while IFS= read -r file; do sha256sum "$file"; done
        fi
    done
}

# Type, mode, owner, size, mtime and target of all that the closure has.
all_attributes() {
    while read -r path; do
        find "$path" -type d -exec stat -c '%f %u %g - %Y %N' {} +
        find "$path" ! -type d -exec stat -c '%f %u %g %s %Y %N' {} +
    done <"$WORK/paths"
}

# pack_file hot|stub: a file that the pack has with its data, or without; no program, for that may
# run, and cannot be changed then.
pack_file() {
    (cd /run/storeboot/pack && find . -type f ! -perm -100 -size +4096c -exec stat -c '%b %n' {} +) |
        awk -v kind="$1" '(kind == "stub") == ($1 <= 1) { print substr($2, 3); exit }'
}

# It is copied up, with all that was in it.
try_to_change() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare -m sh -c '
        mount -o remount,bind,rw /nix/store 2>/dev/null
        cp "$1" "$2" && echo more >>"$1" && echo more >>"$2" && cmp "$1" "$2" && chmod 0600 "$1"
    ' sh "/nix/store/$1" "$WORK/changed"
}

yes_or_no() {
    if "$@" >>"$SB/log" 2>&1; then echo yes; else echo no; fi
}

timeout 60 wget -q -O "$WORK/paths" "$(fact url)/views/$(fact view)/paths" 2>/dev/null

{
    echo "hostname=$(hostname)"
    echo "machine_id=$(cat /etc/machine-id 2>/dev/null)"
    echo "kernel=$(uname -r)"
    echo "ssh_host_key=$(sha256sum </etc/ssh/ssh_host_ed25519_key | cut -c 1-64)"
    echo "system=$(readlink /run/current-system)"
    echo "client_id=$(cat /sys/module/nfs/parameters/nfs4_unique_id)"
    echo "delegation_watermark=$(cat /sys/module/nfsv4/parameters/delegation_watermark 2>/dev/null)"
    echo "address=$(ip -4 addr show | sed -n 's/^ *inet \([0-9.]*\).* scope global.*/\1/p' | tr '\n' ' ')"
    echo "store_fstype=$(awk '$2 == "/nix/store" { type = $3 } END { print type }' /proc/mounts)"
    echo "lower_fstype=$(awk '$2 == "/nix/.ro-store" { type = $3 } END { print type }' /proc/mounts)"
    echo "lower_source=$(awk '$2 == "/nix/.ro-store" { print $1 }' /proc/mounts)"
    echo "overlay_upper_fstype=$(awk '$2 == "/nix/.rw-store" { type = $3 } END { print type }' /proc/mounts)"
    echo "persistent=$(awk '$2 == "/nix/.persist" { device = $1 }
        $1 == device && $2 != "/nix/.persist" { print $2 }' /proc/mounts | tr '\n' ' ')"
    echo "swap=$(awk 'NR > 1 { print $1 }' /proc/swaps | tr '\n' ' ')"
    echo "kexec_loaded=$(cat /sys/kernel/kexec_loaded 2>/dev/null)"
    echo "write_ok=$(yes_or_no try_to_write)"
    echo "closure_valid=$(yes_or_no closure_is_valid)"
    if [ -x "$SYSTEM_BIN/systemctl" ]; then
        echo "failed_units=$("$SYSTEM_BIN/systemctl" list-units --failed --plain --no-legend |
            cut -d ' ' -f 1 | tr '\n' ' ')"
    fi
} >"$WORK/facts"
cp "$SB/mountstats.boot" "$WORK/mountstats"
send mountstats

# Every regular file of the closure, read through the mount.
hash_some 0 >"$WORK/hashes.0" &
hash_some 1 >"$WORK/hashes.1"
wait
cat "$WORK/hashes.0" "$WORK/hashes.1" >"$WORK/hashes"
send hashes
if [ -n "$(fact pack)" ]; then
    all_attributes >"$WORK/attributes"
    send attributes
    for kind in hot stub; do
        file=$(pack_file $kind)
        [ -z "$file" ] || echo "changes_$kind=$(yes_or_no try_to_change "$file")" >>"$WORK/facts"
    done
fi
cp /proc/self/mountstats "$WORK/mountstats-after"
send mountstats-after
cp "$SB/agent.log" "$WORK/agent-log"
send agent-log
if [ -x "$SYSTEM_BIN/systemctl" ]; then
    "$SYSTEM_BIN/systemctl" list-units --failed --plain --no-legend | cut -d ' ' -f 1 |
        while read -r name; do
            "$SYSTEM_BIN/journalctl" --no-pager --lines 20 --unit "$name"
        done >"$WORK/failed-units" 2>&1
    send failed-units
fi
# Last, because it says that the report is whole.
send facts
rm -r "$WORK"
