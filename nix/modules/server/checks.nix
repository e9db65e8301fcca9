# Contradictions that only the whole system's configuration shows; the file's own are found when it
# is built.
{ config, lib, ... }:
let
  cfg = config.services.storeboot;
  givesAddresses = cfg.dhcp.mode == "full";
  anotherDhcpServer = lib.filter (each: each.enable) [
    { name = "services.kea.dhcp4"; inherit (config.services.kea.dhcp4) enable; }
    { name = "services.dnsmasq"; inherit (config.services.dnsmasq) enable; }
  ];
  port = if cfg.nfs.alias then "2049" else toString cfg.nfs.port;
in
{
  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = !(config.services.nfs.server.enable && port == "2049");
        message = ''
          services.storeboot answers NFS on port 2049, and so does services.nfs.server.
          Set services.storeboot.nfs.port (not with nfs.alias), or turn the other one off.
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
    warnings = lib.optional (config.nix.settings.auto-optimise-store or false) ''
      nix.settings.auto-optimise-store replaces files of this store by links to others, under the
      machines that services.storeboot serves. `nix.optimise.automatic` does the same.
    '';
  };
}
