#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'one process is three simulated hosts: they are known, build servers, remember them and delete them'

hosts=(sim-1 sim-2 sim-3)
sed -e 's/^host: .*/host: sim/' -e "s|^state_path: .*|state_path: $WORK/state|" \
    -e '/^telemetry:/,/^  listen:/d' "$AGENT_CONFIG" >"$WORK/sim.yaml"
cat >>"$WORK/sim.yaml" <<EOF
hypervisor:
  kind: simulated
  simulated:
    hosts: ${#hosts[@]}
    vcpus: 4
    memory: 4096
    disk: 64
EOF
chmod 600 "$WORK/sim.yaml"
mkdir -p "$WORK/state"

start_simulated() { launch novalet-simulated "$BINARY" --config "$WORK/sim.yaml"; }
forget_simulated() {
    local id host
    ! is_running novalet-simulated || end novalet-simulated 60
    for host in "${hosts[@]}"; do
        for id in $(api compute GET "/v2.1/os-services?binary=nova-compute&host=$host" |
            jq -r '.services[].id'); do
            api compute DELETE "/v2.1/os-services/$id"
        done
    done
}
AT_END+=(forget_simulated)
sim_states() {
    api compute GET '/v2.1/os-services?binary=nova-compute' |
        jq -r '[.services[] | select(.host | startswith("sim-")) | .state] | join(" ")'
}
all_are_up() { [[ $(sim_states) = 'up up up' ]]; }

start_simulated
wait_until 60 'the simulated hosts are up' all_are_up
in_root nova nova-manage cell_v2 discover_hosts >/dev/null

note 'a server on each'
ids=()
for host in "${hosts[@]}"; do
    ids+=("$(create_server "e2e-$host" "$FLAVOR" "$IMAGE" '"none"' "{\"availability_zone\": \"nova:$host\"}")")
done
for index in "${!hosts[@]}"; do
    wait_for_active "${ids[index]}"
    expect 'its host' "$(server_field "${ids[index]}" '."OS-EXT-SRV-ATTR:host"')" "${hosts[index]}"
done
expect 'guests of libvirt' "$(domain_ids)" ''

note 'a crash of the process'
kill_agent novalet-simulated
start_simulated
wait_until 60 'the simulated hosts are up again' all_are_up
for id in "${ids[@]}"; do expect 'its status' "$(server_field "$id" .status)" ACTIVE; done

for id in "${ids[@]}"; do delete_server "$id"; done
expect_empty
