# Run by the guest's busybox: sixteen processes that list, stat and read at the same time. In front
# of this stand server, path, url, versions, name, and for each number of workers in `workers` its
# port, such as port_2.
results=/run/results
: >$results

options() {
    common="ro,nosuid,noatime,nocto,hard,proto=tcp,addr=$server,port=$port"
    case "$version" in
    3) echo "$common,vers=3,nolock,mountaddr=$server,mountport=$port,mountproto=tcp" ;;
    *) echo "$common,vers=$version,clientaddr=10.0.2.15" ;;
    esac
}

visit() {
    cd "$at/$name/$1" || return
    {
        ls -lR . | grep -c '^[-dl]'
        find . -type f -exec stat -c '%s %n' {} + | sort | sha256sum
        sha256sum data
        find . | sort | sha256sum
    } >"/run/out/$1" 2>&1
}

for count in $workers; do
    eval port="\$port_$count"
    for version in $versions; do
        at=/run/nfs
        mkdir -p $at /run/out
        rm -f /run/out/*
        case "$version" in 3) type=nfs ;; *) type=nfs4 ;; esac
        mount -i -t "$type" -o "$(options)" "$server:$path" $at
        for each in $(seq 0 15); do visit "directory$each" & done
        wait
        said=$(cd /run/out && cat $(ls | sort) | sed 's/  *-*$//' | sha256sum | cut -d' ' -f1)
        echo "$count $version $said $(ls /run/out | wc -l) after $(cut -d' ' -f1 /proc/uptime) s" |
            tee -a $results
        umount $at
    done
done
wget -q -O /dev/null --post-file=$results "$url"
