# The micro system: the same contract with busybox as init; half a dozen store paths.
{ inputs }:
let
  spec = builtins.fromJSON (builtins.readFile inputs);
  add = tree: builtins.path { inherit (tree) name path; };
  busybox = add spec.busybox;
  builder = add spec.builder; # the same, but where the system is for another processor
  kernel = add spec.kernel;
  modules = add spec.modules;
  # Image and base directory of system.etc.overlay, where a test gives them.
  overlay = if spec.etcOverlay == null then { } else {
    etcImage = add spec.etcOverlay.image;
    etcBase = add spec.etcOverlay.base;
  };
  etc = builtins.path { name = "micro-etc"; path = ./micro; };
  # An initrd of its own, likewise.
  native = if spec.native == null then { } else { initrd = add spec.native.initrd; };
  build = name: script: env: derivation ({
    inherit name busybox etc;
    system = "x86_64-linux";
    builder = "${builder}/bin/busybox";
    args = [ "sh" "-eu" script ];
    PATH = "${builder}/bin";
    machine = "${spec.machine}-linux";
  } // env);
in
build "nixos-system-${spec.hostname}-${spec.label}" ./toplevel.sh (overlay // native // {
  flavour = "scripted";
  inherit kernel modules;
  inherit (spec) label kernelVersion;
  systemd = "";
  initInterface = "busybox 1";
  initProgram = "${busybox}/bin/init";
  systemPath = busybox;
  activate = build "activate" ./substitute.sh { src = ./micro-activate.sh; systemPath = busybox; nssUsers = ""; };
  kernelParams = builtins.concatStringsSep " " spec.kernelParams;
  kernelParamsJson = builtins.toJSON spec.kernelParams;
  stage2 = ./stage2.sh;
})
