# Run by the guest's busybox: read one file over NFS again and again, and say so each time. In front
# of this stand server, port, path, file, sum and version.
at=/run/nfs
mkdir -p $at
options="ro,nosuid,noatime,nocto,hard,proto=tcp,addr=$server,port=$port"
case "$version" in
3) type=nfs options="$options,vers=3,nolock,mountaddr=$server,mountport=$port,mountproto=tcp" ;;
*) type=nfs4 options="$options,vers=$version,clientaddr=10.0.2.100" ;;
esac
mount -i -t $type -o "$options" "$server:$path" $at || echo "reader: cannot mount"
while :; do
    echo 3 >/proc/sys/vm/drop_caches
    read -r found _ <<END
$(sha256sum "$at/$file" 2>&1)
END
    [ "$found" = "$sum" ] || echo "reader: wrong $found"
    echo "reader: at $(cut -d' ' -f1 /proc/uptime)"
    sleep 0.2
done
