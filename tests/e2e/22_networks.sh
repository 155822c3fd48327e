#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'a server without a network runs; one on a network this host does not have fails with a reason'

note 'no network at all'
id=$(create_server e2e-none "$FLAVOR" "$IMAGE" '"none"')
wait_for_active "$id"
expect 'ports' "$(api network GET "/v2.0/ports?device_id=$id" | jq '.ports | length')" 0
wait_until_ready "$id"
delete_server "$id"

note 'two networks'
MADE_NETWORKS+=("$(create_network "e2e-second-$$" 10.98.0.0/24)")
id=$(create_server e2e-two "$FLAVOR" "$IMAGE" "$(jq -cn --arg first "$(network_id "$NETWORK")" \
    --arg second "${MADE_NETWORKS[-1]}" '[{uuid: $first}, {uuid: $second}]')")
wait_for_active "$id"
wait_until_ready "$id"
expect_match 'second card' "$(console_of "$id")" 'DEMO-GUEST-CARD eth1 .*address=10\.98\.0\.'
delete_server "$id"

note 'a physical network that no agent here has'
MADE_NETWORKS+=("$(create_network "e2e-elsewhere-$$" 10.97.0.0/24 \
    '{"provider:network_type": "flat", "provider:physical_network": "nowhere"}')")
id=$(create_server e2e-elsewhere "$FLAVOR" "$IMAGE" "[{\"uuid\": \"${MADE_NETWORKS[-1]}\"}]")
expect_error "$id" '[Bb]inding failed|No valid host|Exhausted all hosts'
expect_owners
delete_server "$id"
expect_empty
