#! @busybox@/bin/busybox sh
# Make the micro system's root: busybox for everything, /etc out of the store.
PATH=@busybox@/bin
systemConfig=${systemConfig:-$(dirname "$(readlink -f "$0")")}
umask 0022
mkdir -p /etc /var/log /root /tmp /run /usr /nix/var/nix/gcroots
chmod 1777 /tmp
for name in /bin /sbin /usr/bin /usr/sbin; do
    [ -e "$name" ] || ln -s @busybox@/bin "$name"
done
ln -sfn "$systemConfig" /run/current-system
ln -sfn @etc@ /etc/static
for name in @etc@/*; do
    [ -e "/etc/${name##*/}" ] || ln -s "/etc/static/${name##*/}" /etc/
done
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
