# What `make` needs, from nixpkgs instead of Debian's packages; the demo system is Debian's anyway.
{ pkgs ? import <nixpkgs> { } }:
pkgs.mkShell {
  packages = with pkgs; [
    cpio
    dnsmasq
    dpkg
    e2fsprogs
    erofs-utils
    kmod
    libnfs
    nix
    openssh
    pkgsStatic.busybox
    python3
    qemu
    shellcheck
    squashfs-tools-ng
    uv
    xz
    zstd
  ];
}
