#!/run/storeboot/bin/sh
# shellcheck shell=sh
# Started when a shutdown begins. systemd-shutdown may wait for ever for pages of a server that is
# gone; this process has all it needs in RAM and ends the machine in bounded time.

export PATH=/run/storeboot/bin
. /run/storeboot/common.sh

WITHOUT_SERVER=45 # seconds
WITH_SERVER=180

server_answers() {
    timeout 5 nc -w 3 "$(fact nfs_server)" "$(fact nfs_port)" </dev/null >/dev/null 2>&1
}

sleep "$WITHOUT_SERVER"
if server_answers; then
    sleep $((WITH_SERVER - WITHOUT_SERVER))
fi
case "$1" in
reboot | kexec) key=b ;;
*) key=o ;;
esac
echo 1 >/proc/sys/kernel/sysrq
echo "$key" >/proc/sysrq-trigger
