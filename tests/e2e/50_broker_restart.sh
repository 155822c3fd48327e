#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'RabbitMQ is restarted while servers are built; all end ACTIVE or ERROR with a reason'

ids=()
for number in 1 2 3; do ids+=("$(create_server "e2e-broker-$number")"); done
# A request that is with the scheduler when the broker goes stays in BUILD for long, whatever the
# compute host is: nothing of it ever comes to a host. So all have to be here.
for id in "${ids[@]}"; do
    wait_until 60 "server $id is built" reached "$id" networking block_device_mapping spawning active
done
end rabbitmq 40
start_service rabbitmq
wait_for_service rabbitmq
for id in "${ids[@]}"; do
    # nova-api, conductor and Neutron need up to a minute to come back themselves
    wait_until 300 "server $id is settled" server_is_settled "$id"
    note "$id ends $(server_field "$id" .status) $(fault_of "$id")"
done
expect_owners
for id in "${ids[@]}"; do delete_server "$id" 180; done
expect_empty

note 'and it works as before'
id=$(create_server e2e-after)
wait_for_active "$id"
expect_running "$id"
delete_server "$id"
expect_empty
