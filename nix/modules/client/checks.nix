# What would hang, or be refused by `storeboot deploy`, is an error before it is built.
{ config, lib, ... }:
let
  cfg = config.storeboot.client;
  native = cfg.native.enable;
  initrd = config.boot.initrd;
  scripted = native && !initrd.systemd.enable;

  # What `storeboot deploy` finds in fstab (src/storeboot/nix/fstab.py); it also knows what is made of these.
  isLocal = fs: lib.elem fs.fsType [ "bcachefs" "zfs" ] || lib.any (start: lib.hasPrefix start (if fs.device == null then "" else fs.device)) [ "/dev/" "UUID=" "LABEL=" "PARTUUID=" "PARTLABEL=" "ID=" ];
  # nixos/lib/utils.nix, pathsNeededForBoot, without those that storeboot mounts itself.
  early = [ "/var" "/var/log" "/var/lib" "/var/lib/nixos" "/etc" "/usr" ];
  isShared = fs: fs.fsType == "virtiofs"
    || fs.fsType == "9p" && !lib.any (each: lib.elem each [ "trans=tcp" "trans=rdma" ]) fs.options;
  isEarly = fs: fs.neededForBoot || lib.elem fs.mountPoint early;
  own = [ "/nix" "/nix/store" "/nix/.ro-store" "/nix/.rw-store" ];
  stubborn = lib.filter (fs: isLocal fs && isEarly fs) (lib.attrValues config.fileSystems);
  shared = lib.filter (fs: isShared fs && isEarly fs && !lib.elem fs.mountPoint own) (lib.attrValues config.fileSystems);
  listed = lib.concatMapStringsSep ", " (fs: "${fs.mountPoint} on ${toString fs.device}");
  rootType = config.fileSystems."/".fsType;
  hasAddress = initrd.network.udhcpc.enable || lib.any (lib.hasPrefix "ip=") config.boot.kernelParams;

  check = assertion: message: { inherit assertion message; };
in
{
  config = lib.mkIf cfg.enable {
    assertions = [
      (check (rootType == "tmpfs") ''
        storeboot.client: fileSystems."/" is of type ${toString rootType}, but a machine without disks has a tmpfs there.
      '')
      (check (stubborn == [ ]) ''
        storeboot.client: a local disk is neededForBoot, but storeboot mounts no local disk that early: ${listed stubborn}.
        Keep directories with the host's persist_label and persist_directories, or drop neededForBoot.
      '')
      (check (shared == [ ]) ''
        storeboot.client: a directory that a hypervisor shares is neededForBoot, but a machine that boots over the network has none: ${listed shared}.
        Drop neededForBoot, and the machine does without it.
      '')
      (check (initrd.luks.devices == { }) ''
        storeboot.client: boot.initrd.luks.devices need a local disk.
      '')
      (check (initrd.secrets == { }) ''
        storeboot.client: boot.initrd.secrets would be readable by anyone on the network.
      '')
      (check (!config.boot.loader.grub.enable && !config.boot.loader.systemd-boot.enable) ''
        storeboot.client: a diskless machine needs no boot loader: set boot.loader.grub.enable and boot.loader.systemd-boot.enable to false.
      '')
      (check (!(config.nix.settings.auto-optimise-store or false) && !config.nix.optimise.automatic && !config.nix.gc.automatic) ''
        storeboot.client: nix.settings.auto-optimise-store, nix.optimise.automatic and nix.gc.automatic would copy the shared store into this machine's memory, or delete what it runs: set them to false.
      '')
      (check (native -> !initrd.network.flushBeforeStage2) ''
        storeboot.client: boot.initrd.network.flushBeforeStage2 removes the address over which the store is mounted, so stage 2 would hang without a message: set it to false.
      '')
      (check (native -> initrd.network.enable) ''
        storeboot.client: the store is mounted by the initrd, which needs boot.initrd.network.enable = true.
      '')
      (check (scripted -> hasAddress) ''
        storeboot.client: stage 1 does not request an address: set boot.initrd.network.udhcpc.enable = true, or ip= in boot.kernelParams.
      '')
      (check (native && config.networking.networkmanager.enable -> cfg.interface.macAddress != null) ''
        storeboot.client: NetworkManager would take the boot NIC down: set storeboot.client.interface.macAddress to its address.
      '')
      (check (native -> !config.systemd.network.enable || config.systemd.network.networks ? "10-storeboot" || config.networking.useNetworkd) ''
        storeboot.client: systemd.network.enable without networking.useNetworkd: set both, so that the boot NIC keeps its address.
      '')
    ];
    warnings = lib.optional (config.swapDevices != [ ]) ''
      storeboot.client: swapDevices are ignored on a machine that storeboot boots; see storeboot.client.zram.
    '';
  };
}
