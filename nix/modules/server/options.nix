# Written by scripts/reference from src/storeboot/config: the settings of storeboot.toml.
{ lib }:
let
  inherit (lib) mkOption types;
  bootSettings = {
    kernel_params = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = ''Kernel parameters added after the system's own. Those of the defaults, the group and the host are all added, in this order.'';
    };
    console = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = ''Consoles of the kernel, instead of those in the system's own kernel parameters (`boot.kernelParams`). The last one is /dev/console, unless kernel_params have another, which is added after it.'';
    };
    mode = mkOption {
      type = types.nullOr (types.enum [ "plain" "pack" "native" ]);
      default = null;
      description = ''How the store reaches the machine: all of it over NFS (plain), with a pack of its names and hot files above NFS (pack), or mounted by the system's own initrd (native). native needs nfs.alias and the host's address. `"pack"` if nothing sets it.'';
    };
    overlay_size = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''Size of the tmpfs above the store, as tmpfs(5) takes it. `"50%"` if nothing sets it.'';
    };
    overlay_label = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''Label of a local file system that takes what is written to the store, instead of memory. It is emptied at every boot and never formatted.'';
    };
    persist_label = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''Label of a local file system that keeps persist_directories over boots. It is never formatted.'';
    };
    persist_directories = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = ''Directories that persist_label keeps. Those of the defaults, the group and the host are all kept.'';
    };
    zram = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''Size of swap in compressed memory (zram), as overlay_size; none if not set.'';
    };
    nix_store = mkOption {
      type = types.nullOr (types.enum [ "local" "local-overlay" ]);
      default = null;
      description = ''What the machine's Nix is prepared for: a store that knows the server's paths as its own (local), or a local-overlay store above them (local-overlay). `"local"` if nothing sets it.'';
    };
    drivers = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = ''Network drivers of the initrd, instead of initrd.drivers.'';
    };
    nfs_version = mkOption {
      type = types.nullOr (types.enum [ "3" "4.1" "4.2" ]);
      default = null;
      description = ''Protocol to mount the store with; nfs.version if not set.'';
    };
    ssh_host_key = mkOption {
      type = types.nullOr types.bool;
      default = null;
      description = ''Whether the server keeps the machine's ssh host key (ed25519) and gives it to every boot. Whoever can begin a boot in a host's name can have its key. `true` if nothing sets it.'';
    };
    specialisation = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''Which specialisation of its system to boot; the system itself if not set.'';
    };
    menu = mkOption {
      type = types.nullOr types.bool;
      default = null;
      description = ''Whether to show a menu of the last generations and their specialisations at every boot. If not set, pressing m within a second shows it; false never does.'';
    };
    system = mkOption {
      type = types.nullOr (types.either types.str types.package);
      default = null;
      description = ''Toplevel to boot, deployed when it changes here. Without it the host boots what `storeboot deploy` gives it.'';
    };
  };
in
{
  server = {
    address = mkOption {
      type = types.str;
      description = ''IPv4 address at which the machines reach this server.'';
    };
    state_directory = mkOption {
      type = types.path;
      default = "/var/lib/storeboot";
      description = ''Database, keys, built initrds, views and reports.'';
    };
  };
  store = {
    root = mkOption {
      type = types.path;
      default = "/";
      description = ''Root of the Nix store (`nix --store`).'';
    };
  };
  database = {
    url = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''SQLAlchemy URL of the database; SQLite in the state directory if not set.'';
    };
  };
  http = {
    listen = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''Address to listen on. If it is not set and there are [networks], the server listens on its addresses there and on server.address, and on nothing else.'';
    };
    port = mkOption {
      type = types.port;
      default = 8080;
      description = ''TCP port of the boot service.'';
    };
  };
  nfs = {
    listen = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''Address to listen on. If it is not set and there are [networks], the server listens on its addresses there and on server.address, and on nothing else.'';
    };
    port = mkOption {
      type = types.port;
      default = 2049;
      description = ''TCP port of NFS and MOUNT.'';
    };
    version = mkOption {
      type = types.enum [ "3" "4.1" "4.2" ];
      default = "3";
      description = ''Protocol the machines mount with.'';
    };
    workers = mkOption {
      type = types.nullOr (types.ints.between 0 64);
      default = null;
      description = ''Processes that answer NFS; one per processor if not set. 0: the server itself.'';
    };
    lease = mkOption {
      type = types.ints.between 10 86400;
      default = 3600;
      description = ''NFSv4 lease, in seconds. A short one makes idle machines give back what saves them round trips.'';
    };
    reply_memory = mkOption {
      type = types.ints.between 1 4096;
      default = 16;
      description = ''MiB of kept replies, in each process.'';
    };
    alias = mkOption {
      type = types.bool;
      default = false;
      description = ''Serve each host's view as `nixstore`, on port 2049 as well, to the addresses in hosts.NAME.address: for systems whose own initrd mounts the store.'';
    };
  };
  dhcp = {
    mode = mkOption {
      type = types.enum [ "off" "tftp" "proxy" "full" ];
      default = "off";
      description = ''What dnsmasq does on the interfaces of [networks]. off: nothing. tftp: hand out iPXE by TFTP, for a DHCP server that names it (`storeboot dhcp-snippet`). proxy: also name it, beside a DHCP server that gives the addresses (proxyDHCP). full: all of it, addresses included.'';
    };
    lease = mkOption {
      type = types.ints.between 120 31536000;
      default = 3600;
      description = ''Seconds for which an address is given (full).'';
    };
    port = mkOption {
      type = types.port;
      default = 67;
      description = ''UDP port of DHCP; the clients' is one higher.'';
    };
    dnsmasq = mkOption {
      type = types.nullOr types.path;
      default = null;
      description = ''dnsmasq; the one on PATH if not set.'';
    };
    user = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''User that dnsmasq runs as where the server is root and no unit runs dnsmasq. If not set it is dnsmasq, or nobody where there is no such user.'';
    };
    raspberry_firmware = mkOption {
      type = types.nullOr types.path;
      default = null;
      description = ''Directory with the firmware of Raspberry Pis: start4.elf, fixup4.dat and so on, and a config.txt whose lines go before ours. With it each host whose serial is a board's gets a TFTP directory.'';
    };
    ipxe = mkOption {
      type = types.attrsOf types.path;
      default = { };
      description = ''iPXE programs by firmware (bios, x64, ia32, arm64), instead of the distribution's.'';
    };
  };
  networks = mkOption {
    type = types.attrsOf (types.submodule {
      options = {
        interface = mkOption {
          type = types.str;
          description = ''The server's interface on this network.'';
        };
        address = mkOption {
          type = types.str;
          description = ''The server's own IPv4 address on this network, with prefix: 10.1.0.1/24. Machines of this network are told this address.'';
        };
        range = mkOption {
          type = types.nullOr (types.listOf types.str);
          default = null;
          description = ''First and last address for machines (dhcp.mode full).'';
        };
        router = mkOption {
          type = types.nullOr types.str;
          default = null;
          description = ''Router that machines use (full).'';
        };
        dns = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = ''Name servers of machines (full).'';
        };
      };
    });
    default = { };
    description = ''Networks that machines are on: with them each machine is told the server's address on its own network. Machines of other networks are told server.address.'';
  };
  initrd = {
    busybox = mkOption {
      type = types.nullOr types.path;
      default = null;
      description = ''A static busybox; the one on PATH if not set.'';
    };
    busyboxes = mkOption {
      type = types.attrsOf types.path;
      default = { };
      description = ''Static busyboxes for machines with another processor than the server's, by its name: aarch64, x86_64.'';
    };
    drivers = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = ''Network drivers to include; every wired one if empty.'';
    };
  };
  agent = {
    heartbeat = mkOption {
      type = types.ints.between 1 3600;
      default = 20;
      description = ''Seconds between a running machine's signs of life.'';
    };
  };
  boots = {
    lease_days = mkOption {
      type = types.number;
      default = 7;
      description = ''Days for which a machine that is not heard of any more keeps what it runs from garbage collection.'';
    };
    at_once = mkOption {
      type = types.ints.between 1 100000;
      default = 32;
      description = ''Machines between boot script and multi-user at the same time; the next ones wait in iPXE, as after a power cut.'';
    };
  };
  packs = {
    hot_size = mkOption {
      type = types.ints.between 0 65536;
      default = 256;
      description = ''MiB of file data in one pack, at most, before compression.'';
    };
    learn_seconds = mkOption {
      type = types.ints.between 0 3600;
      default = 30;
      description = ''Seconds after multi-user for which a boot's reads count as its own, for the packs of later boots.'';
    };
  };
  machines = {
    unknown = mkOption {
      type = types.enum [ "ignore" "register" "menu" "default" ];
      default = "ignore";
      description = ''What to do with a machine that is no host's. ignore: let its firmware go on. register: also write it down for `storeboot host list --unknown`. menu: let somebody choose on its console which host it boots like. default: have it boot like the host machines.default.'';
    };
    default = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = ''The host that unknown machines boot like, under names of their own.'';
    };
  };
  defaults = bootSettings;
  groups = mkOption {
    type = types.attrsOf (types.submodule {
      options = bootSettings;
    });
    default = { };
    description = ''Settings that hosts share.'';
  };
  hosts = mkOption {
    type = types.attrsOf (types.submodule {
      options = bootSettings // {
        mac = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = ''MAC addresses of the machine's boot NICs.'';
        };
        uuid = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = ''SMBIOS UUIDs.'';
        };
        serial = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = ''SMBIOS serial numbers.'';
        };
        label = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = ''Other strings that iPXE can send, as NAME=VALUE: `asset=LAB-7`. NAME is one of its settings, such as asset, product or board-serial.'';
        };
        address = mkOption {
          type = types.listOf types.str;
          default = [ ];
          description = ''IPv4 addresses that may mount this host's view by nfs.alias. With dhcp.mode full, the first one inside a network is the host's there.'';
        };
        group = mkOption {
          type = types.nullOr types.str;
          default = null;
          description = ''Group whose settings the host inherits.'';
        };
        hostname = mkOption {
          type = types.nullOr types.str;
          default = null;
          description = ''Host name; the host's key if not set.'';
        };
      };
    });
    default = { };
    description = ''Machines by name. Each needs a mac, uuid, serial or label, and shares none.'';
  };
}
