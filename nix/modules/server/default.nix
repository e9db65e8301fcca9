# services.storeboot: the configuration file as options, and a server that runs by it.
{ config, lib, pkgs, ... }:
let
  cfg = config.services.storeboot;
  settings = import ./options.nix { inherit lib; };

  # What is null is not said; a package is said as its store path, and so built with the server.
  plain = value:
    if lib.isDerivation value || builtins.isPath value then "${value}"
    else if lib.isList value then map plain value
    else if lib.isAttrs value then lib.mapAttrs (_: plain) (lib.filterAttrs (_: each: each != null) value)
    else value;
  # Places of this machine stay what they are; files that are served or run come along with it.
  places = lib.mapAttrs (_: value: if builtins.isPath value then toString value else value);
  document = plain (lib.mapAttrs (name: _: cfg.${name}) settings // {
    server = places cfg.server;
    store = places cfg.store;
  });

  toml = (pkgs.formats.toml { }).generate "storeboot.toml" document;
in
{
  imports = [ ./unit.nix ./firewall.nix ./checks.nix ];

  options.services.storeboot = settings // {
    enable = lib.mkEnableOption "storeboot, which boots diskless machines from this machine's store";

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.storeboot or (pkgs.callPackage ../../package.nix { });
      defaultText = lib.literalExpression "pkgs.storeboot";
      description = "The storeboot package to run.";
    };

    openFirewall = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = ''
        Whether to open the firewall for HTTP and NFS, and for DHCP and TFTP if `dhcp.mode` uses
        them. With `networks`, only on their interfaces.
      '';
    };

    retention = {
      keep = lib.mkOption {
        type = lib.types.ints.unsigned;
        default = 5;
        description = "Number of generations to keep of each host, besides the one that boots next (`storeboot gc --keep`).";
      };
      dates = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = "weekly";
        example = "03:15";
        description = ''
          When to remove older generations, in the format of {manpage}`systemd.time(7)`. null:
          never. What a machine runs is kept, whatever its age.
        '';
      };
    };

    configFile = lib.mkOption {
      type = lib.types.path;
      readOnly = true;
      default = pkgs.runCommand "storeboot.toml" { source = toml; } ''
        ${lib.getExe cfg.package} serve --dry-run --no-files --config $source
        cp $source $out
      '';
      defaultText = "built from the other options";
      description = ''
        The configuration file. storeboot checks it when it is built, so an error in it fails
        `nixos-rebuild` and not the running server.
      '';
    };

    # What a reload takes over, and what it does not; see `storeboot serve --help`.
    fixedPart = lib.mkOption {
      type = lib.types.raw;
      internal = true;
      readOnly = true;
      default = lib.filterAttrs
        (name: _: lib.elem name [ "server" "store" "database" "http" "nfs" "dhcp" "networks" ])
        document;
      description = "The settings that only a restart can change.";
    };
  };

  config = lib.mkIf cfg.enable {
    services.storeboot = {
      initrd.busybox = lib.mkDefault "${pkgs.pkgsStatic.busybox}/bin/busybox";
      dhcp.dnsmasq = lib.mkDefault "${pkgs.dnsmasq}/bin/dnsmasq";
      dhcp.ipxe = lib.mkDefault (lib.mapAttrs (_: name: "${pkgs.ipxe}/${name}") (
        if pkgs.stdenv.hostPlatform.isx86_64 then { bios = "undionly.kpxe"; x64 = "ipxe.efi"; }
        else { arm64 = "ipxe.efi"; }
      ));
    };
    environment.etc."storeboot/storeboot.toml".source = cfg.configFile;
  };
}
