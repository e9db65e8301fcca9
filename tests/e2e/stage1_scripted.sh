#!/bin/sh
# A stage 1 that keeps the contract of NixOS' scripted one: network by udhcpc, the file systems that
# are neededForBoot in order, stage 2 by init=. @fileSystems@ is a file of four lines each, @flush@ is
# boot.initrd.network.flushBeforeStage2.
export PATH=/bin
/bin/busybox --install -s /bin
targetRoot=/mnt-root

fail() {
    echo "stage 1: $1" >/dev/console
    sleep 5
    reboot -n -f
}

mkdir -p /proc /sys /dev /run /etc "$targetRoot"
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=0755 tmpfs /run
echo "<<< stage 1 >>>" >/dev/console

# boot.initrd.kernelModules and what udev would load.
modprobe -a -q af_packet virtio_pci virtio_net nfs nfsv3 nfsv4 overlay

# boot.initrd.preLVMCommands of initrd-network.nix
ifaces=
for iface in $(ls /sys/class/net/ | grep -v ^lo$); do
    ip link set "$iface" up && ifaces="$ifaces $iface"
done
for iface in $ifaces; do
    udhcpc --quit --now -i "$iface" -O staticroutes --script /bin/udhcpc-script || fail "no address on $iface"
done

# mountFS: directories of an overlay are below the target root.
while read -r mountPoint && read -r device && read -r fsType && read -r options; do
    mkdir -p "$targetRoot$mountPoint"
    if [ "$fsType" = overlay ]; then
        for i in upperdir workdir; do
            mkdir -m 0700 -p "$targetRoot$(echo "$options" | sed -n "s/.*$i=\([^,]*\).*/\1/p")"
        done
        options=$(echo "$options" | sed "s,dir=/,dir=$targetRoot/,g")
    fi
    echo "mounting $device on $mountPoint..." >/dev/console
    mount -t "$fsType" -o "$options" "$device" "$targetRoot$mountPoint" ||
        fail "cannot mount $device on $mountPoint"
done </fileSystems

# boot.initrd.postMountCommands of initrd-network.nix
if [ "@flush@" = true ]; then
    for iface in $ifaces; do
        ip address flush dev "$iface"
        ip link set dev "$iface" down
    done
fi

stage2Init=
for word in $(cat /proc/cmdline); do
    case $word in init=*) stage2Init=${word#init=} ;; esac
done
[ -e "$targetRoot$stage2Init" ] || [ -L "$targetRoot$stage2Init" ] ||
    fail "stage 2 init script ($targetRoot$stage2Init) not found"
for i in proc dev sys run; do
    mkdir -m 0755 -p "$targetRoot/$i"
    mount --move "/$i" "$targetRoot/$i"
done
exec env -i /bin/switch_root "$targetRoot" "$stage2Init"
