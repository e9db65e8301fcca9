#!/run/storeboot/bin/sh
# shellcheck shell=sh
# Lives in RAM from before stage 2 until the machine is off: renews the address, tells the server
# where the machine is, carries out what it asks. Needs nothing from the store to do so.

export PATH=/run/storeboot/bin
# shellcheck disable=SC2034 # read by common.sh
CONSOLE='' SOURCE=agent
. /run/storeboot/common.sh
. /run/storeboot/units.sh

SYSTEM_BIN=/run/current-system/sw/bin
LOOK=30 # seconds from one look at systemd's units to the next
HEARTBEAT=$(fact heartbeat)

# udhcpc ends when its interface is renamed or goes away: find it again.
keep_lease() {
    while :; do
        ask_dhcp "$(boot_nic)" /run/storeboot/dhcp.sh -r "$(fact ip)" -t 5 -T 3 -A 10 \
            >/dev/null 2>&1
        sleep 5
    done
}

facts_of_machine() {
    sed -n 's/^\(MemTotal\|MemAvailable\): *\([0-9]*\).*/\1=\2/p' /proc/meminfo
    df -k /nix/.rw-store 2>/dev/null | awk 'NR == 2 { print "overlay_used=" $3 "\noverlay_size=" $2 }'
}

heartbeat() {
    facts_of_machine >"$SB/heartbeat"
    http_post 10 "/boots/$(fact boot)/heartbeat" "$SB/heartbeat" "$SB/command" || return 0
    case "$(cat "$SB/command")" in
    poweroff | reboot) go_down "$(cat "$SB/command")" ;;
    restart) restart_politely reboot & ;;
    kexec) start_next & ;;
    report) make_report & ;;
    esac
}

# restart_politely reboot|kexec: unless somebody on the machine inhibits it. The unit that goes with
# the target tells the agent.
restart_politely() {
    if ! has_systemd; then
        going_down "$1"
        case "$1" in
        kexec) "$SYSTEM_BIN/kexec" --exec ;;
        *) "$1" ;;
        esac
        return 0
    fi
    "$SYSTEM_BIN/systemctl" --check-inhibitors=yes "$1" </dev/null >"$SB/restart.log" 2>&1 && return 0
    # A kernel that stays loaded is what the next reboot starts, whenever that is.
    [ "$1" != kexec ] || "$SYSTEM_BIN/kexec" --unload
    refuse "systemctl $1: $(tr '\n' ' ' <"$SB/restart.log")"
}

start_next() {
    load_next
    loaded=$?
    rm -f "$SB/next-kernel" "$SB/next-initrd"
    [ "$loaded" != 0 ] || restart_politely kexec
}

next() {
    sed -n "s/^$1=//p" "$SB/next"
}

# Kernel and initrd of the next boot, into memory. The address goes with them.
load_next() {
    program="$SYSTEM_BIN/kexec"
    [ -x "$program" ] ||
        refuse "the system that runs has no kexec: boot.kexec.enable, or kexec-tools" || return 1
    http_get 30 "/boots/$(fact boot)/next" "$SB/next" ||
        refuse "the server does not say what comes next: $(http_error)" || return 1
    for name in kernel initrd; do
        http_get 300 "$(next "$name")" "$SB/next-$name" ||
            refuse "the next $name could not be fetched: $(http_error)" || return 1
    done
    line="$(next command_line) BOOTIF=01-$(fact mac | tr : -) $(lease_param)"
    [ ${#line} -lt 2048 ] ||
        refuse "the kernel command line would have ${#line} bytes, at most 2047 fit" || return 1
    timeout 120 "$program" --load "$SB/next-kernel" --initrd="$SB/next-initrd" \
        --command-line="$line" >"$SB/kexec.log" 2>&1 ||
        refuse "kexec: $(tail -n 1 "$SB/kexec.log")" || return 1
}

lease_param() {
    printf 'storeboot.lease='
    for name in ip prefix router dns domain mtu search ntp routes; do
        [ -z "$(fact "$name")" ] || printf '%s:%s,' "$name" "$(fact "$name" | tr ' ' '+')"
    done
}

# go_down poweroff|reboot: by systemd where it runs. logind is not asked, who minds inhibitors and
# may be gone: this is an order, or the end of a boot that has failed.
go_down() {
    going_down "$1"
    if has_systemd; then
        setsid "$SYSTEM_BIN/systemctl" --no-block --job-mode=replace-irreversibly \
            start "$1.target" </dev/null >/dev/null 2>&1 &
    else
        "$1"
    fi
}

going_down() {
    [ ! -e "$SB/going-down" ] || return 0
    : >"$SB/going-down"
    # It ends in the firmware; without it systemd-shutdown starts the loaded kernel by itself.
    [ "$1" != kexec ] || rm -f /run/initramfs/shutdown
    arm_watchdog "$1"
    report shutdown
}

# arm_watchdog ACTION: from here on the machine goes down in bounded time, whatever hangs on NFS.
arm_watchdog() {
    cd "$SB" || return 0
    setsid @bin/sh watchdog.sh "$1" </dev/null >/dev/null 2>&1 &
    cd /
}

# The registration makes the store's paths known to a Nix that has a database of its own.
load_registration() {
    [ "$(fact database)" != new ] && [ -x "$SYSTEM_BIN/nix-store" ] || return 0
    timeout 60 wget -q -O "$SB/registration" "$(fact url)/views/$(fact view)/registration" 2>/dev/null || return 0
    store=local
    if [ "$(fact nix_store)" = local-overlay ]; then
        # The lower store of a local-overlay store: the same paths, with a database of their own.
        # Nix insists on a directory .links in every local store, so it is an overlay as well.
        store="local?root=/nix/.lower"
        mkdir -p /nix/.lower/nix/store /nix/.lower/upper /nix/.lower/work
        mount -t overlay -o lowerdir=/nix/.ro-store,upperdir=/nix/.lower/upper,workdir=/nix/.lower/work \
            overlay /nix/.lower/nix/store
    fi
    "$SYSTEM_BIN/nix-store" --store "$store" --load-db <"$SB/registration" >>"$SB/log" 2>&1 ||
        say "nix-store --load-db failed"
    rm "$SB/registration"
}

# A shutdown needs pages that nobody has touched before. They are read once while the server is
# there: what the processes that take part have mapped, and the units and programs still to come.
prefetch_shutdown() {
    directory=$(readlink -f /run/current-system/systemd 2>/dev/null)
    for file in "$directory"/lib/systemd/systemd-shutdown "$directory"/lib/systemd/systemd-executor; do
        [ ! -e "$file" ] || cat "$file" >/dev/null
    done
    for process in 1 $(pidof systemd-logind dbus-daemon dbus-broker systemd-journald); do
        sed -n 's,^[^/]* \(/nix/store/.*\),\1,p' "/proc/$process/maps"
    done | sort -u | while read -r file; do
        cat "$file" >/dev/null
    done
    for unit in poweroff reboot halt; do
        "$SYSTEM_BIN/systemctl" list-dependencies --all --plain "$unit.target" "systemd-$unit.service"
    done >/dev/null 2>&1
}

# Should what answers the power button hang on the store, the button still ends the machine.
watch_power_button() {
    mkdir -p "$SB/acpi/PWRF"
    printf '#!%s/bin/sh\necho button >%s/events\n' "$SB" "$SB" >"$SB/acpi/PWRF/00000080"
    chmod +x "$SB/acpi/PWRF/00000080"
    acpid -f -c "$SB/acpi" -l "$SB/acpid.log" -p "$SB/acpid.pid" </dev/null >/dev/null 2>&1
}

# What machines wrote to the store in earlier boots, on a local disk.
remove_old_overlays() {
    for directory in /nix/.rw-store/storeboot-overlay/*; do
        [ ! -d "$directory" ] || [ "${directory##*/}" = "$(fact boot)" ] || rm -rf "$directory"
    done
}

# resident_files: of those that the pack holds, the ones in the page cache, read in this boot.
resident_files() {
    cd /run/storeboot/pack || return 0
    set --
    while read -r file; do
        set -- "$@" "$file"
        [ $# -lt 100 ] || { fincore "$@"; set --; }
    done <"$SB/hot"
    [ $# = 0 ] || fincore "$@"
}

# fincore FILE…: names of those with pages in memory, by util-linux's.
fincore() {
    "$SYSTEM_BIN/fincore" --bytes --noheadings --raw --output RES,FILE "$@" |
        awk '$1 > 0 { print $2 }'
}

# Tells the server that it may learn from this boot what the next ones read. Before a report, which
# reads everything.
learn() {
    left=$(fact learn_seconds)
    [ -n "$left" ] || return 0
    while [ "$left" -gt 0 ] && [ ! -e "$SB/report-asked" ]; do
        sleep 1
        left=$((left - 1))
    done
    pack=$(fact pack)
    query="?pack=$pack"
    : >"$SB/resident"
    if [ -n "$pack" ] && [ -x "$SYSTEM_BIN/fincore" ] &&
        http_get 30 "/views/$(fact view)/pack/$pack/hot" "$SB/hot"; then
        query="$query&known=1"
        resident_files >"$SB/resident" 2>>"$SB/log"
    fi
    http_post 60 "/boots/$(fact boot)/hot$query" "$SB/resident" /dev/null ||
        say "could not tell what is hot: $(http_error)"
    rm -f "$SB/hot" "$SB/resident"
}

# What reads the store may hang with its server, so it never runs in the loop that reads events.
after_multi_user() {
    load_registration
    prefetch_shutdown
    (learn)
    : >"$SB/settled"
    remove_old_overlays
}

# An init other than systemd says by itself that the machine is up, and that is all there is to know.
up() {
    if has_systemd; then come_up; else insist report multi-user; fi
    [ ! -e "$SB/was-up" ] || return 0
    : >"$SB/was-up"
    after_multi_user
}

make_report() {
    : >"$SB/report-asked"
    wait_for 300 test -e "$SB/settled"
    sh /run/storeboot/report.sh >>"$SB/agent.log" 2>&1
}

reached() {
    case "$1" in
    multi-user)
        if [ ! -e "$SB/was-up" ]; then
            cat /proc/self/mountstats >"$SB/mountstats.boot"
            watch_power_button &
        fi
        up &
        heartbeat
        ;;
    failed\ *) fall "${1#failed }" & ;;
    shutdown\ *) going_down "${1#shutdown }" ;;
    button) arm_watchdog button ;;
    esac
}

case "$1" in
nic-env)
    echo "STOREBOOT_NIC=$(boot_nic)" >"$SB/nic.env"
    exit 0
    ;;
run) ;;
*)
    echo "usage: agent.sh run|nic-env" >&2
    exit 1
    ;;
esac

report agent
# In mode native the system's network manager renews it, if it may manage the NIC.
[ "$(fact lease_owner)" = system ] || keep_lease &
# Opened for reading and writing, so that nobody who writes ever waits for a reader.
exec 3<>"$SB/events"
rmdir "$SB/looking" 2>/dev/null
looked=0
while :; do
    uptime=$(cut -d . -f 1 /proc/uptime)
    if [ $((uptime - looked)) -ge "$LOOK" ]; then
        looked=$uptime
        look &
    fi
    # shellcheck disable=SC3045 # busybox reads with a timeout
    if read -r -t "$HEARTBEAT" line <&3; then
        reached "$line"
    else
        heartbeat
    fi
done
