#! @busybox@/bin/busybox sh
# Stage 2, after the example of NixOS's stage-2-init.sh.
export systemConfig=@systemConfig@
export HOME=/root PATH=@busybox@/bin

special_mount() { # device, directory, options, type
    # A systemd stage 1 has bound its own /run there.
    if [ "${IN_NIXOS_SYSTEMD_STAGE1:-}" = true ] && [ "$2" = /run ]; then return; fi
    mkdir -m 0755 -p "$2"
    mount -n -t "$4" -o "$3" "$1" "$2"
}

if [ "${IN_NIXOS_SYSTEMD_STAGE1:-}" != true ]; then
    echo
    echo "<<< NixOS stand-in stage 2 >>>"
    echo
fi

# Normally stage 1 has mounted these.
if [ ! -e /proc/1 ]; then
    special_mount proc /proc nosuid,noexec,nodev proc
    special_mount sysfs /sys nosuid,noexec,nodev sysfs
    special_mount devtmpfs /dev nosuid,strictatime,mode=755,size=5% devtmpfs
    special_mount devpts /dev/pts nosuid,noexec,mode=620,ptmxmode=0666,gid=5 devpts
    special_mount tmpfs /dev/shm nosuid,nodev,strictatime,mode=1777,size=50% tmpfs
    special_mount tmpfs /run nosuid,nodev,strictatime,mode=755,size=25% tmpfs
fi

if [ "${IN_NIXOS_SYSTEMD_STAGE1:-}" = true ]; then
    echo "booting system configuration $systemConfig"
else
    echo "booting system configuration $systemConfig" >/dev/kmsg
fi

# The store belongs to root and the builders, and is read-only.
chown -f 0:30000 /nix/store
chmod -f 1775 /nix/store
current=",$(sed -n 's|^[^ ]* /nix/store [^ ]* \([^ ]*\) .*|\1|p' /proc/mounts | tail -n 1),"
missing=
for option in ro nodev nosuid; do
    case $current in
    *",$option,"*) ;;
    *) missing="$missing,$option" ;;
    esac
done
if [ -n "$missing" ]; then
    mount --bind /nix/store /nix/store
    mount -o "remount${missing},bind" /nix/store
fi

rm -rf /nix/var/nix/gcroots/tmp /nix/var/nix/temproots
"$systemConfig/activate"

ln -sfn "$systemConfig" /run/booted-system
ln -sfn /run/booted-system /nix/var/nix/gcroots/booted-system

# Later commands of the boot: the registration that the server named, else the one in the store.
registration=/nix/store/nix-path-registration
for word in $(cat /proc/cmdline); do
    case $word in regInfo=*) registration=${word#regInfo=} ;; esac
done
if [ -f "$registration" ] && [ -x /usr/bin/nix-store ]; then
    /usr/bin/nix-store --load-db <"$registration"
    mkdir -p /nix/var/nix/profiles
    ln -sfn system-1-link /nix/var/nix/profiles/system
    ln -sfn "$systemConfig" /nix/var/nix/profiles/system-1-link
fi

if [ "${IN_NIXOS_SYSTEMD_STAGE1:-}" != true ]; then
    exec env -i PATH=/run/current-system/systemd/lib/systemd:/usr/bin:/bin LANG=C.UTF-8 @initProgram@ "$@"
fi
