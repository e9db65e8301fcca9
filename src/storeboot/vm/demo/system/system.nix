# The demo system: three layers of derivations, so that variants share all but the last two.
{ inputs, flavour, network }:
let
  spec = builtins.fromJSON (builtins.readFile inputs);
  add = tree: builtins.path { inherit (tree) name path; };
  busybox = add spec.busybox;
  packages = map add spec.packages;
  systemd = add spec.systemd;
  kernel = add spec.kernel;
  modules = add spec.modules;

  build = name: script: env: derivation ({
    inherit name busybox;
    system = "x86_64-linux";
    builder = "${busybox}/bin/busybox";
    args = [ "sh" "-eu" script ];
    PATH = "${busybox}/bin";
  } // env);

  # etc/common and etc/<network> as data; the configuration file of dhcpcd is its own path, as in NixOS.
  data = name: path: builtins.path { inherit name path; };
  common = data "etc-common" ./etc/common;
  dhcpcdConf = data "dhcpcd.conf" ./etc/dhcpcd.conf;

  systemPath = build "system-path" ./forest.sh { inherit packages; part = "usr"; };
  packagesEtc = build "packages-etc" ./forest.sh { inherit packages; part = "etc"; };
  # An initrd of its own and the units of storeboot's agent, where a test gives them.
  native = if spec.native == null then { } else { initrd = add spec.native.initrd; };
  agent = if spec.native == null || spec.native.units == null then { } else {
    units = add spec.native.units;
    agent = add spec.native.agent;
  };
  # A script for bash, which only a suite with bash-static has for a root without libraries.
  stage2 = if spec.native == null || spec.native.stage2 == null then { stage2 = ./stage2.sh; } else {
    stage2 = add spec.native.stage2;
    bash = builtins.head (builtins.filter (path: builtins.match ".*-bash-static-.*" path != null) packages);
  };
  etc = build "etc" ./etc.sh (agent // {
    inherit packagesEtc common dhcpcdConf;
    variant = data "etc-${network}" (./etc + "/${network}");
    commonLinks = data "common.links" ./etc/common.links;
    variantLinks = data "${network}.links" (./etc + "/${network}.links");
  });
  activate = build "activate" ./substitute.sh { src = ./activate.sh; inherit etc systemPath; nssUsers = data "users" ./etc/users; };
in
build "nixos-system-${spec.hostname}-${spec.label}" ./toplevel.sh (native // stage2 // {
  inherit flavour kernel modules systemd systemPath etc activate;
  inherit (spec) label kernelVersion;
  machine = "x86_64-linux";
  initInterface = "systemd ${spec.systemdVersion}";
  initProgram = "${systemd}/lib/systemd/systemd";
  kernelParams = builtins.concatStringsSep " " spec.kernelParams;
  kernelParamsJson = builtins.toJSON spec.kernelParams;
})
