# Run by the guest's busybox: what Linux makes of a tree over NFS. In front of this stand
# server, port, path, url, versions and name.
export LC_ALL=C
results=/run/results
errors=/run/errors
: >$results

say() { printf '%s %s %s\n' "$version" "$1" "$2" >>$results; }
sum() { sha256sum | cut -d' ' -f1; }

options() {
    common="ro,nosuid,noatime,nocto,actimeo=86400,hard,proto=tcp,addr=$server,port=$port,nconnect=4"
    case "$version" in
    3) echo "$common,vers=3,nolock,mountaddr=$server,mountport=$port,mountproto=tcp" ;;
    *) echo "$common,vers=$version,clientaddr=10.0.2.15" ;;
    esac
}

look() {
    cd "$at/$name" || return
    say lines "$(ls -lR . 2>>$errors | grep -c '^[-dl]')"
    say names "$(find . -print0 2>>$errors | sort -z | sum)"
    say attributes "$(find . ! -path './many/*' -exec stat -c '%f %s %u %Y %n' {} + 2>>$errors | sort | sum)"
    say contents "$(cd small && find . -type f -exec sha256sum {} + 2>>$errors | sort -k2 | sum)"
    say many "$(ls many 2>>$errors | wc -l)"
    say missing "$([ -e small/missing ] || ls small/missing 2>&1 | grep -c 'No such file')"
}

files() {
    cd "$at/$name" || return
    say link "$(cat small/link)"
    say long_link "$(readlink small/long-link | tr -d '\n' | wc -c)"
    say hard_link "$(cmp small/text small/deep/same-as-text && echo same)"
    say sparse_size "$(stat -c %s big/sparse)"
    for offset in $samples; do
        say "sparse_$offset" "$(dd if=big/sparse bs=1048576 skip="$offset" count=1 2>/dev/null | sum)"
    done
    say executed "$(small/busybox echo it runs)"
    say mapped "$(small/ld.so --library-path small small/true && echo mapped)"
    say denied "$( (echo >small/new) 2>&1 | grep -c 'Read-only file system')"
}

parallel() {
    cd "$at/$name/big" || return
    echo 3 >/proc/sys/vm/drop_caches
    mkdir -p /run/sums
    rm -f /run/sums/*
    for reader in $(seq 32); do
        sha256sum eight >"/run/sums/$reader" 2>>$errors &
    done
    wait
    say readers "$(cat /run/sums/* | wc -l)"
    say parallel "$(cut -d' ' -f1 /run/sums/* | sort -u)"
    say connections "$(grep -A60 " mounted on $at " /proc/self/mountstats | grep -c 'xprt:.tcp')"
}

copies() {
    cd "$at/$name" || return
    rm -rf /run/copy && cp -a small /run/copy 2>>$errors
    say copied "$(cd /run/copy && find . -type f -exec sha256sum {} + 2>>$errors | sort -k2 | sum)"
    say copied_link "$(readlink /run/copy/long-link | tr -d '\n' | wc -c)"
    mkdir -p /run/o && mount -t tmpfs tmpfs /run/o && mkdir /run/o/upper /run/o/work /run/o/all
    mount -t overlay -o "lowerdir=$at,upperdir=/run/o/upper,workdir=/run/o/work" overlay /run/o/all
    cd "/run/o/all/$name/small" || return
    echo more >>text
    chmod 600 link
    mv deep shallow
    rm empty
    : >new
    say copy_up "$(cat text | tr '\n' ' ')$(ls -d shallow/deeper new empty 2>/dev/null | tr '\n' ' ')"
    say lower "$(cat "$at/$name/small/text") $(ls "$at/$name/small/empty" | wc -l)"
    cd / && umount /run/o/all && umount /run/o
}

for version in $versions; do
    at=/run/nfs$version
    : >$errors
    mkdir -p "$at"
    case "$version" in 3) type=nfs ;; *) type=nfs4 ;; esac
    modprobe "nfsv${version%.*}"
    mount -i -t "$type" -o "$(options)" "$server:$path" "$at"
    for part in look files parallel copies; do
        echo "linux client: $version $part at $(cut -d' ' -f1 /proc/uptime) s"
        $part
    done
    cd / && umount "$at"
    say unmounted "$(grep -c "$at" /proc/mounts)"
    say errors "$(cat $errors | wc -l)"
    head -n 5 $errors
done
version=all
say kernel "$(dmesg | grep -c -i 'nfs.*error\|call trace\|bug:\|stale')"
wget -q -O /dev/null --post-file=$results "$url"
