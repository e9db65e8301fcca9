# Contradictions that only the whole system's configuration shows; the file's own are found when it
# is built.
{ config, lib, ... }:
let
  cfg = config.services.storeboot;
  givesAddresses = cfg.dhcp.mode == "full";
  anotherDhcpServer = lib.filter (each: each.enable) [
    { name = "services.kea.dhcp4"; inherit (config.services.kea.dhcp4) enable; }
    {
      name = "services.dnsmasq";
      enable = config.services.dnsmasq.enable && config.services.dnsmasq.settings ? dhcp-range;
    }
  ];
  users = config.nix.settings.allowed-users or [ "*" ];
  port = if cfg.nfs.alias then "2049" else toString cfg.nfs.port;
in
{
  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = !(config.services.nfs.server.enable && port == "2049");
        message = ''
          services.storeboot and services.nfs.server both serve NFS on port 2049. Set
          services.storeboot.nfs.port (not possible with nfs.alias), or disable services.nfs.server.
        '';
      }
      {
        assertion = givesAddresses -> anotherDhcpServer == [ ];
        message = ''
          services.storeboot.dhcp.mode = "full" gives addresses, and so does ${(lib.head (anotherDhcpServer ++ [ { name = ""; } ])).name}.
          Set services.storeboot.dhcp.mode = "proxy" or "tftp", or turn the other one off.
        '';
      }
    ];
    warnings =
      lib.optional (config.nix.settings.auto-optimise-store or false || config.nix.optimise.automatic) ''
        nix.settings.auto-optimise-store and nix.optimise.automatic replace files in this store with
        hard links while machines that services.storeboot serves use them: set both to false.
      ''
      ++ lib.optional (!lib.any (user: lib.elem user users) [ "*" "storeboot" "@storeboot" ]) ''
        nix.settings.allowed-users does not let services.storeboot use Nix: add "storeboot" to it.
      '';
  };
}
