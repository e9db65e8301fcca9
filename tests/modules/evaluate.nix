# storeboot's modules with one more, in the stand-in or in nixpkgs' own module system; what came of it
# as data.
#
# `nixpkgs` is a checkout of nixpkgs, or null for the stand-in; `stage1` is "scripted" or "systemd".
{ module, stage1, nixpkgs ? null }:
let
  world =
    if nixpkgs == null then {
      lib = import ./standin/lib.nix;
      pkgs = import ./standin/pkgs.nix;
      base = [ (import ./standin/nixos.nix { inherit stage1; }) ];
      arguments = { };
    }
    else import ./nixpkgs.nix { inherit nixpkgs stage1; };
  inherit (world) lib;
  evaluated = lib.evalModules {
    modules = world.base ++ [ ../../nix/modules/server ../../nix/modules/client module ];
    specialArgs = { inherit (world) pkgs; } // world.arguments;
  };
  inherit (evaluated) config;
  initrd = config.boot.initrd;
  # nixpkgs has made sets of lists by and by.
  names = value: if lib.isAttrs value then lib.attrNames (lib.filterAttrs (_: each: each != false) value) else value;
  client = lib.filterAttrs (name: _: lib.hasPrefix "storeboot" name);
in
{
  failed = map (each: each.message) (lib.filter (each: !each.assertion) config.assertions);
  inherit (config) warnings;
  fileSystems = lib.mapAttrs (_: fs: { inherit (fs) device fsType options neededForBoot; overlay = lib.filterAttrs (_: each: each != null) { inherit (fs.overlay) lowerdir upperdir workdir; }; }) config.fileSystems;
  kernelParams = config.boot.kernelParams;
  initrd = {
    modules = names initrd.availableKernelModules ++ names initrd.kernelModules;
    fileSystems = names initrd.supportedFilesystems;
    network = { inherit (initrd.network) enable flushBeforeStage2; udhcpc = initrd.network.udhcpc.enable; };
    networks = lib.mapAttrs (_: each: { inherit (each) matchConfig networkConfig dhcpV4Config; }) initrd.systemd.network.networks;
    inherit (initrd.systemd) emergencyAccess;
  };
  networks = lib.mapAttrs (_: each: { inherit (each) matchConfig networkConfig dhcpV4Config; }) config.systemd.network.networks;
  dhcpcd = { inherit (config.networking.dhcpcd) persistent extraConfig; };
  unmanaged = config.networking.networkmanager.unmanaged;
  nix = { settings = lib.filterAttrs (name: _: lib.elem name [ "store" "auto-optimise-store" ]) config.nix.settings; gc = config.nix.gc.automatic; };
  services = lib.mapAttrs (_: each: { inherit (each) description wantedBy after before requires bindsTo conflicts stopIfChanged unitConfig serviceConfig environment; }) (client config.systemd.services);
  sockets = lib.mapAttrs (_: each: each.socketConfig) (client config.systemd.sockets);
  users = lib.attrNames (client config.users.users);
  tmpfiles = lib.filter (rule: builtins.match ".*storeboot.*" rule != null) config.systemd.tmpfiles.rules;
  firewall = { inherit (config.networking.firewall) allowedTCPPorts allowedUDPPorts interfaces; };
  toml = if config.services.storeboot.enable then config.services.storeboot.configFile.source.text else null;
  fixedPart = if config.services.storeboot.enable then lib.attrNames config.services.storeboot.fixedPart else [ ];
  grub = config.boot.loader.grub.enable;
}
