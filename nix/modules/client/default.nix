# storeboot.client: a system that is at home on a machine without disks, however storeboot boots it.
{ lib, pkgs, ... }:
{
  imports = [ ./system.nix ./native.nix ./network.nix ./agent.nix ./checks.nix ];

  options.storeboot.client = {
    enable = lib.mkEnableOption "what a machine needs that storeboot boots from another one's store";

    rootSize = lib.mkOption {
      type = lib.types.str;
      default = "50%";
      example = "2G";
      description = "Size of the tmpfs that is `/`, as {manpage}`tmpfs(5)` has it.";
    };

    zram = lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = ''
        Whether to swap into compressed memory: all that a machine writes is in its memory. Where the
        host's `zram` says so storeboot's initrd has made it already, and this finds it taken.
      '';
    };

    nixStore = lib.mkOption {
      type = lib.types.enum [ "local" "local-overlay" ];
      default = "local";
      description = ''
        Which kind of store the machine's Nix has; the host's `nix_store` must be the same one.
        `local-overlay` wants Nix 2.22 or newer.
      '';
    };

    rescue = {
      enable = lib.mkOption {
        type = lib.types.bool;
        default = false;
        description = ''
          Whether who stands before a machine that fails to boot gets a shell. Otherwise it boots again.
        '';
      };
      hashedPassword = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = null;
        description = ''
          The password that a systemd stage 1 asks for first, as {manpage}`mkpasswd(1)` prints it. The
          initrd can be read by the whole network, so this is as good as known.
        '';
      };
    };

    interface.macAddress = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "52:54:00:12:34:56";
      description = ''
        MAC address of the NIC that boots, in mode native: only that one is kept as stage 1 has set it
        up. null: every wired one is, so that one system fits many machines. In the other modes
        storeboot's initrd knows it.
      '';
    };

    native = {
      enable = lib.mkEnableOption ''
        mode native: the system's own initrd mounts the store. The other modes need nothing of it and
        are faster; this one is for systems whose stage 1 has work of its own
      '';

      server = lib.mkOption {
        type = lib.types.str;
        example = "192.168.1.1";
        description = "IPv4 address of the server, of which `nfs.alias` must be on.";
      };

      nfsVersion = lib.mkOption {
        type = lib.types.enum [ "3" "4.1" "4.2" ];
        default = "3";
        description = "Protocol that the store is mounted with; 3 needs a third of the round trips.";
      };

      mountOptions = lib.mkOption {
        type = lib.types.listOf lib.types.str;
        default = [ ];
        example = [ "nconnect=4" ];
        description = "More mount options, as {manpage}`nfs(5)` has them.";
      };

      overlaySize = lib.mkOption {
        type = lib.types.str;
        default = "50%";
        description = "Size of the tmpfs that takes what is written to the store.";
      };

      drivers = lib.mkOption {
        type = lib.types.listOf lib.types.str;
        default = [ "virtio_net" "virtio_pci" ] ++ lib.optionals pkgs.stdenv.hostPlatform.isx86_64 [
          "8139cp" "atlantic" "bnx2" "bnxt_en" "e1000" "e1000e" "i40e" "igb" "igc" "ixgbe" "mlx4_en"
          "mlx5_core" "r8169" "r8152" "tg3" "vmxnet3"
        ];
        defaultText = "wired cards of PCs on x86_64, virtio elsewhere";
        description = ''
          Modules of network cards for the initrd, loaded where there is such a card. The kernel must
          have each of them.
        '';
      };

      busybox = lib.mkOption {
        type = lib.types.package;
        default = pkgs.pkgsStatic.busybox;
        defaultText = lib.literalExpression "pkgs.pkgsStatic.busybox";
        description = "A static busybox: the agent lives in memory and outlives the store.";
      };
    };
  };
}
