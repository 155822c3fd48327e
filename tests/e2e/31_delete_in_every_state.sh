#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'a server is deleted from every state it can be in, and leaves nothing behind'

server_is() {
    [[ $(server_field "$1" .status) = "$2" && $(server_field "$1" '."OS-EXT-STS:task_state"') = null ]]
}
declare -A actions=(
    [PAUSED]='{"pause": null}'
    [SUSPENDED]='{"suspend": null}'
    [SHUTOFF]='{"os-stop": null}'
)
declare -A ids=()
for state in "${!actions[@]}"; do ids[$state]=$(create_server "e2e-$state"); done
for state in "${!actions[@]}"; do
    wait_for_active "${ids[$state]}"
    api compute POST "/v2.1/servers/${ids[$state]}/action" "${actions[$state]}" >/dev/null
done
for state in "${!actions[@]}"; do
    wait_until 120 "server ${ids[$state]} is $state" server_is "${ids[$state]}" "$state"
    note "from $state"
    delete_server "${ids[$state]}"
done

note 'while it stops'
id=$(create_server e2e-stopping)
wait_for_active "$id"
api compute POST "/v2.1/servers/$id/action" '{"os-stop": null}' >/dev/null
delete_server "$id"

note 'after its guest was taken away by hand'
id=$(create_server e2e-vanished)
wait_for_active "$id"
stop_agent
on_libvirt destroy "$id" >/dev/null
on_libvirt undefine "$id" >/dev/null
start_agent
delete_server "$id"

note 'while the agent is away: it is done when the agent is back'
id=$(create_server e2e-away)
wait_for_active "$id"
stop_agent
api compute DELETE "/v2.1/servers/$id" >/dev/null
start_agent
wait_until 90 'the server is deleted' no_servers
expect_empty
