# Builder: one tree of symlinks to the files of all packages ($part is usr or etc).
mkdir -p "$out"
for package in $packages; do
    [ -d "$package/$part" ] || continue
    cd "$package/$part"
    # The store's directories are read-only: make ours first, writable.
    find . -type d | (cd "$out" && xargs mkdir -p)
    # A name that two packages have goes to the first.
    cp -rs "$PWD"/* "$out/" 2>/dev/null || :
    # A package's own links stay as they are: they may lead into another package, and systemd
    # takes a unit's alias only from the first link of a chain.
    find . -type l | while read -r link; do
        ln -sfn "$(readlink "$link")" "$out/$link"
    done
done
[ "$part" = usr ] || exit 0
cd "$out"
mkdir -p lib lib64
ln -sfn /run/booted-system/kernel-modules/lib/modules lib/modules
ln -sfn /run/booted-system/firmware lib/firmware
[ -e bin/awk ] || ln -s mawk bin/awk
[ -e bin/sh ] || ln -sfn dash bin/sh
# nixpkgs has all programs in bin.
for program in sbin/*; do
    [ -e "bin/${program##*/}" ] || ln -s "../$program" "bin/${program##*/}"
done
