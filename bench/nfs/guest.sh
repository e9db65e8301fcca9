# Run by the guest's busybox: how long Linux takes over a tree. In front of this stand server, url,
# rounds, versions, packages, large, and for each side SIDE_port, SIDE_mount and SIDE_path.
results=/run/results
: >$results

options() {
    common="ro,nosuid,noatime,nocto,actimeo=86400,hard,proto=tcp,addr=$server,port=$port"
    case "$version" in
    3) echo "$common,vers=3,nolock,mountaddr=$server,mountport=$mount_port,mountproto=tcp" ;;
    *) echo "$common,vers=$version,clientaddr=10.0.2.15" ;;
    esac
}

timed() { # name, command...
    name=$1
    shift
    echo 3 >/proc/sys/vm/drop_caches
    read -r before _ </proc/uptime
    "$@" >/dev/null 2>/run/errors || echo "failed: $version $side $*: $(head -n 1 /run/errors)" >>$results
    read -r after _ </proc/uptime
    echo "$version $side $name $before $after" >>$results
}

walk() { find $packages -exec stat -c %s {} +; }
read_small() { find $packages -type f -exec cat {} +; }
read_large() { dd if="$large" bs=1048576; }

rpcs() { awk -v at="$at" '$5 == at { on = 1 } on && /^device/ && $5 != at { on = 0 } on && /xprt:/ { n += $9 } END { print n }' /proc/self/mountstats; }

for version in $versions; do
    for _ in $rounds; do
        for side in ours theirs; do
            eval "port=\$${side}_port mount_port=\$${side}_mount path=\$${side}_path"
            # Ganesha's pseudo file system is NFSv4's; NFSv3 mounts the path that is exported.
            [ "$side$version" != theirs3 ] || path=$theirs_path3
            at=/run/$side$version
            mkdir -p "$at"
            case "$version" in 3) type=nfs ;; *) type=nfs4 ;; esac
            mount -i -t "$type" -o "$(options)" "$server:$path" "$at"
            cd "$at" || continue
            timed walk walk
            timed small read_small
            timed large read_large
            echo "$version $side rpcs 0 $(rpcs)" >>$results
            cd /
            umount "$at"
        done
    done
done
wget -q -O /dev/null --post-file=$results "$url"
