# The boot NIC's address is what the store hangs on: nobody takes it away, neither between the stages
# nor at the end of whoever manages it. In other modes than native storeboot's initrd sees to it.
{ config, lib, ... }:
let
  cfg = config.storeboot.client;
  mac = cfg.interface.macAddress;
  network = {
    # Without a kind: VLANs, macvlans and bridges may have the NIC's address.
    matchConfig = { Type = "ether"; Kind = "!*"; } // lib.optionalAttrs (mac != null) { MACAddress = mac; };
    networkConfig = {
      DHCP = "ipv4";
      KeepConfiguration = "yes";
    };
    # The same client to the DHCP server in both stages, and so the same address.
    dhcpV4Config.ClientIdentifier = "mac";
    # What the network offers, as in the other modes; networkd takes these two only if told to.
    dhcpV4Config.UseMTU = true;
    dhcpV4Config.UseDomains = true;
  };
in
{
  config = lib.mkIf cfg.enable (lib.mkMerge [
    { networking.dhcpcd.persistent = lib.mkDefault true; }
    (lib.mkIf cfg.native.enable {
      boot.initrd.network.enable = true;
      # The hidden one: it is true for a scripted stage 1, and the machine hangs without a word.
      boot.initrd.network.flushBeforeStage2 = lib.mkDefault false;
      boot.initrd.network.udhcpc.enable = lib.mkIf (!config.boot.initrd.systemd.enable) (lib.mkDefault true);
      boot.initrd.systemd.network.networks = lib.mkIf config.boot.initrd.systemd.enable {
        "10-storeboot" = network;
      };
      systemd.network.networks = lib.mkIf config.networking.useNetworkd { "10-storeboot" = network; };
      # Without a name of its own dhcpcd says the MAC address, as udhcpc does in stage 1.
      networking.dhcpcd.extraConfig = "clientid";
      networking.networkmanager.unmanaged = lib.optional (mac != null) "mac:${toString mac}";
    })
  ]);
}
