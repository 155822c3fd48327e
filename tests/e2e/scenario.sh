# What the scenarios share. Each scenario is a script of its own that runs against the demo
# (deploy/demo up --no-server), from ctest or by hand; it begins and ends with an empty host.
# shellcheck shell=bash disable=SC2034
set -Eeuo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for piece in settings process ports render rest root install services hypervisor compute server; do
    # shellcheck disable=SC1090
    source "$here/../../deploy/control_plane/$piece.sh"
done
load_ports

SCENARIO=$(basename "$0" .sh)
WORK=$(mktemp -d "/tmp/novalet-$SCENARIO.XXXXXX")
PAUSED=()
image='' flavor='' # the last ones made
MADE_IMAGES=() MADE_FLAVORS=() MADE_NETWORKS=()
AT_END=() # commands that put the host back, the last one first, run when the servers are gone

# as the demo's, and kept for the last line of what a failed scenario prints
fail() { say "$SCENARIO: $*"; echo "$*" >>"$WORK/failure"; exit 1; }
note() { say "-- $*"; }

# To tell a fault of novalet from one of the scenario, it can be run against the real nova-compute.
if [[ -n ${NOVALET_E2E_REFERENCE:-} ]]; then
    AGENT=nova-compute
    start_agent() { start_reference; }
    stop_agent() { stop_reference; }
else
    AGENT=novalet
fi

# ---- beginning and end ------------------------------------------------------------------------

begin() { # begin TEXT: what is promised
    say "$SCENARIO: $1"
    is_mounted || fail 'the demo is not up: deploy/demo up --no-server'
    log_in
    is_running $AGENT || start_agent
    [[ -z $(servers) ]] || fail "the host is not empty: $(servers | head -n 3)"
    log_start=$(wc -l <"$LOG/$AGENT.log")
    trap 'finish $?' EXIT
}

finish() { # whatever happened, the next scenario finds an empty host
    local code=$1 name id i
    trap - EXIT
    set +e
    for name in "${PAUSED[@]}"; do resume_service "$name"; done
    if [[ $code -ne 0 ]]; then
        say "$SCENARIO: the agent's last lines, servers, guests:"
        tail -n +"$((log_start + 1))" "$LOG/$AGENT.log" | tail -n 60 >&2
        servers >&2
        on_libvirt list --all >&2
        say "$SCENARIO FAILED (exit code $code): $(cat "$WORK/failure" 2>/dev/null)"
    fi
    is_running $AGENT || (start_agent)
    for id in $(servers | cut -f 1); do quietly api compute DELETE "/v2.1/servers/$id"; done
    (wait_until 60 'the servers are deleted' no_servers)
    for ((i = ${#AT_END[@]} - 1; i >= 0; i--)); do (${AT_END[i]}); done
    for id in "${MADE_IMAGES[@]}"; do quietly api image DELETE "/v2/images/$id"; done
    for id in "${MADE_FLAVORS[@]}"; do quietly api compute DELETE "/v2.1/flavors/$id"; done
    for id in "${MADE_NETWORKS[@]}"; do quietly api network DELETE "/v2.0/networks/$id"; done
    rm -rf "$WORK"
    exit "$code"
}

no_servers() { [[ -z $(servers) ]]; }

# ---- expectations -----------------------------------------------------------------------------

expect() { # expect TEXT ACTUAL EXPECTED
    [[ $2 = "$3" ]] || fail "$1: it is '$2', not '$3'"
}

expect_match() { # expect_match TEXT ACTUAL REGULAR-EXPRESSION
    [[ $2 =~ $3 ]] || fail "$1: '$2' does not match '$3'"
}

fault_of() { server_field "$1" '.fault.message // ""'; }

expect_error() { # expect_error ID REGULAR-EXPRESSION: ERROR, and the reason tells an operator why
    wait_until 180 "server $1 is settled" server_is_settled "$1"
    expect "status of $1" "$(server_field "$1" .status)" ERROR
    expect_match 'the reason' "$(fault_of "$1")" "$2"
    note "ERROR as promised: $(fault_of "$1")"
}

wait_until_ready() { # the guest runs, has its address and has said so
    wait_until 120 "the guest of $1 is ready" console_shows "$1" DEMO-GUEST-READY
}

# ---- the state of one server, without the API's delay -----------------------------------------

task_of() { sql -e "SELECT IFNULL(task_state, vm_state) FROM nova.instances WHERE uuid = '$1'"; }

reached() { # reached ID STATE…: it is in one of them
    local now state
    now=$(task_of "$1")
    shift
    for state; do [[ $now != "$state" ]] || return 0; done
    return 1
}

pause_service() { # its processes stand still: whoever asks it waits
    PAUSED+=("$1")
    kill -STOP -- "-$(pid_of_service "$1")"
}
resume_service() { kill -CONT -- "-$(pid_of_service "$1")"; }

# ---- what is on this host, by server ----------------------------------------------------------

domain_ids() { # uuid of each guest of the demo
    local name
    for name in $(demo_domains); do on_libvirt domuuid "$name" | grep .; done
}
instance_folders() { (cd "$INSTANCES" && ls -d -- *-*-*-*-* 2>/dev/null) || true; }
guest_taps() { # libvirt's, not the DHCP agent's
    local tap
    for tap in /sys/class/net/tap*; do
        [[ ! -e $tap/tun_flags ]] || basename "$tap"
    done
}
compute_ports() { # the servers that have a port here
    api network GET "/v2.0/ports?binding:host_id=$COMPUTE_HOST" |
        jq -r '.ports[] | select(.device_owner | startswith("compute:")) | .device_id'
}
provider_id() { sql -e "SELECT uuid FROM nova.compute_nodes WHERE host = '$COMPUTE_HOST' AND
    deleted = 0"; }
consumers() { # the servers that hold something of this host in Placement
    api placement GET "/resource_providers/$(provider_id)/allocations" |
        jq -r '.allocations | keys[]'
}
qemu_pid() { # qemu_pid ID
    cat "/run/libvirt/qemu/$(on_libvirt domname "$1" | head -n 1).pid"
}

leftovers() { # one line for each thing that belongs to no server
    local known
    known=" $(servers | cut -f 1 | tr '\n' ' ') "
    {
        domain_ids | sed 's/^/domain /'
        instance_folders | sed 's/^/folder /'
        compute_ports | sed 's/^/port /'
        consumers | sed 's/^/allocation /'
    } | while read -r kind id; do
        [[ $known == *" $id "* ]] || echo "$kind of $id"
    done
    [[ $(guest_taps | wc -l) -le $(compute_ports | wc -l) ]] || echo "taps: $(guest_taps | tr '\n' ' ')"
}
nothing_is_without_owner() { [[ -z $(leftovers) ]]; }

expect_owners() {
    (wait_until 45 'everything has an owner' nothing_is_without_owner) ||
        fail "left behind: $(leftovers | tr '\n' ';')"
}

expect_empty() { # no servers, and nothing of them
    expect 'servers' "$(servers)" ''
    expect_owners
}

expect_running() { # expect_running ID: ACTIVE in the API, and true on the host
    expect "status of $1" "$(server_field "$1" .status)" ACTIVE
    expect "libvirt's state of $1" "$(on_libvirt domstate "$1" | head -n 1)" running
    expect_match 'allocations' "$(consumers)" "$1"
    expect_match 'ports' "$(compute_ports)" "$1"
}

# ---- things to build with; removed at the end -------------------------------------------------

made_image() { # made_image NAME FILE FORMAT: sets $image
    image=$1
    MADE_IMAGES+=("$(upload_image "$@")")
}
# Configuration of the agent for this scenario alone, as a drop-in from standard input.
configure_agent() {
    local file=$AGENT_CONFIG.d/e2e-$SCENARIO.yaml
    mkdir -p "$AGENT_CONFIG.d"
    [[ " ${AT_END[*]} " == *' unconfigure_agent '* ]] || AT_END+=(unconfigure_agent)
    cat >"$file"
    stop_agent
    start_agent
}
unconfigure_agent() {
    rm -f "$AGENT_CONFIG.d/e2e-$SCENARIO.yaml"
    stop_agent
    start_agent
}

made_flavor() { # made_flavor NAME VCPUS MIB GIB [EPHEMERAL] [SWAP]: sets $flavor
    flavor=$1
    MADE_FLAVORS+=("$(create_flavor "$@")")
}
give_flavor() { # give_flavor KEY VALUE…: extra specs for the last one made
    local key
    while [[ $# -gt 0 ]]; do
        key=$1
        jq -n --arg key "$key" --arg value "$2" '{extra_specs: {($key): $value}}' |
            api compute POST "/v2.1/flavors/${MADE_FLAVORS[-1]}/os-extra_specs" @- >/dev/null
        shift 2
    done
}
