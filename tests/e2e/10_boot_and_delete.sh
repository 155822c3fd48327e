#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'a server boots, is what was ordered, and leaves nothing when it is deleted'

id=$(create_server e2e-boot)
wait_for_active "$id"
expect_running "$id"
expect 'host' "$(server_field "$id" '."OS-EXT-SRV-ATTR:host"')" "$COMPUTE_HOST"
expect 'power state' "$(server_field "$id" '."OS-EXT-STS:power_state"')" 1
expect 'allocation' "$(api placement GET "/allocations/$id" | jq -c --sort-keys '.allocations[].resources')" \
    '{"DISK_GB":1,"MEMORY_MB":128,"VCPU":1}'

note 'its network'
wait_until_ready "$id"
address=$(server_field "$id" '.addresses.demo[0].addr')
expect_match 'the console' "$(console_of "$id")" "address=$address/24"
expect 'port' "$(api network GET "/v2.0/ports?device_id=$id" | jq -r '.ports[] |
    "\(.status) \(."binding:vif_type") \(."binding:host_id")"')" "ACTIVE bridge $COMPUTE_HOST"

note 'its console over VNC'
url=$(api compute POST "/v2.1/servers/$id/remote-consoles" \
    '{"remote_console": {"protocol": "vnc", "type": "novnc"}}' | jq -r .remote_console.url)
expect_match 'console URL' "$url" "^http://127.0.0.1:${PORT[console]}/vnc_auto.html\\?path=.*token"

note 'its action'
request=$(api compute GET "/v2.1/servers/$id/os-instance-actions" |
    jq -r '.instanceActions[] | select(.action == "create") | .request_id')
expect 'events of the build on this host' "$(api compute GET \
    "/v2.1/servers/$id/os-instance-actions/$request" | jq -r '.instanceAction.events[] |
        select(.event == "compute__do_build_and_run_instance") | .result')" Success

delete_server "$id"
expect_empty
