#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'what the agent does not do is refused with a reason, and leaves the server as it was'

# refused STATUS METHOD PATH [BODY]: nova-api answers with this status
refused() {
    local wanted=$1 got
    shift
    got=$(curl --silent --noproxy '*' --max-time 120 --output "$WORK/answer" --write-out '%{http_code}' \
        -X "$1" -H "@$DEMO/token" -H 'Content-Type: application/json' \
        -H "OpenStack-API-Version: compute ${VERSION:-2.93}" ${3:+--data "$3"} \
        "http://127.0.0.1:${PORT[compute]}$2")
    expect "$1 $2 ${3:-}: $(cat "$WORK/answer")" "$got" "$wanted"
    note "$got: $(jq -r '.[].message // empty' "$WORK/answer" 2>/dev/null)"
}
is_unlocked() { [[ $(sql -e "SELECT task_state IS NULL FROM nova.instances WHERE uuid = '$1'") = 1 ]]; }
unchanged() { # active and free, with its guest and its allocation
    wait_until 60 "server $1 is free for other operations" is_unlocked "$1"
    expect_running "$1"
}
action() { # action ID BODY: accepted, then refused by the agent
    api compute POST "/v2.1/servers/$1/action" "$2" >/dev/null
    unchanged "$1"
}
images() { api image GET "/v2/images?name=e2e-refused" | jq '.images | length'; }
no_image() { [[ $(images) = 0 ]]; }

id=$(create_server e2e-refused)
wait_for_active "$id"

note 'consoles that this host does not offer'
for console in spice:spice-html5 serial:serial mks:webmks; do
    refused 400 POST "/v2.1/servers/$id/remote-consoles" \
        "{\"remote_console\": {\"protocol\": \"${console%:*}\", \"type\": \"${console#*:}\"}}"
done

note 'questions and changes'
refused 501 GET "/v2.1/servers/$id/diagnostics"
refused 400 POST "/v2.1/servers/$id/os-interface" '{"interfaceAttachment": {}}'
refused 409 POST "/v2.1/servers/$id/action" '{"changePassword": {"adminPass": "secret"}}'
unchanged "$id"

note 'operations'
image=$(api image GET '/v2/images?name=demo-guest' | jq -r '.images[0].id')
action "$id" "{\"rebuild\": {\"imageRef\": \"$image\"}}"
expect_match 'the fault' "$(sql -e "SELECT message FROM nova.instance_faults
    WHERE instance_uuid = '$id' ORDER BY id DESC LIMIT 1")" 'rebuild_instance'
action "$id" '{"createImage": {"name": "e2e-refused"}}'
wait_until 60 'no image is left of the refused snapshot' no_image
action "$id" '{"rescue": {}}'

delete_server "$id"
expect_empty
