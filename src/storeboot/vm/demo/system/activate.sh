#! @busybox@/bin/busybox sh
# Make the root file system out of nothing; everything that exists already is respected.
PATH=@busybox@/bin
systemConfig=${systemConfig:-$(dirname "$(readlink -f "$0")")}
umask 0022

mkdir -p /etc /var/lib /var/log /var/cache /var/tmp /root /home /tmp /run /mnt /srv /opt \
    /nix/var/nix/gcroots/per-user /nix/var/nix/profiles/per-user /nix/var/nix/db /nix/var/nix/daemon-socket \
    /nix/var/log/nix/drvs /var/lib/dbus /var/lib/systemd /var/lib/NetworkManager /var/lib/dhcpcd \
    /var/empty /var/lib/private /run/lock /run/sshd
chmod 0700 /root /var/lib/NetworkManager /var/lib/private
chmod 1777 /tmp /var/tmp
ln -sfn /run /var/run
ln -sfn /run/lock /var/lock
ln -sfn /proc/self/mounts /etc/mtab

# The ELF interpreter, #!/bin/sh and everything in /usr come from the forest of symlinks.
# Down to the unit directories /usr must be real: systemd (without NixOS's patch) takes
# "a -> b" for an alias only if its search path has no symlink in it.
mkdir -p /usr/lib/systemd
for name in . lib lib/systemd; do
    ln -s "@systemPath@/$name"/* "/usr/$name/" 2>/dev/null
done
for name in system user; do
    [ -L "/usr/lib/systemd/$name" ] && rm "/usr/lib/systemd/$name"
    cp -rd "@systemPath@/lib/systemd/$name" /usr/lib/systemd/
done
for name in bin sbin lib lib64; do
    [ -e "/$name" ] || ln -sfn "usr/$name" "/$name"
done

ln -sfn "$systemConfig" /run/current-system
ln -sfn /run/current-system /nix/var/nix/gcroots/current-system

# /etc/static is the store's /etc; in /etc one link for each of its files.
ln -sfn @etc@ /etc/static
cd @etc@ || exit
find . -type d | (cd /etc && xargs mkdir -p)
find . -type f | sed 's|^./||' | while read -r name; do
    [ -e "/etc/$name" ] || ln -s "/etc/static/$name" "/etc/$name"
done
cp -rd @etc@/* /etc/ 2>/dev/null
cd /
touch /etc/NIXOS

# Accounts are real files, as sysusers and passwd must be able to write them.
for name in passwd group shadow; do
    [ -e "/etc/$name" ] || cp "@users@/$name" "/etc/$name"
done
chmod 0644 /etc/passwd /etc/group
chmod 0640 /etc/shadow
chown 101:101 /run/systemd/netif 2>/dev/null

# Who this machine is: what stage 1 wrote, else the command line, else chance.
parameter() { sed -n "s/^\(.* \)\?$1=\([^ ]*\).*/\2/p" /proc/cmdline; }
if [ ! -s /etc/machine-id ]; then
    id=$(parameter systemd.machine_id)
    [ -n "$id" ] || id=$(tr -d - </proc/sys/kernel/random/uuid)
    echo "$id" >/etc/machine-id
fi
if [ ! -s /etc/hostname ]; then
    name=$(parameter systemd.hostname)
    echo "${name:-nixos}" >/etc/hostname
fi
ln -sfn /etc/machine-id /var/lib/dbus/machine-id

# Nothing under /usr is newer than these: no first-boot updates of caches.
touch /etc/.updated /var/.updated
