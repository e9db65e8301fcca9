# The server as a unit without rights of its own, its sockets held by systemd over every restart.
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
      };
    };
  sockets = lib.listToAttrs (
    [ (socket "nfs" cfg.nfs.port cfg.nfs) (socket "http" cfg.http.port cfg.http) ]
    ++ lib.optional (cfg.nfs.alias && cfg.nfs.port != 2049) (socket "alias" 2049 cfg.nfs)
  );

  # DHCP and TFTP need ports below 1024 and raw packets; without them there is nothing to be allowed.
  capabilities = lib.optionals usesDhcp [ "CAP_NET_BIND_SERVICE" "CAP_NET_ADMIN" "CAP_NET_RAW" ];

  hardening = {
    User = "storeboot";
    Group = "storeboot";
    UMask = "0027";
    CapabilityBoundingSet = "";
    NoNewPrivileges = true;
    ProtectSystem = "strict";
    ReadWritePaths = [ "-/nix/var/nix/daemon-socket" ] ++ lib.optional (!isUsual) stateDirectory;
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
    LockPersonality = true;
    RestrictAddressFamilies = [ "AF_UNIX" "AF_INET" "AF_INET6" "AF_NETLINK" ] ++ lib.optional usesDhcp "AF_PACKET";
    RestrictNamespaces = true;
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
    SystemCallFilter = [ "@system-service" ];
  } // lib.optionalAttrs isUsual {
    StateDirectory = "storeboot";
    StateDirectoryMode = "0750";
  };
in
{
  config = lib.mkIf cfg.enable {
    users.users.storeboot = {
      isSystemUser = true;
      group = "storeboot";
      description = "storeboot";
      home = stateDirectory;
    };
    users.groups.storeboot = { };
    environment.systemPackages = [
      command
      (pkgs.runCommand "storeboot-completion" { } ''
        mkdir $out
        ln -s ${cfg.package}/share $out/share
      '')
    ];

    systemd.sockets = sockets;

    systemd.tmpfiles.rules = lib.optional (!isUsual) "d ${stateDirectory} 0750 storeboot storeboot -";

    systemd.services.storeboot = {
      description = "Boot server for diskless machines";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" "nix-daemon.socket" ];
      requires = map (name: "${name}.socket") (lib.attrNames sockets);
      path = [ config.nix.package ];
      environment.NIX_REMOTE = "daemon";
      # Hosts and settings are taken over by a reload; what sockets, dnsmasq and database were opened
      # with needs a restart, for which machines wait: the sockets stay.
      # Not stopped first: a machine's next question would start the old one again.
      stopIfChanged = false;
      reloadTriggers = [ cfg.configFile ];
      restartTriggers = [ (builtins.toJSON cfg.fixedPart) ];
      serviceConfig = hardening // {
        AmbientCapabilities = capabilities;
        CapabilityBoundingSet = if usesDhcp then capabilities else "";
        Type = "notify-reload";
        ExecStart = "${lib.getExe cfg.package} serve --config /etc/storeboot/storeboot.toml";
        Restart = "always";
        RestartSec = 1;
        WatchdogSec = 60;
        # Systems are made ready before the first answer, which can mean packs to build.
        TimeoutStartSec = "infinity";
        LimitNOFILE = 524288;
      };
    };

    systemd.services.storeboot-gc = lib.mkIf (cfg.retention.dates != null) {
      description = "Remove old generations of diskless machines";
      startAt = cfg.retention.dates;
      path = [ config.nix.package ];
      environment.NIX_REMOTE = "daemon";
      serviceConfig = hardening // {
        Type = "oneshot";
        ExecStart = "${lib.getExe cfg.package} gc --keep ${toString cfg.retention.keep} --config /etc/storeboot/storeboot.toml";
      };
    };
  };
}
