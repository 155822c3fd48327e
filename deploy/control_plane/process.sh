# Daemons by pid file: started in a session of their own, recognised again, stopped by pid.
# shellcheck shell=bash
#
# With pipefail a reader that stops early (grep -q) can fail the writer before it: pipes here are
# always read to their end.

say() { printf '%s\n' "$*" >&2; }
fail() { say "demo: $*"; exit 1; }
quietly() { "$@" >/dev/null 2>&1; }

# part TEXT COMMAND…: one step of "up", shown with the seconds it took; what it prints goes to
# up.log, and is shown when it fails
part() {
    local text=$1 start=$SECONDS
    shift
    printf '  %-58s' "$text" >&2
    printf '\n==== %s (%s)\n' "$text" "$(date +%T)" >>"$LOG/up.log"
    # not in a condition: "set -e" would be off inside
    set +e
    (set -eE; "$@") >>"$LOG/up.log" 2>&1 </dev/null
    local code=$?
    set -e
    if [[ $code -eq 0 ]]; then
        printf '%4d s\n' $((SECONDS - start)) >&2
    else
        printf 'failed\n' >&2
        say "the last lines of $LOG/up.log:"
        tail -n 25 "$LOG/up.log" | sed 's/^/    /' >&2
        exit 1
    fi
}

# once MARKER TEXT COMMAND…: a part that is done a single time
once() {
    local marker=$1
    shift
    [[ ! -e $DONE/$marker ]] || return 0
    part "$@"
    touch "$DONE/$marker"
}

# fingerprint FILE-OR-FOLDER…: of their contents, so that a marker can say what it stands for
fingerprint() { find "$@" -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-12; }

# wait_until SECONDS TEXT COMMAND…: ask again until it succeeds
wait_until() {
    local limit=$1 text=$2 start=$SECONDS
    shift 2
    until "$@"; do
        [[ $((SECONDS - start)) -lt $limit ]] || fail "$text: not within $limit s"
        sleep 0.3
    done
}

# A pid file may outlive its process, and the pid be given to a stranger: the file holds the
# process's start time too.
started_at() { # in clock ticks since the machine booted; empty when there is no such process
    sed -e 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" {print $20}'
}

is_running() { # is_running NAME
    local pid since
    read -r pid since 2>/dev/null <"$RUN/$1.pid" || return 1
    [[ -n $since && $(started_at "$pid") == "$since" ]]
}

write_pid_file() { echo "$2 $(started_at "$2")" >"$RUN/$1.pid"; }
pid_of_service() { local pid rest; read -r pid rest <"$RUN/$1.pid" && echo "$pid"; }

# launch NAME COMMAND…: in the background, with its own session, log and pid file
launch() {
    local name=$1
    shift
    is_running "$name" && return
    (
        # the lock of "up", or one that the caller holds, would be the daemon's as long as it lives
        for descriptor in "/proc/$BASHPID/fd"/*; do
            [[ ${descriptor##*/} -le 2 ]] || eval "exec ${descriptor##*/}>&-"
        done
        exec setsid "$@"
    ) >>"$LOG/$name.log" 2>&1 </dev/null &
    write_pid_file "$name" $!
    # not the shell's job: it would report each death on the terminal
    disown $!
}

# launch_in_root NAME USER COMMAND…
launch_in_root() {
    local name=$1 user=$2 home
    shift 2
    home=$(awk -F: -v u="$user" '$1 == u {print $6}' "$ROOT/etc/passwd")
    launch "$name" chroot --userspec="$user:$(id_in_root -g "$user")" \
        --groups="$(id_in_root -G "$user" | tr ' ' ,)" "$ROOT" \
        env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        LANG=C.UTF-8 PYTHONUNBUFFERED=1 HOME="$home" "$@"
}

# end NAME [SECONDS]: TERM, then KILL for what is left of its session
end() {
    local name=$1 limit=${2:-20} pid
    if is_running "$name"; then
        pid=$(pid_of_service "$name")
        kill -TERM "$pid" 2>/dev/null || true
        local i
        for ((i = 0; i < limit * 10; i++)); do
            is_running "$name" || break
            sleep 0.1
        done
        # the leader is a session's first process, so its pid is the group's number
        kill -KILL -- "-$pid" 2>/dev/null || true
    fi
    rm -f "$RUN/$name.pid"
}

answers_on() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

listening() { # listening NAME PORT: fails for good when the process died
    answers_on "$2" && return
    is_running "$1" || fail "$1 ended by itself: $(tail -n 3 "$LOG/$1.log" | tr '\n' ' ')"
    return 1
}
wait_for_port() { wait_until "${3:-90}" "$1 listens on port $2" listening "$1" "$2"; }

memory_of() { # memory_of PID: PSS of its whole session in MiB
    local pid
    for pid in $(ps -o pid= -s "$1"); do
        awk '/^Pss:/ {print $2}' "/proc/$pid/smaps_rollup" 2>/dev/null || true
    done | awk '{sum += $1} END {printf "%.0f", sum / 1024}'
}
