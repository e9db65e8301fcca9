# A server and a machine without disks that boots from it, in QEMU, with nixpkgs' own test driver.
{ lib, pkgs, ... }:
let
  # What the machine boots; its closure is in the server's store because the server's configuration
  # names it.
  diskless = (import (pkgs.path + "/nixos/lib/eval-config.nix") {
    inherit (pkgs.stdenv.hostPlatform) system;
    modules = [
      ../modules/client
      {
        storeboot.client.enable = true;
        boot.kernelParams = [ "console=ttyS0" ];
        boot.initrd.availableKernelModules = [ "virtio_net" "virtio_pci" ];
        networking.useNetworkd = true;
        documentation.enable = false;
        system.stateVersion = lib.trivial.release;
      }
    ];
  }).config.system.build.toplevel;
in
{
  name = "storeboot";

  nodes.server = {
    imports = [ ../modules/server ];
    specialisation.host.configuration.services.storeboot.hosts.lab2.mac = [ "52:54:00:12:01:02" ];
    specialisation.lease.configuration.services.storeboot.nfs.lease = 7200;
    virtualisation.memorySize = 2048;
    virtualisation.writableStore = true;
    virtualisation.additionalPaths = [ diskless ];
    networking.firewall.enable = true;
    services.storeboot = {
      enable = true;
      openFirewall = true;
      server.address = "192.168.1.2";
      networks.lab = {
        interface = "eth1";
        address = "192.168.1.2/24";
        range = [ "192.168.1.100" "192.168.1.150" ];
      };
      dhcp.mode = "full";
      hosts.lab1 = {
        mac = [ "52:54:00:12:01:01" ];
        system = diskless;
        kernel_params = [ "console=ttyS0" ];
      };
    };
  };

  # Started by hand: it boots from its NIC, and has no store of its own.
  nodes.client = {
    virtualisation.memorySize = 2048;
    virtualisation.useNixStoreImage = true;
    virtualisation.directBoot.enable = false;
    virtualisation.useBootLoader = false;
    # Only the NIC of the test's own network, or firmware would ask QEMU's DHCP server first.
    virtualisation.qemu.networkingOptions = lib.mkForce [ ];
    virtualisation.qemu.options = [ "-boot n" ];
  };

  testScript = ''
    import json

    server.start()
    server.wait_for_unit("storeboot.service")
    server.wait_for_open_port(8080, "192.168.1.2")
    server.wait_for_open_port(2049, "192.168.1.2")
    client.start()

    with subtest("the machine boots from the server's store"):
        server.wait_until_succeeds("storeboot status --json | grep -q '\"stage\": \"multi-user\"'", 300)

    with subtest("a switch with another host, and one with another setting, are not noticed by the machine"):
        before = json.loads(server.succeed("storeboot status --json"))["lab1"]["boot"]
        switch = "/run/booted-system/specialisation/{}/bin/switch-to-configuration test"
        server.succeed(switch.format("host"))
        server.succeed("storeboot host list | grep -q lab2")
        server.succeed(switch.format("lease"))
        server.succeed("systemctl restart storeboot.service")
        server.wait_for_unit("storeboot.service")
        server.sleep(30)
        after = json.loads(server.succeed("storeboot status --json"))["lab1"]
        assert (after["boot"], after["stage"]) == (before, "multi-user"), after

    with subtest("the server has no rights that it does not need"):
        print(server.succeed("systemd-analyze security storeboot.service | tail -n 1"))
  '';
}
