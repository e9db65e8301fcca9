# What is right in every mode: everything in memory, no boot loader, a store that is not this machine's.
{ config, lib, ... }:
let
  cfg = config.storeboot.client;
  localOverlay = {
    experimental-features = [ "nix-command" "local-overlay-store" "read-only-local-store" ];
    store = "local-overlay://?lower-store=/nix/.lower%3Fread-only=true&upper-layer=/nix/.rw-store/store&check-mount=false";
  };
in
{
  config = lib.mkIf cfg.enable {
    fileSystems."/" = {
      device = lib.mkDefault "tmpfs";
      fsType = "tmpfs";
      options = [ "mode=0755" "size=${cfg.rootSize}" ];
    };

    # What boots the machine is on the server.
    boot.loader.grub.enable = lib.mkDefault false;

    # One closure for many machines: each is told its name on the kernel command line.
    networking.hostName = lib.mkDefault "";

    # Everybody's files stay as they are, and what this machine runs is nobody's garbage.
    nix.settings = lib.mkMerge [
      { auto-optimise-store = lib.mkDefault false; }
      (lib.mkIf (cfg.nixStore == "local-overlay") localOverlay)
    ];
    nix.optimise.automatic = lib.mkDefault false;
    nix.gc.automatic = lib.mkDefault false;

    # Logs and core dumps would fill the memory.
    services.journald.storage = lib.mkDefault "volatile";
    systemd.coredump.enable = lib.mkDefault false;
    zramSwap.enable = lib.mkDefault cfg.zram;
    systemd.oomd.enable = lib.mkDefault true;

    # storeboot has put its own there at boot; NixOS would copy one from the store at shutdown, when
    # the network may be gone.
    systemd.shutdownRamfs.enable = lib.mkDefault false;

    # A machine in a cabinet boots again rather than wait for somebody with a keyboard.
    systemd.enableEmergencyMode = lib.mkDefault cfg.rescue.enable;
    boot.kernelParams = [ "panic=30" ]
      ++ (if cfg.rescue.enable then [ "boot.shell_on_fail" ] else [ "boot.panic_on_fail" ]);
    boot.initrd.systemd.emergencyAccess = lib.mkIf cfg.rescue.enable (
      lib.mkDefault (if cfg.rescue.hashedPassword != null then cfg.rescue.hashedPassword else true)
    );
  };
}
