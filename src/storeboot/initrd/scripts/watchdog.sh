#!/run/storeboot/bin/sh
# shellcheck shell=sh
# Started when a shutdown begins. systemd-shutdown may wait for ever for pages of a server that is
# gone; this process has all it needs in RAM and ends the machine in bounded time. It and what it
# starts are called by a name that begins with @, which systemd-shutdown does not kill.

export PATH=/run/storeboot/bin
. /run/storeboot/common.sh

WITHOUT_SERVER=45 # seconds
WITH_SERVER=180

server_answers() {
    @bin/timeout 5 @bin/nc -w 3 "$(fact nfs_server)" "$(fact nfs_port)" </dev/null >/dev/null 2>&1
}

@bin/sleep "$WITHOUT_SERVER"
if server_answers; then
    # A button alone asks for nothing that systemd may not refuse.
    [ "$1" != button ] || exit 0
    @bin/sleep $((WITH_SERVER - WITHOUT_SERVER))
fi
case "$1" in
reboot | kexec) key=b ;;
*) key=o ;;
esac
echo 1 >/proc/sys/kernel/sysrq
echo "$key" >/proc/sysrq-trigger
