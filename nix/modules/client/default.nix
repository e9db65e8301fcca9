# storeboot.client: a system that is at home on a machine without disks, however storeboot boots it.
{ lib, pkgs, ... }:
{
  imports = [ ./system.nix ./native.nix ./network.nix ./agent.nix ./checks.nix ];

  options.storeboot.client = {
    enable = lib.mkEnableOption "what a machine needs to boot from storeboot without a disk";

    rootSize = lib.mkOption {
      type = lib.types.str;
      default = "50%";
      example = "2G";
      description = "Size of the tmpfs at `/`, in the format of {manpage}`tmpfs(5)`.";
    };

    zram = lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = ''
        Whether to swap to compressed memory, since everything that a machine writes is in its
        memory. If the host's `zram` is set, storeboot's initrd has already set it up, and this
        option has no effect.
      '';
    };

    nixStore = lib.mkOption {
      type = lib.types.enum [ "local" "local-overlay" ];
      default = "local";
      description = ''
        Kind of store that the machine's Nix uses. The host's `nix_store` must be the same.
        `local-overlay` needs Nix 2.22 or newer.
      '';
    };

    rescue = {
      enable = lib.mkOption {
        type = lib.types.bool;
        default = false;
        description = ''
          Whether a machine that fails to boot opens a shell on its console. Otherwise it boots
          again.
        '';
      };
      hashedPassword = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = null;
        description = ''
          Hash of the password for this shell in a systemd stage 1, as {manpage}`mkpasswd(1)` prints
          it. Anyone on the network can read the initrd, so this password protects very little.
        '';
      };
    };

    interface.macAddress = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "52:54:00:12:34:56";
      description = ''
        MAC address of the boot NIC, for mode native: only this NIC stays as stage 1 has set it up.
        null: every wired NIC does, so that one system fits many machines. In the other modes
        storeboot's initrd knows the boot NIC.
      '';
    };

    native = {
      enable = lib.mkEnableOption ''
        mode native, in which the system's own initrd mounts the store. The other modes are faster
        and need no support in the system; use this one if stage 1 has work of its own
      '';

      server = lib.mkOption {
        type = lib.types.str;
        example = "192.168.1.1";
        description = "IPv4 address of the server. `nfs.alias` must be enabled there.";
      };

      nfsVersion = lib.mkOption {
        type = lib.types.enum [ "3" "4.1" "4.2" ];
        default = "3";
        description = "NFS version to mount the store with. Version 3 needs a third of the round trips.";
      };

      mountOptions = lib.mkOption {
        type = lib.types.listOf lib.types.str;
        default = [ ];
        example = [ "nconnect=4" ];
        description = "Additional mount options; see {manpage}`nfs(5)`.";
      };

      overlaySize = lib.mkOption {
        type = lib.types.str;
        default = "50%";
        description = "Size of the tmpfs that holds what is written to the store.";
      };

      drivers = lib.mkOption {
        type = lib.types.listOf lib.types.str;
        default = [ "virtio_net" "virtio_pci" ] ++ lib.optionals pkgs.stdenv.hostPlatform.isx86_64 [
          "8139cp" "atlantic" "bnx2" "bnxt_en" "e1000" "e1000e" "i40e" "igb" "igc" "ixgbe" "mlx4_en"
          "mlx5_core" "r8169" "r8152" "tg3" "vmxnet3"
        ];
        defaultText = "common wired cards on x86_64, virtio elsewhere";
        description = ''
          Kernel modules for network cards to include in the initrd. A module is loaded only if the
          machine has such a card. The kernel must have all of them.
        '';
      };

      busybox = lib.mkOption {
        type = lib.types.package;
        default = pkgs.pkgsStatic.busybox;
        defaultText = lib.literalExpression "pkgs.pkgsStatic.busybox";
        description = "A static busybox for the agent, which is kept in memory and does not need the store.";
      };
    };
  };
}
