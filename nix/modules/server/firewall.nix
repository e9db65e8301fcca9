# What machines have to reach, and nothing else.
{ config, lib, ... }:
let
  cfg = config.services.storeboot;
  ports = {
    allowedTCPPorts = lib.unique ([ cfg.http.port cfg.nfs.port ] ++ lib.optional cfg.nfs.alias 2049);
    # DHCP, TFTP, and proxyDHCP's own port (PXE 2.1, section 2.2.2).
    allowedUDPPorts = lib.optional (cfg.dhcp.mode != "off") 69
      ++ lib.optionals (lib.elem cfg.dhcp.mode [ "proxy" "full" ]) [ cfg.dhcp.port 4011 ];
  };
in
{
  config = lib.mkIf (cfg.enable && cfg.openFirewall) {
    networking.firewall =
      if cfg.networks == { } then ports
      else { interfaces = lib.mapAttrs' (_: network: lib.nameValuePair network.interface ports) cfg.networks; };
  };
}
