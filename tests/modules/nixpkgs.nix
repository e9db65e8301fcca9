# nixpkgs' own library and the modules of NixOS that storeboot's touch, from any checkout.
#
# What these modules want of others is declared in rest.nix, and packages are names only: nothing is
# built. Other modules of NixOS are not here, so that a part of nixpkgs is enough.
{ nixpkgs, stage1 }:
let
  lib = import (nixpkgs + "/lib");
  standin = import ./standin/pkgs.nix;
  modules = map (name: nixpkgs + "/nixos/modules/${name}.nix") [
    "misc/assertions"
    "tasks/filesystems"
    "tasks/filesystems/overlayfs"
    "tasks/filesystems/nfs"
    "system/boot/kernel"
    "system/boot/stage-1"
    "system/boot/stage-2"
    "system/boot/initrd-network"
    "system/boot/networkd"
    "system/boot/systemd"
    "system/boot/systemd/initrd"
    "system/boot/systemd/shutdown"
    "config/nix"
    "config/zram"
    "services/system/nix-daemon"
    "services/networking/dhcpcd"
    "services/networking/networkmanager"
  ];
  arguments = { config, pkgs, ... }: {
    _module.args.utils = import (nixpkgs + "/nixos/lib/utils.nix") { inherit lib config pkgs; };
  };
in
{
  inherit lib;
  pkgs = standin // lib.genAttrs [ "bash" "dhcpcd" "makeInitrdNGTool" "wpa_supplicant" ] standin.package
    // lib.genAttrs [ "writeScript" "writeScriptBin" "writeShellScript" "writeText" ]
      (_: name: text: standin.package name // { inherit text; })
    // {
    inherit lib;
    stdenv.hostPlatform = lib.systems.elaborate "x86_64-linux";
    systemd = standin.systemd // lib.genAttrs [
      "withBootloader" "withCoredump" "withCryptsetup" "withEfi" "withHomed" "withHostnamed" "withImportd"
      "withLocaled" "withLogind" "withMachined" "withNspawn" "withPortabled" "withRepart" "withSysupdate"
      "withTimedated" "withTimesyncd" "withTpm2Units" "withUtmp"
    ] (_: false);
    formats = standin.formats // {
      ini = _: { type = lib.types.attrs; generate = name: _: standin.package name; };
    };
    buildEnv = arguments: standin.package arguments.name // arguments;
    makeInitrd = arguments: standin.package arguments.name // arguments;
    makeInitrdNG = arguments: standin.package arguments.name // arguments;
    makeModulesClosure = arguments: standin.package "modules" // arguments;
    runCommandCC = standin.runCommand;
    # The script with what stage-1.nix puts in, for a test that boots it.
    replaceVarsWith = arguments: standin.package "script" // arguments;
  };
  arguments.modulesPath = nixpkgs + "/nixos/modules";
  base = modules ++ [
    arguments
    ./rest.nix
    { boot.initrd.systemd.enable = lib.mkOverride 1200 (stage1 == "systemd"); }
  ];
}
