# Builder: what /etc shall hold: the packages' files, then ours above them.
mkdir -p "$out"
(cd "$packagesEtc" && find . -type d) | (cd "$out" && xargs mkdir -p)
cp -rd "$packagesEtc"/* "$out/"
# Stage 2 writes these itself, or they are the machine's own.
cd "$out"
rm -rf machine-id hostname resolv.conf passwd group shadow network systemd/system/*.wants
for layer in "$common" "$variant"; do
    (cd "$layer" && find . -type f) | while read -r name; do
        mkdir -p "$(dirname "$name")"
        rm -f "$name"
        sed "s|@dhcpcdConf@|$dhcpcdConf|g" "$layer/$name" >"$name"
    done
done
# Such a system mounts nothing but its store. Each unit says which targets want it, in a comment.
if [ -n "${units:-}" ]; then
    cp "$units/fstab" fstab
    mkdir -p systemd/network
    cp "$units"/*.network systemd/network/
fi
for unit in ${units:+"$units"/*.service}; do
    name=$(basename "$unit")
    sed "s|@busybox@|$busybox|g; s|@agent@|$agent|g" "$unit" >"systemd/system/$name"
    for target in $(sed -n 's/^# wanted by //p' "$unit"); do
        mkdir -p "systemd/system/$target.wants"
        ln -s "../$name" "systemd/system/$target.wants/$name"
    done
done
# Symbolic links are kept as text, a line each: name and target.
cat "$commonLinks" "$variantLinks" | while read -r name target; do
    mkdir -p "$(dirname "$name")"
    ln -sfn "$target" "$name"
done
