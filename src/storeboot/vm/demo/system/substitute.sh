# Builder: a script with @name@ replaced from the environment.
sed -e "s|@busybox@|$busybox|g" -e "s|@etc@|$etc|g" -e "s|@systemPath@|$systemPath|g" \
    -e "s|@users@|$nssUsers|g" "$src" >"$out"
chmod 0755 "$out"
