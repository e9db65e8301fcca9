# storeboot without flakes: import it, or `nix-build -A storeboot`.
{ pkgs ? import <nixpkgs> { } }:
{
  storeboot = pkgs.callPackage ./nix/package.nix { };
  overlay = import ./nix/overlay.nix;
  nixosModules = {
    server = ./nix/modules/server;
    client = ./nix/modules/client;
  };
  tests.boot = pkgs.testers.runNixOSTest ./nix/tests/boot.nix;
}
