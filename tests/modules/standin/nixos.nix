# A small stand-in for NixOS: the options that storeboot's modules read and set, with the types and
# defaults that nixpkgs gives them; none of what NixOS makes of them.
#
# `stage1` is "systemd" (NixOS 26.05 and newer) or "scripted".
{ stage1 }:
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  bool = option types.bool;
  strings = option (types.listOf types.str) [ ];
  lines = option types.lines "";
  anything = option types.anything { };
  # Of units only what every kind of unit has.
  units = option (types.attrsOf (types.submodule {
    options = {
      description = option types.str "";
      documentation = strings;
      wantedBy = strings;
      requiredBy = strings;
      requires = strings;
      bindsTo = strings;
      wants = strings;
      after = strings;
      before = strings;
      conflicts = strings;
      unitConfig = anything;
      serviceConfig = anything;
      socketConfig = anything;
      environment = anything;
      path = option (types.listOf types.raw) [ ];
      startAt = option (types.either types.str (types.listOf types.str)) [ ];
      script = lines;
      restartIfChanged = bool true;
      stopIfChanged = bool true;
      restartTriggers = option (types.listOf types.raw) [ ];
      reloadTriggers = option (types.listOf types.raw) [ ];
    };
  })) { };
  # nixos/lib/systemd-lib.nix and networkd.nix hold each section to such lists.
  network = types.submodule {
    options = {
      matchConfig = anything;
      linkConfig = anything;
      networkConfig = option
        (types.submodule {
          options = {
            DHCP = option (types.enum [ "yes" "no" "ipv4" "ipv6" ]) "no";
            KeepConfiguration = option (types.enum [ true false "yes" "no" "static" "dynamic-on-stop" "dynamic" ]) "no";
          };
        })
        { };
      dhcpV4Config = option
        (types.submodule {
          options.ClientIdentifier = option (types.enum [ "mac" "duid" "duid-only" ]) "duid";
          options.UseMTU = bool false;
          options.UseDomains = bool false;
        })
        { };
    };
  };
  networks = option (types.attrsOf network) { };
  fileSystem = { name, ... }: {
    options = {
      mountPoint = option types.str name;
      device = option (types.nullOr types.str) null;
      fsType = option types.str "auto";
      options = strings;
      depends = strings;
      neededForBoot = bool false;
      overlay = {
        lowerdir = option (types.nullOr (types.listOf types.str)) null;
        upperdir = option (types.nullOr types.str) null;
        workdir = option (types.nullOr types.str) null;
      };
    };
  };
in
{
  options = {
    assertions = option (types.listOf types.raw) [ ];
    warnings = strings;
    fileSystems = option (types.attrsOf (types.submodule fileSystem)) { };
    swapDevices = option (types.listOf types.raw) [ ];
    zramSwap.enable = bool false;
    environment.systemPackages = option (types.listOf types.package) [ ];
    environment.etc = anything;
    users.users = anything;
    users.groups = anything;
    boot = {
      kernelParams = strings;
      supportedFilesystems = strings;
      loader.grub.enable = bool true;
      loader.systemd-boot.enable = bool false;
      initrd = {
        availableKernelModules = strings;
        kernelModules = strings;
        supportedFilesystems = strings;
        secrets = anything;
        luks.devices = anything;
        network.enable = bool false;
        network.flushBeforeStage2 = bool (!config.boot.initrd.systemd.enable);
        network.udhcpc.enable = bool (config.networking.useDHCP && !config.boot.initrd.systemd.enable);
        systemd.enable = bool (stage1 == "systemd");
        systemd.emergencyAccess = option (types.nullOr (types.either types.bool types.str)) false;
        systemd.network.networks = networks;
      };
    };
    networking = {
      hostName = option types.str "nixos";
      useDHCP = bool true;
      useNetworkd = bool false;
      dhcpcd.persistent = bool false;
      dhcpcd.extraConfig = lines;
      networkmanager.enable = bool false;
      networkmanager.unmanaged = strings;
      firewall.allowedTCPPorts = option (types.listOf types.port) [ ];
      firewall.allowedUDPPorts = option (types.listOf types.port) [ ];
      firewall.interfaces = anything;
    };
    nix.settings = anything;
    nix.package = option types.package { type = "derivation"; name = "nix"; outPath = "/nix/store/00000000000000000000000000000000-nix"; };
    nix.gc.automatic = bool false;
    nix.optimise.automatic = bool false;
    services.journald.storage = option (types.enum [ "volatile" "persistent" "auto" "none" ]) "persistent";
    services.nfs.server.enable = bool false;
    services.dnsmasq.enable = bool false;
    services.dnsmasq.settings = anything;
    services.kea.dhcp4.enable = bool false;
    systemd = {
      services = units;
      sockets = units;
      tmpfiles.rules = strings;
      coredump.enable = bool true;
      oomd.enable = bool true;
      enableEmergencyMode = bool true;
      shutdownRamfs.enable = bool true;
      network.enable = bool config.networking.useNetworkd;
      network.networks = networks;
    };
  };
}
