#!/bin/sh
# systemd-shutdown switches to /run/initramfs and runs this as `/shutdown ACTION`, with the old
# root below /oldroot. Nothing here reads the store.
export PATH=/bin
/bin/busybox umount -l /oldroot 2>/dev/null
case "$1" in
reboot | kexec) exec /bin/busybox reboot -n -f ;;
halt) exec /bin/busybox halt -n -f ;;
*) exec /bin/busybox poweroff -n -f ;;
esac
