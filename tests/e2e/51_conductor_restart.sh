#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'nova-conductor is restarted while servers are built; all end ACTIVE or ERROR with a reason'

ids=()
for number in 1 2 3; do ids+=("$(create_server "e2e-conductor-$number")"); done
# once the first is here, the conductor is needed by each of its steps
wait_until 60 'the first is built' reached "${ids[0]}" networking block_device_mapping spawning active
end nova-conductor 40
start_service nova-conductor
wait_for_service nova-conductor
for id in "${ids[@]}"; do
    wait_until 300 "server $id is settled" server_is_settled "$id"
    note "$id ends $(server_field "$id" .status) $(fault_of "$id")"
done
expect_owners
for id in "${ids[@]}"; do delete_server "$id" 180; done
expect_empty
