# The first process of a machine's namespaces: a file system, then systemd.
# Arguments: an empty directory, the checkout, the prefix of this Python, its packages.
set -eu
top=$1 checkout=$2 python=$3 packages=$4

mount -t tmpfs -o mode=755 tmpfs "$top"
mkdir "$top/upper" "$top/work" "$top/root"
mount -t overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" overlay "$top/root"
cd "$top/root"

# Nothing that units do reaches the kernel's settings, its modules or devices of the host.
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
    touch dev/$name
    mount --bind /dev/$name dev/$name
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd

# A group of its own below the one that the test has made, seen as the root of all.
own=$(sed -n 's/^0:://p' /proc/self/cgroup)
mount -t cgroup2 cgroup2 sys/fs/cgroup
mkdir "sys/fs/cgroup$own/machine"
echo 0 >"sys/fs/cgroup$own/machine/cgroup.procs"
umount sys/fs/cgroup

# Only what a test installs, above systemd's own; without what is the host's business.
rm -rf etc/systemd/system etc/sysusers.d etc/tmpfiles.d usr/local/bin var/log/journal
mkdir -p etc/systemd/system etc/sysusers.d etc/tmpfiles.d usr/local/bin etc/storeboot
for unit in dev-hugepages.mount dev-mqueue.mount kmod-static-nodes.service \
    proc-sys-fs-binfmt_misc.automount sys-fs-fuse-connections.mount sys-kernel-config.mount \
    sys-kernel-debug.mount sys-kernel-tracing.mount systemd-binfmt.service \
    systemd-modules-load.service systemd-random-seed.service systemd-remount-fs.service \
    systemd-sysctl.service systemd-tmpfiles-setup-dev.service systemd-update-utmp.service \
    systemd-udevd.service systemd-udev-trigger.service systemd-journal-flush.service; do
    ln -s /dev/null "etc/systemd/system/$unit"
done
rm -f etc/machine-id etc/fstab
echo 0123456789abcdef0123456789abcdef >etc/machine-id

# storeboot where the documentation installs it. Home directories are hidden from units, and the
# checkout may be in one.
mkdir -p opt/storeboot/bin opt/python opt/checkout opt/packages
mount --bind "$checkout" opt/checkout
mount --bind "$packages" opt/packages
home=/usr/bin
if [ "$python" != /usr ]; then
    mount --bind "$python" opt/python
    home=/opt/python/bin
    # Its library is looked for where it was built, which is perhaps hidden as well.
    echo /opt/python/lib >etc/ld.so.conf.d/00-python.conf
    chroot . ldconfig
fi
ln -s "$home/python3" opt/storeboot/bin/python3
echo "home = $home" >opt/storeboot/pyvenv.cfg
cat >opt/storeboot/bin/storeboot <<'END'
#!/opt/storeboot/bin/python3
from storeboot.cli.main import main
main()
END
chmod 755 opt/storeboot/bin/storeboot
version=$(chroot . "$home/python3" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
library=opt/storeboot/lib/python$version/site-packages
mkdir -p "$library"
echo /opt/packages >"$library/storeboot.pth"
cp -r "$checkout/src/storeboot" "$library"
chroot . "$home/python3" -m compileall -q "/$library/storeboot" # as pip does

mkdir -p old
pivot_root . old
umount -l old
exec unshare --cgroup sh -c '
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec env -i container=storeboot PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --unit=basic.target --log-target=console --show-status=no'
