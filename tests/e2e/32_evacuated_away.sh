#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'a server that was evacuated while the agent was away leaves nothing here; its neighbour runs on'

# The destination: novalet does not rebuild servers yet. Its refusal leaves the records as a failed
# evacuation does; after that the end of one that went well is written as its destination would have.
other=evacuated-to
sed -e "s/^host: .*/host: $other/" -e "s|^state_path: .*|state_path: $WORK/state|" \
    -e '/^telemetry:/,/^  listen:/d' "$AGENT_CONFIG" >"$WORK/other.yaml"
cat >>"$WORK/other.yaml" <<EOF
hypervisor:
  kind: simulated
EOF
chmod 600 "$WORK/other.yaml"
mkdir -p "$WORK/state"

service_ids() { # service_ids HOST
    api compute GET "/v2.1/os-services?binary=nova-compute&host=$1" | jq -r '.services[].id'
}
force_down() { # force_down true|false
    local id
    for id in $(service_ids "$COMPUTE_HOST"); do
        api compute PUT "/v2.1/os-services/$id" "{\"forced_down\": $1}" >/dev/null
    done
}
# first of all: what is deleted while the host counts as down leaves its guest behind
trap 'code=$?; force_down false || true; finish $code' EXIT
forget_other() {
    ! is_running novalet-other || end novalet-other 60
    local id
    for id in $(service_ids "$other"); do api compute DELETE "/v2.1/os-services/$id"; done
}
AT_END+=(forget_other)
other_is_up() {
    [[ $(api compute GET "/v2.1/os-services?binary=nova-compute&host=$other" |
        jq -r '.services[].state') = up ]]
}
providers_of() { # providers_of ID: where the server holds something, by name
    local id
    for id in $(api placement GET "/allocations/$1" | jq -r '.allocations | keys[]'); do
        api placement GET "/resource_providers/$id" | jq -r .name
    done | sort | tr '\n' ' '
}
also_holds_of_other() { # also_holds_of_other ID: what the claim of the destination makes
    local provider
    provider=$(api placement GET "/resource_providers?name=$other" |
        jq -r '.resource_providers[0].uuid')
    api placement GET "/allocations/$1" |
        jq --arg provider "$provider" '.allocations |= (map_values({resources})
            | . + {($provider): to_entries[0].value})' |
        api placement PUT "/allocations/$1" @- >/dev/null
}
migration_of() {
    sql -e "SELECT status FROM nova.migrations WHERE instance_uuid = '$1'
        AND migration_type = 'evacuation'"
}
migration_is() { [[ $(migration_of "$1") = "$2" ]]; }
is_refused() { # by the other host; the API shows no fault of a server that is not in ERROR
    [[ $(sql -e "SELECT count(*) FROM nova.instance_faults WHERE instance_uuid = '$1'") -gt 0 &&
        $(task_of "$1") = active ]]
}

id=$(create_server e2e-evacuated)
neighbour=$(create_server e2e-neighbour)
wait_for_active "$id"
wait_for_active "$neighbour"
pid=$(qemu_pid "$id")
neighbour_pid=$(qemu_pid "$neighbour")
node=$(sql -e "SELECT hypervisor_hostname FROM nova.compute_nodes WHERE host = '$COMPUTE_HOST' AND
    deleted = 0")

note 'the host is taken for dead, the server is evacuated, its guest runs on'
launch novalet-other "$BINARY" --config "$WORK/other.yaml"
wait_until 60 'the other host is up' other_is_up
in_root nova nova-manage cell_v2 discover_hosts >/dev/null
stop_agent
force_down true
api compute POST "/v2.1/servers/$id/action" "{\"evacuate\": {\"host\": \"$other\"}}" >/dev/null
wait_until 60 'the evacuation came to the other host' is_refused "$id"
expect 'the migration' "$(migration_of "$id")" failed
expect 'it holds resources of' "$(providers_of "$id")" "$node "
expect 'its host' "$(server_field "$id" '."OS-EXT-SRV-ATTR:host"')" "$COMPUTE_HOST"

note 'another evacuation is done'
also_holds_of_other "$id"
sql -e "UPDATE nova.instances SET host = '$other', node = '$other' WHERE uuid = '$id';
    UPDATE nova.migrations SET status = 'done', dest_compute = '$other', dest_node = '$other'
        WHERE instance_uuid = '$id'"
expect 'it holds resources of' "$(providers_of "$id")" "$(printf '%s\n' "$other" "$node" | sort |
    tr '\n' ' ')"
[[ -d /proc/$pid ]] || fail "QEMU $pid ended by itself: there is nothing to be seen"

note 'the host comes back'
launch_agent
wait_until 60 'the evacuation is completed' migration_is "$id" completed
expect 'guests' "$(domain_ids)" "$neighbour"
[[ ! -d /proc/$pid ]] || fail "QEMU $pid of a server of $other runs here"
[[ ! -e $INSTANCES/$id ]] || fail "files of a server of $other are left in $INSTANCES/$id"
expect 'it holds resources of' "$(providers_of "$id")" "$other "
expect 'its host' "$(server_field "$id" '."OS-EXT-SRV-ATTR:host"')" "$other"

note 'its neighbour did not notice'
force_down false
wait_for_compute novalet
expect 'QEMU process' "$(qemu_pid "$neighbour")" "$neighbour_pid"
[[ -d /proc/$neighbour_pid ]] || fail "QEMU $neighbour_pid is gone"
expect_running "$neighbour"

delete_server "$id"
delete_server "$neighbour"
expect_empty
