# shellcheck shell=sh
# What stays in RAM until the machine is off.

# keep_in_ram BUSYBOX SCRIPTS: agent and shutdown need neither the store nor the server.
keep_in_ram() {
    # Stage 2 may have no programs yet but these.
    "$1" mkdir -p "$SB/bin" "$SB/@bin" /run/initramfs/bin
    "$1" cp "$1" "$SB/bin/busybox"
    "$1" chmod 0755 "$SB/bin/busybox"
    "$SB/bin/busybox" --install -s "$SB/bin"
    # systemd-shutdown spares processes whose command line starts with @ (ROOT_STORAGE_DAEMONS).
    ln "$SB/bin/busybox" "$SB/@bin/busybox"
    for name in nc sh sleep timeout; do
        ln -s busybox "$SB/@bin/$name"
    done
    ln "$SB/bin/busybox" /run/initramfs/bin/busybox 2>/dev/null ||
        cp "$SB/bin/busybox" /run/initramfs/bin/busybox
    for file in common.sh begin.sh native.sh units.sh agent.sh report.sh watchdog.sh; do
        cp "$2/$file" "$SB/$file"
    done
    # /bin/sh of stage 2 is in the store.
    sed "1s,.*,#!$SB/bin/sh," "$2/dhcp.sh" >"$SB/dhcp.sh"
    chmod +x "$SB/dhcp.sh"
    # NixOS would fill /run/initramfs from the store at shutdown; it leaves one with `shutdown` alone.
    cp "$2/shutdown.sh" /run/initramfs/shutdown
    chmod 0755 /run/initramfs/shutdown
    ln -s busybox /run/initramfs/bin/sh
    mkfifo "$SB/events"
}
