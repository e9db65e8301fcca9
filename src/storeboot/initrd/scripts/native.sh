# shellcheck shell=sh
# native.sh BUSYBOX SCRIPTS: the agent of a system whose own initrd has mounted the store, started by
# its stage 2. Everything is copied to RAM first.

PATH=$(mktemp -d /run/storeboot-start.XXXXXX)
export PATH
"$1" --install -s "$PATH"

# shellcheck disable=SC2034 # read by common.sh
CONSOLE='' SOURCE=agent
. "$2/common.sh"
. "$2/begin.sh"
. "$2/resident.sh"

fail() {
    say "$1"
    echo "storeboot: $1" >&2
    rm -r "$PATH"
    exit 1
}

# The address that the way to the server has.
own_address() {
    ip -4 route get "$1" 2>/dev/null | sed -n 's/.* src \([0-9.]*\).*/\1/p' | head -n 1
}

mkdir -p "$SB"
chmod 0700 "$SB"
read_command_line
fact lease_owner system
fact ip "$(own_address "$(fact url | sed 's,^http://,,; s,:.*,,')")"
[ -e "$SB/events" ] || keep_in_ram "$1" "$2"
boot_request >"$SB/request"
until post_boot; do
    say "no answer from $(fact url): $(http_error)"
    sleep 10
done
read_answer
rm -r "$PATH"
exec "$SB/bin/sh" "$SB/agent.sh" run
