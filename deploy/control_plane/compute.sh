# The compute service of the demo: novalet, or for comparison the real nova-compute. Both use the
# same host name and the same provider, so only one of them runs at a time.
# shellcheck shell=bash

# shellcheck disable=SC2034 # for deploy/demo
COMPUTE=(novalet nova-compute)

write_agent_config() {
    (umask 077; cat >"$AGENT_CONFIG" <<EOF
# Written by deploy/demo; overwritten by each "up".
host: $COMPUTE_HOST
my_ip: 127.0.0.1
state_path: $STATE
instances_path: $INSTANCES
transport:
  url_file: $SECRETS/transport_url
keystone:
  auth_url: $(identity_url)
  username: nova
  password_file: $SECRETS/nova
  user_domain_name: Default
  project_name: service
  project_domain_name: Default
  region_name: $REGION
service_user:
  send_service_user_token: true
libvirt:
  connection_uri: $LIBVIRT_URI
  virt_type: $(<"$DEMO/virt_type")
vnc:
  server_listen: 127.0.0.1
  server_proxyclient_address: 127.0.0.1
  novncproxy_base_url: http://127.0.0.1:${PORT[console]}/vnc_auto.html
telemetry:
  listen: 127.0.0.1:${PORT[telemetry]}
EOF
    )
}

launch_agent() {
    [[ -x $BINARY ]] || fail "no $BINARY: build it (deploy/demo up), or name one in NOVALET_BINARY"
    ! is_running nova-compute || fail 'nova-compute runs: "deploy/demo reference stop" first'
    launch novalet "$BINARY" --config "$AGENT_CONFIG"
}

# a program that was built anew while it ran
agent_is_outdated() {
    is_running novalet && ! [[ /proc/$(pid_of_service novalet)/exe -ef $BINARY ]]
}

start_agent() {
    log_in
    launch_agent
    wait_for_compute novalet
}

stop_agent() { end novalet 90; }

kill_agent() { # as a crash does: no chance to tidy up
    local name=${1:-novalet}
    is_running "$name" || fail "$name does not run"
    kill -KILL "$(pid_of_service "$name")"
    rm -f "$RUN/$name.pid"
}

# ---- the control plane's view -----------------------------------------------------------------

compute_reports() { # compute_reports NAME: its service record was renewed since it started
    is_running "$1" || fail "$1 ended by itself: $(tail -n 3 "$LOG/$1.log" | tr '\n' ' ')"
    service_reports nova-compute "$(start_time "$1")" "$COMPUTE_HOST"
}

has_compute_node() {
    [[ $(sql -e "SELECT count(*) FROM nova.compute_nodes
        WHERE host = '$COMPUTE_HOST' AND deleted = 0") -gt 0 ]]
}

wait_for_compute() { # wait_for_compute NAME: up, with its node, known to the scheduler
    wait_until 120 "$1 reports itself to the control plane" compute_reports "$1"
    wait_until 60 "$1 has made its compute node" has_compute_node
    # a new host counts for nothing until it is mapped to a cell
    [[ $(sql -e "SELECT count(*) FROM nova_api.host_mappings
        WHERE host = '$COMPUTE_HOST'") -gt 0 ]] || in_root nova nova-manage cell_v2 discover_hosts
}

# ---- nova-compute -----------------------------------------------------------------------------

start_reference() {
    ! is_running novalet || fail 'novalet runs: "deploy/demo agent stop" first'
    [[ -e $DONE/reference ]] || {
        install_in_root reference
        touch "$DONE/reference"
    }
    # shellcheck disable=SC2034 # the template names it
    local VIRT_TYPE
    VIRT_TYPE=$(<"$DEMO/virt_type")
    render_to /etc/nova/nova-compute-reference.conf nova
    start_libvirt
    log_in
    # as root: libvirt's socket is open to root alone when there is no polkit
    launch_in_root nova-compute root nova-compute \
        --config-file /etc/nova/nova-compute-reference.conf
    wait_for_compute nova-compute
}

stop_reference() { end nova-compute 60; }

forget_compute() { # the service record, its node, its provider and its cell mapping
    log_in
    local id
    ! is_running novalet && ! is_running nova-compute || fail 'the compute service still runs'
    for id in $(api compute GET "/v2.1/os-services?binary=nova-compute&host=$COMPUTE_HOST" |
        jq -r '.services[].id'); do
        api compute DELETE "/v2.1/os-services/$id"
    done
}
