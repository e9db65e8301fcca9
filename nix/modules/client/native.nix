# Mode native: the system's own stage 1, scripted or systemd, mounts the store and lays the overlay.
{ config, lib, ... }:
let
  cfg = config.storeboot.client;
  inherit (cfg.native) server nfsVersion;

  # Said to the kernel as it is, since no initrd has mount.nfs or rpcbind. Names and attributes of a
  # store never change; not noacl, with which overlayfs refuses every user but root over NFSv3.
  options = [
    "ro" "nosuid" "nodev" "noatime" "nocto" "actimeo=86400" "hard" "proto=tcp"
    "addr=${server}" "port=2049" "vers=${nfsVersion}"
  ] ++ lib.optionals (nfsVersion == "3") [
    "nolock" "mountaddr=${server}" "mountport=2049" "mountproto=tcp"
  ] ++ cfg.native.mountOptions;
in
{
  config = lib.mkIf (cfg.enable && cfg.native.enable) {
    fileSystems."/nix/.ro-store" = {
      fsType = if nfsVersion == "3" then "nfs" else "nfs4";
      device = "${server}:/nixstore";
      inherit options;
      neededForBoot = true;
    };
    fileSystems."/nix/.rw-store" = {
      device = "tmpfs";
      fsType = "tmpfs";
      options = [ "mode=0755" "size=${cfg.native.overlaySize}" ];
      neededForBoot = true;
    };
    fileSystems."/nix/store" = {
      overlay = {
        lowerdir = [ "/nix/.ro-store" ];
        upperdir = "/nix/.rw-store/store";
        workdir = "/nix/.rw-store/work";
      };
      neededForBoot = true;
    };

    boot.initrd.supportedFilesystems = [ "nfs" "overlay" ];
    # supportedFilesystems brings `nfs` alone.
    boot.initrd.availableKernelModules = [ "nfs" "nfsv3" "nfsv4" "overlay" ] ++ cfg.native.drivers;
    boot.initrd.kernelModules = [ "nfsv${lib.head (lib.splitString "." nfsVersion)}" "overlay" ];
  };
}
