# What an administrator does with the machine's own Nix. Run by a unit of the machine; each line
# "client-nix NAME: ok" goes to the console.
export PATH=/run/current-system/sw/bin HOME=/root
export NIX_CONFIG="sandbox = false
build-users-group =
substituters =
extra-experimental-features = nix-command $FEATURES
${STORE:+store = $STORE}"
system=$(readlink -f /run/current-system)
shell=$(readlink -f /run/current-system/sw/bin/dash)
package=/nix/store/$(echo "$shell" | cut -d / -f 4)

check() {
    name=$1
    shift
    if "$@" >/tmp/out 2>&1; then
        echo "client-nix $name: ok"
    else
        echo "client-nix $name: failed: $(tail -n 4 /tmp/out | tr '\n' ' ')"
    fi >/dev/console
}

query() {
    nix-store -q --requisites "$system" >/tmp/closure &&
        [ "$(wc -l </tmp/closure)" -gt 50 ] && grep -q "$package" /tmp/closure
}
build() {
    expression="derivation { name = \"built-here\"; system = builtins.currentSystem;
        builder = \"$shell\"; args = [ \"-c\" \"echo \$package > \$out\" ];
        package = builtins.storePath $package; }"
    nix build --impure --expr "$expression" --out-link /tmp/result &&
        grep -q "$package" /tmp/result
}
references() { nix-store -q --references /tmp/result | grep -q "$package"; }
copy() {
    nix copy --no-check-sigs --to "file:///tmp/cache?compression=none" /tmp/result &&
        ls /tmp/cache/"$(basename "$package" | cut -d - -f 1)".narinfo
}
gc() {
    built=$(readlink -f /tmp/result)
    rm /tmp/result
    nix store gc && [ ! -e "$built" ] && [ -e "$package" ] &&
        ! ls -A /nix/.rw-store/store | grep -vxF -e .links -e .storeboot-trial | grep -q .
}
valid() {
    # shellcheck disable=SC2046 # store paths have no white space
    nix-store --check-validity $(cat /tmp/closure) && nix-store --verify &&
        cat $(readlink -f /run/current-system/sw/bin/*) >/dev/null
}

until [ -e /run/storeboot/settled ]; do sleep 1; done
for name in query build references copy gc valid; do
    check "$name" "$name"
done
echo "client-nix end" >/dev/console
