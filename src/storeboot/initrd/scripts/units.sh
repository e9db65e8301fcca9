# shellcheck shell=sh
# What systemd says of its units, for the agent: which ones have failed, and which it waits for.
# systemctl is in the store, and may hang with its server: none of this runs in the agent's loop.

# ctl ARGUMENT…: systemctl, for programs to read.
ctl() {
    timeout -s KILL 20 "$SYSTEM_BIN/systemctl" --no-pager --no-legend --plain --full "$@" 2>>"$SB/log"
}

# show ARGUMENT…: properties of units. In lists systemctl quotes names that have a backslash.
show() {
    ctl show "$@" | sed 's/"//g; s/\\\\/\\/g'
}

has_systemd() {
    [ -e /run/systemd/private ]
}

state_of() {
    ctl show --property=ActiveState --value "$1"
}

# unit_rows UNIT…: of those that have not come up a line each: its name, the result, and what it
# requires. What it requires and never came up has no result of its own: its job was dropped.
unit_rows() {
    [ $# != 0 ] || return 0
    show --property=Id,LoadState,ActiveState,Result,Requires,BindsTo \
        --property=InactiveExitTimestampMonotonic \
        --property=ConditionResult,ConditionTimestampMonotonic \
        --property=AssertResult,AssertTimestampMonotonic -- "$@" |
        awk 'BEGIN { RS = ""; FS = "\n" }
            {
                split("", is)
                for (i = 1; i <= NF; i++) {
                    at = index($i, "=")
                    is[substr($i, 1, at - 1)] = substr($i, at + 1)
                }
                if (is["ActiveState"] == "failed") why = is["Result"]
                else if (is["ActiveState"] != "inactive") next
                else if (is["InactiveExitTimestampMonotonic"] + 0 > 0) next
                else if (is["ConditionTimestampMonotonic"] + 0 > 0 && is["ConditionResult"] == "no") next
                else if (is["AssertTimestampMonotonic"] + 0 > 0 && is["AssertResult"] == "no") why = "assert"
                else if (is["Id"] ~ /\.device$/) why = "missing"
                else if (is["LoadState"] != "loaded") why = is["LoadState"]
                else why = "dependency"
                print is["Id"], why, is["Requires"], is["BindsTo"]
            }'
}

# unmet TARGET: the rows of what the target requires, and of what that requires.
unmet() {
    # Also against `\x2d` in names.
    set -f
    # shellcheck disable=SC2046 # names of units have no white space
    set -- $(show --property=Requires --value "$1")
    for _ in 1 2 3 4; do
        rows=$(unit_rows "$@")
        [ -n "$rows" ] || return 0
        printf '%s\n' "$rows"
        # shellcheck disable=SC2046
        set -- $(printf '%s\n' "$rows" | cut -d ' ' -f 3-)
    done
}

# named: the units of these rows on one line, each once, with their results.
named() {
    awk '!seen[$1]++ { count++; if (count <= 20) said = said (count > 1 ? ", " : "") $1 " (" $2 ")" }
        END { if (count) print said (count > 20 ? " and " count - 20 " more" : "") }'
}

# troubles [TARGET]: the units that have failed, and those without which the target cannot come up.
troubles() {
    ctl list-units --failed >"$SB/failed-units" || return 1
    {
        # shellcheck disable=SC2046
        (set -f; unit_rows $(cut -d ' ' -f 1 "$SB/failed-units"))
        [ -z "$1" ] || (unmet "$1")
    } | named
}

# insist COMMAND…: until the server has heard it, or has refused it. Tests of generations hang on it,
# and a server that starts again is away for a moment. Not for the agent's loop.
insist() {
    until "$@"; do
        case "$(http_error)" in
        4??\ *) return 0 ;;
        esac
        [ ! -e "$SB/going-down" ] || return 0
        sleep 5
    done
}

# tell_failed WORDS [UNITS]: the machine does not come up.
tell_failed() {
    [ ! -e "$SB/going-down" ] || return 0
    printf '%s' "$1${2:+: $2}" >"$SB/failure"
    say "$(cat "$SB/failure")"
    insist report failed "$SB/failure"
}

# tell_up UNITS: these have failed on a machine that is up.
tell_up() {
    printf '%s\n' "$1" >"$SB/degraded"
    [ -z "$1" ] || insist report degraded "$SB/degraded"
}

# multi-user.target is active. Without emergency mode systemd goes on when a file system is missing
# that it requires (NixOS: systemd.enableEmergencyMode).
come_up() {
    rm -f "$SB/failure"
    missing=$(unmet local-fs.target | named)
    if [ -n "$missing" ]; then
        tell_failed "local-fs.target was not reached" "$missing"
    else
        insist report multi-user
        tell_up "$(troubles)"
    fi
}

# fall emergency|rescue: systemd has given up, or somebody has told it to.
fall() {
    target=
    [ "$1" != emergency ] || target=local-fs.target
    tell_failed "$1 mode" "$(troubles "$target")"
}

# Some units have failed since, or no longer.
look_at_failed() {
    [ -e "$SB/degraded" ] || return 0
    units=$(troubles) || return 0
    [ "$units" != "$(cat "$SB/degraded")" ] || return 0
    [ -n "$units" ] || insist report multi-user
    tell_up "$units"
}

# Before multi-user.target: is it still to come, and what does it wait for? A job that was there half
# a minute ago is worth a word.
look_at_jobs() {
    ctl list-jobs >"$SB/jobs" || return 0
    if ! awk '$2 == "multi-user.target" { found = 1 } END { exit !found }' "$SB/jobs"; then
        [ "$(state_of multi-user.target)" = inactive ] || return 0
        # Its unit has nobody to tell while the agent of mode native is not there yet.
        if [ "$(state_of emergency.target)" = active ]; then
            fall emergency
        else
            tell_failed "multi-user.target was not reached" "$(troubles multi-user.target)"
        fi
        return 0
    fi
    awk '$3 == "start" && $4 == "running" { print $2 }' "$SB/jobs" >"$SB/running"
    touch "$SB/running-before"
    awk 'NR == FNR { before[$1]; next } $1 in before { said = said (said ? ", " : "") $1 }
        END { if (said) print said }' "$SB/running-before" "$SB/running" >"$SB/waiting"
    mv "$SB/running" "$SB/running-before"
    [ -s "$SB/waiting" ] && ! cmp -s "$SB/waiting" "$SB/waiting-said" || return 0
    cp "$SB/waiting" "$SB/waiting-said"
    report waiting "$SB/waiting"
}

# One at a time: the last one may still hang.
look() {
    has_systemd && [ ! -e "$SB/going-down" ] && mkdir "$SB/looking" 2>/dev/null || return 0
    if [ -e "$SB/was-up" ]; then
        [ -e "$SB/failure" ] || look_at_failed
    else
        [ -e "$SB/failure" ] || look_at_jobs
    fi
    rmdir "$SB/looking"
}
