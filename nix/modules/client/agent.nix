# In mode native stage 2 starts the agent that storeboot's initrd starts in the others: it tells the
# server where the machine is, takes orders, and ends the machine in bounded time at shutdown.
{ config, lib, ... }:
let
  cfg = config.storeboot.client;
  busybox = "${cfg.native.busybox}/bin/busybox";
  scripts = builtins.path {
    path = ../../../src/storeboot/initrd/scripts;
    name = "storeboot-agent";
  };
  events = "/run/storeboot/events";
  tell = words: "/run/storeboot/bin/sh -c 'echo ${words} >${events}'";
  # NetworkManager leaves the boot NIC alone (network.nix), so nobody else would renew its lease.
  owner = if config.networking.networkmanager.enable && !config.networking.useNetworkd then "agent" else "system";
  early.DefaultDependencies = false;
in
{
  config = lib.mkIf (cfg.enable && cfg.native.enable) {
    systemd.services = {
      storeboot-prepare = {
        description = "Copy storeboot's agent to memory";
        wantedBy = [ "sysinit.target" ];
        before = [ "sysinit.target" ];
        unitConfig = early // {
          ConditionKernelCommandLine = "storeboot.url";
          # In other modes the initrd has brought it.
          ConditionPathExists = "!/run/storeboot";
        };
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${busybox} sh ${scripts}/native.sh prepare ${busybox} ${scripts} ${owner}";
        };
      };

      # Not stopped at shutdown: then it has most to tell.
      storeboot-agent = {
        description = "storeboot's agent";
        wantedBy = [ "sysinit.target" ];
        after = [ "storeboot-prepare.service" ];
        restartIfChanged = false;
        unitConfig = early // {
          ConditionPathExists = "/run/storeboot/fact.lease_owner";
          StartLimitIntervalSec = 0;
          # A machine that is told to go to rescue mode still has somebody to say so.
          IgnoreOnIsolate = true;
        };
        serviceConfig = {
          ExecStart = "/run/storeboot/bin/sh /run/storeboot/native.sh run";
          Restart = "on-failure";
          RestartSec = 10;
          KillMode = "process";
          OOMScoreAdjust = -900;
        };
      };

      storeboot-multi-user = {
        description = "Tell storeboot that the machine is up";
        wantedBy = [ "multi-user.target" ];
        # An order alone is kept as well by a target whose job was dropped or has failed.
        bindsTo = [ "multi-user.target" ];
        after = [ "multi-user.target" ];
        before = [ "shutdown.target" ];
        conflicts = [ "shutdown.target" ];
        unitConfig = early // { ConditionPathExists = events; };
        serviceConfig = {
          Type = "oneshot";
          ExecStart = tell "multi-user";
        };
      };
    }
    // lib.mapAttrs' (mode: _: lib.nameValuePair "storeboot-${mode}" {
      description = "Tell storeboot that the machine does not come up";
      wantedBy = [ "${mode}.target" ];
      unitConfig = early // { ConditionPathExists = events; };
      serviceConfig = {
        Type = "oneshot";
        ExecStart = tell "failed ${mode}";
      };
    }) { emergency = { }; rescue = { }; }
    // lib.mapAttrs' (action: _: lib.nameValuePair "storeboot-${action}" {
      description = "Tell storeboot that the machine goes down";
      wantedBy = [ "${action}.target" ];
      unitConfig = early // { ConditionPathExists = events; };
      serviceConfig = {
        Type = "oneshot";
        ExecStart = tell "shutdown ${action}";
        TimeoutStartSec = 10;
      };
    }) { poweroff = { }; reboot = { }; halt = { }; kexec = { }; };
  };
}
