# Builder: the toplevel, file by file as NixOS's top-level.nix makes it.
mkdir -p "$out"
cd "$out"
ln -s "$kernel/bzImage" kernel
ln -s "$modules" kernel-modules
mkdir firmware
[ -z "${initrd:-}" ] || ln -s "$initrd" initrd
ln -s "$etc" etc
ln -s "$systemPath" sw
if [ -n "${etcImage:-}" ]; then
    # system.etc.overlay.enable
    ln -s "$etcImage" etc-metadata-image
    ln -s "$etcBase" etc-basedir
fi
[ -z "$systemd" ] || ln -s "$systemd" systemd
ln -s "$activate" activate
printf %s "$kernelParams" >kernel-params
printf %s "$label" >nixos-version
printf %s "$machine" >system
printf %s "$initInterface" >init-interface-version

stage2() {
    sed -e "s|@busybox@|$busybox|g" -e "s|@systemConfig@|$out|g" -e "s|@initProgram@|$initProgram|g" \
        -e "s|@bash@|${bash:-}/usr/bin/bash-static|g" "$stage2" >"$1"
    chmod 0755 "$1"
}
case $flavour in
systemd)
    stage2 prepare-root
    cp "$initProgram" init
    ;;
*) stage2 init ;;
esac

cat >boot.json <<EOF
{"org.nixos.bootspec.v1":{"init":"$out/init","kernel":"$kernel/bzImage","kernelParams":$kernelParamsJson,"label":"NixOS stand-in $label (Linux $kernelVersion)","system":"$machine","toplevel":"$out"},"org.nixos.specialisation.v1":{}}
EOF
