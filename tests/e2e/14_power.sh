#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'stop, start, reboot, pause and suspend do what they say, and what the guest does itself shows'

act() { # act ID JSON STATUS: the action, and the status it ends in
    note "$2"
    api compute POST "/v2.1/servers/$1/action" "$2" >/dev/null
    wait_until 240 "server $1 is $3" server_is "$1" "$3"
}
server_is() {
    [[ $(server_field "$1" .status) = "$2" && $(server_field "$1" '."OS-EXT-STS:task_state"') = null ]]
}
state_on_host() { on_libvirt domstate "$1" | head -n 1; }
boots() { console_of "$1" | grep -c 'DEMO-GUEST-START'; }

id=$(create_server e2e-power)
wait_for_active "$id"
wait_until_ready "$id"

act "$id" '{"pause": null}' PAUSED
expect 'the guest' "$(state_on_host "$id")" paused
act "$id" '{"unpause": null}' ACTIVE
expect 'the guest' "$(state_on_host "$id")" running

act "$id" '{"suspend": null}' SUSPENDED
expect_match 'the guest' "$(state_on_host "$id")" 'shut off'
act "$id" '{"resume": null}' ACTIVE
expect 'the guest' "$(state_on_host "$id")" running

act "$id" '{"reboot": {"type": "HARD"}}' ACTIVE
expect 'the guest' "$(state_on_host "$id")" running
wait_until_ready "$id"
act "$id" '{"reboot": {"type": "SOFT"}}' ACTIVE
expect 'the guest' "$(state_on_host "$id")" running

act "$id" '{"os-stop": null}' SHUTOFF
expect_match 'the guest' "$(state_on_host "$id")" 'shut off'
act "$id" '{"os-start": null}' ACTIVE
expect 'the guest' "$(state_on_host "$id")" running

note 'the guest ends by itself'
on_libvirt destroy "$id" >/dev/null
wait_until 120 'the server is stopped' server_is "$id" SHUTOFF
expect 'actions without an end' "$(api compute GET "/v2.1/servers/$id/os-instance-actions" |
    jq -c '[.instanceActions[] | select(.message != null)]')" '[]'
delete_server "$id"
expect_empty
