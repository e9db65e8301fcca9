# The server as a unit without rights of its own, its sockets held by systemd over every restart. The
# same units as in ../../../systemd, which has them for other distributions.
{ config, lib, pkgs, ... }:
let
  cfg = config.services.storeboot;
  usesDhcp = cfg.dhcp.mode != "off";
  stateDirectory = toString cfg.server.state_directory;
  isUsual = stateDirectory == "/var/lib/storeboot";

  # The server's own user owns its state, so that is who commands are run as. ./result is a link in a
  # directory that it may not see.
  command = pkgs.writeShellScriptBin "storeboot" ''
    words=()
    for word in "$@"; do
      if [ -L "$word" ]; then word=$(readlink -f -- "$word"); fi
      words+=("$word")
    done
    set -- "''${words[@]}"
    if [ "$(id -un)" = storeboot ]; then
      exec ${lib.getExe cfg.package} "$@"
    elif [ "$(id -u)" = 0 ]; then
      exec ${pkgs.util-linux}/bin/runuser -u storeboot -- ${lib.getExe cfg.package} "$@"
    fi
    exec /run/wrappers/bin/sudo -u storeboot ${lib.getExe cfg.package} "$@"
  '';

  own = map (network: lib.head (lib.splitString "/" network.address)) (lib.attrValues cfg.networks);
  addresses = section:
    if section.listen != null then [ section.listen ]
    else if cfg.networks == { } then [ "0.0.0.0" ]
    else lib.unique (own ++ [ cfg.server.address ]);

  # A switch leaves a socket that has changed as it was; one of another name it stops and starts.
  socket = name: port: section:
    let streams = map (address: "${address}:${toString port}") (addresses section); in
    lib.nameValuePair "storeboot-${name}-${builtins.substring 0 8 (builtins.hashString "sha256" (toString streams))}" {
      description = "storeboot's ${name} port";
      wantedBy = [ "sockets.target" ];
      socketConfig = {
        ListenStream = streams;
        FileDescriptorName = name;
        Service = "storeboot.service";
        # An address that comes later is none the worse.
        FreeBind = true;
        Backlog = 1024;
        # No number of connections makes systemd close the port.
        TriggerLimitIntervalSec = 0;
      };
    };
  sockets = lib.listToAttrs (
    [ (socket "nfs" cfg.nfs.port cfg.nfs) (socket "http" cfg.http.port cfg.http) ]
    ++ lib.optional (cfg.nfs.alias && cfg.nfs.port != 2049) (socket "alias" 2049 cfg.nfs)
  );

  # Of every service.
  hardening = {
    UMask = "0027";
    NoNewPrivileges = true;
    ProtectSystem = "strict";
    ProtectHome = true;
    PrivateTmp = true;
    PrivateDevices = true;
    ProtectClock = true;
    ProtectControlGroups = true;
    ProtectHostname = true;
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    ProtectProc = "invisible";
    KeyringMode = "private";
    LockPersonality = true;
    MemoryDenyWriteExecute = true;
    RemoveIPC = true;
    RestrictNamespaces = true;
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
    SystemCallErrorNumber = "EPERM";
  };

  # Of what runs as the server's user.
  ordinary = hardening // {
    User = "storeboot";
    Group = "storeboot";
    CapabilityBoundingSet = "";
    AmbientCapabilities = "";
    ReadWritePaths = [ "-/nix/var/nix/daemon-socket" ] ++ lib.optional (!isUsual) stateDirectory;
    RestrictAddressFamilies = [ "AF_UNIX" "AF_INET" "AF_INET6" "AF_NETLINK" ];
    # Nix "changes" the owner of what is the user's own already.
    SystemCallFilter = [ "@system-service" "~@privileged @resources" "@chown" ];
  } // lib.optionalAttrs isUsual {
    StateDirectory = "storeboot";
    StateDirectoryMode = "0750";
  };

  # A process that stands still is replaced, however often; SIGABRT would write a core dump first.
  watched = {
    WatchdogSec = 6;
    WatchdogSignal = "SIGKILL";
    TimeoutStartSec = 60;
    OOMScoreAdjust = -500;
  };

  # What DHCP and TFTP need: ports below 1024 and raw packets.
  capabilities = [ "CAP_NET_BIND_SERVICE" "CAP_NET_ADMIN" "CAP_NET_RAW" ];
  dnsmasqSocket = "/run/storeboot-dnsmasq.socket";
in
{
  config = lib.mkIf cfg.enable {
    users.users = {
      storeboot = {
        isSystemUser = true;
        group = "storeboot";
        description = "storeboot";
        home = stateDirectory;
      };
    } // lib.optionalAttrs usesDhcp {
      storeboot-dnsmasq = {
        isSystemUser = true;
        group = "storeboot-dnsmasq";
        description = "dnsmasq of storeboot";
      };
    };
    users.groups = { storeboot = { }; } // lib.optionalAttrs usesDhcp { storeboot-dnsmasq = { }; };
    environment.systemPackages = [
      command
      (pkgs.runCommand "storeboot-completion" { } ''
        mkdir $out
        ln -s ${cfg.package}/share $out/share
      '')
    ];

    systemd.sockets = sockets // lib.optionalAttrs usesDhcp {
      storeboot-dnsmasq = {
        description = "dnsmasq for storeboot";
        wantedBy = [ "sockets.target" ];
        socketConfig = {
          ListenStream = dnsmasqSocket;
          SocketUser = "storeboot";
          SocketGroup = "storeboot";
          SocketMode = "0600";
          RemoveOnStop = true;
          TriggerLimitIntervalSec = 0;
        };
      };
    };

    # What is put into dhcp/ gets dnsmasq's group.
    systemd.tmpfiles.rules = [ "d ${stateDirectory} 0750 storeboot storeboot -" ]
      ++ lib.optional usesDhcp "d ${stateDirectory}/dhcp 2750 storeboot storeboot-dnsmasq -";

    systemd.services.storeboot = {
      description = "Boot server for diskless machines";
      wantedBy = [ "multi-user.target" ];
      after = [ "network-online.target" "nix-daemon.socket" ];
      requires = map (name: "${name}.socket") (lib.attrNames sockets);
      wants = [ "network-online.target" ];
      path = [ config.nix.package ];
      environment = { NIX_REMOTE = "daemon"; }
        // lib.optionalAttrs usesDhcp { STOREBOOT_DNSMASQ = dnsmasqSocket; };
      unitConfig.StartLimitIntervalSec = 0;
      # Hosts and settings are taken over by a reload; what sockets, dnsmasq and database were opened
      # with needs a restart, for which machines wait: the sockets stay.
      # Not stopped first: a machine's next question would start the old one again.
      stopIfChanged = false;
      reloadTriggers = [ cfg.configFile ];
      restartTriggers = [ (builtins.toJSON cfg.fixedPart) ];
      serviceConfig = ordinary // watched // {
        Type = "notify-reload";
        ExecStart = "${lib.getExe cfg.package} serve --config /etc/storeboot/storeboot.toml";
        Restart = "always";
        RestartSec = "500ms";
        TimeoutStopSec = 20;
        OOMPolicy = "continue";
        LimitNOFILE = 524288;
        TasksMax = 4096;
      };
    };

    systemd.services.storeboot-dnsmasq = lib.mkIf usesDhcp {
      description = "dnsmasq for storeboot";
      requires = [ "storeboot-dnsmasq.socket" ];
      unitConfig.StartLimitIntervalSec = 0;
      restartTriggers = [ (builtins.toJSON cfg.dhcp.dnsmasq) ];
      serviceConfig = hardening // watched // {
        Type = "notify";
        ExecStart = "${lib.getExe cfg.package} dnsmasq --program ${cfg.dhcp.dnsmasq}";
        TimeoutStopSec = 10;
        TasksMax = 64;
        User = "storeboot-dnsmasq";
        Group = "storeboot-dnsmasq";
        StateDirectory = "storeboot-dnsmasq";
        StateDirectoryMode = "0750";
        BindReadOnlyPaths = "${stateDirectory}/dhcp:/run/storeboot-dhcp";
        InaccessiblePaths = "-${stateDirectory}";
        CapabilityBoundingSet = capabilities;
        AmbientCapabilities = capabilities;
        RestrictAddressFamilies = [ "AF_UNIX" "AF_INET" "AF_INET6" "AF_NETLINK" "AF_PACKET" ];
        SystemCallFilter = [ "@system-service" "~@resources" ];
      };
    };

    systemd.services.storeboot-gc = lib.mkIf (cfg.retention.dates != null) {
      description = "Remove old generations of diskless machines";
      startAt = cfg.retention.dates;
      path = [ config.nix.package ];
      environment.NIX_REMOTE = "daemon";
      serviceConfig = ordinary // {
        Type = "oneshot";
        ExecStart = "${lib.getExe cfg.package} gc --keep ${toString cfg.retention.keep} --config /etc/storeboot/storeboot.toml";
      };
    };
  };
}
