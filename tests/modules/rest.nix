# Of NixOS what the modules in nixpkgs.nix read or set, and nobody among them declares.
{ lib, ... }:
let
  any = default: lib.mkOption { type = lib.types.anything; inherit default; };
  set = any { };
in
{
  options = {
    boot = {
      initrd.luks.devices = set;
      initrd.systemd.dbus = set;
      initrd.systemd.groups = set;
      initrd.systemd.users = set;
      isContainer = any false;
      isNspawnContainer = any false;
      kernel.sysctl = set;
      loader.grub = any { enable = true; };
      loader.systemd-boot.enable = any false;
      swraid = any { enable = false; };
    };
    environment = {
      etc = set;
      sessionVariables = set;
      shell.enable = any true;
      systemPackages = any [ ];
      variables = set;
    };
    hardware = set;
    ids = any { gids = { tty = 3; keys = 96; }; };
    lib = set;
    meta = set;
    networking = {
      enableIPv6 = any true;
      firewall.allowedTCPPorts = any [ ];
      firewall.allowedUDPPorts = any [ ];
      firewall.interfaces = set;
      hostId = any null;
      hostName = any "nixos";
      interfaces = set;
      iproute2 = set;
      modemmanager = set;
      resolvconf = any { enable = false; subscriberFiles = [ ]; };
      useDHCP = any true;
      useNetworkd = any false;
      wireless.autoDetectInterfaces = any true;
      wireless.dbusControlled = any false;
      wireless.enable = any false;
      wireless.iwd = any { enable = false; };
      wireless.networks = set;
    };
    nix.gc.automatic = any false;
    nix.optimise.automatic = any false;
    powerManagement.powerUpCommands = any "";
    powerManagement.resumeCommands = any "";
    security = set;
    services = {
      dbus = set;
      displayManager = set;
      dnsmasq.enable = any false;
      dnsmasq.settings = set;
      firewalld = set;
      journald.storage = any "persistent";
      kea.dhcp4.enable = any false;
      logrotate = set;
      nfs.server = { enable = any false; extraNfsdConfig = any ""; };
      openssh.enable = any false;
      resolved = set;
      rpcbind = set;
      udev = set;
      zram-generator = set;
    };
    swapDevices = any [ ];
    system = {
      activationScripts = set;
      boot.loader = any { kernelFile = "bzImage"; initrdFile = "initrd"; };
      build = lib.mkOption { type = lib.types.lazyAttrsOf lib.types.raw; default = { }; };
      nixos.distroName = any "NixOS";
      nssDatabases = set;
      nssModules = set;
      systemBuilderArgs = set;
      systemBuilderCommands = lib.mkOption { type = lib.types.lines; default = ""; };
    };
    systemd = {
      coredump.enable = any true;
      enableEmergencyMode = any true;
      oomd.enable = any true;
      tmpfiles = set;
    };
    users = set;
  };
  config.users.groups.utmp.name = "utmp";
}
