# What the demo shows: an image, a flavor, a network, and servers made of them.
# shellcheck shell=bash

upload_image() { # upload_image NAME FILE FORMAT [PROPERTIES-JSON]: prints the id
    local id
    id=$(jq -n --arg name "$1" --arg format "$3" --argjson more "${4:-{\}}" \
        '{name: $name, disk_format: $format, container_format: "bare", visibility: "public"}
            + $more' | api image POST /v2/images @- | jq -r .id)
    curl --silent --show-error --fail --noproxy '*' --max-time 300 -X PUT -H "@$DEMO/token" \
        -H 'Content-Type: application/octet-stream' -T "$2" \
        "http://127.0.0.1:${PORT[image]}/v2/images/$id/file" >/dev/null
    echo "$id"
}

image_id() { id_by_name image "/v2/images?name=$1" images "$1"; }
network_id() { id_by_name network "/v2.0/networks?name=$1" networks "$1"; }
flavor_id() { id_by_name compute /v2.1/flavors flavors "$1"; }

create_flavor() { # create_flavor NAME VCPUS MIB GIB [EPHEMERAL-GIB] [SWAP-MIB]: prints the id
    jq -n --arg name "$1" --argjson vcpus "$2" --argjson ram "$3" --argjson disk "$4" \
        --argjson ephemeral "${5:-0}" --argjson swap "${6:-0}" '{flavor: {name: $name,
            vcpus: $vcpus, ram: $ram, disk: $disk, "OS-FLV-EXT-DATA:ephemeral": $ephemeral,
            swap: $swap}}' | api compute POST /v2.1/flavors @- | jq -r .flavor.id
}

create_network() { # create_network NAME CIDR [MORE-JSON]: with a subnet and DHCP; prints the id
    local id
    id=$(jq -n --arg name "$1" --argjson more "${3:-{\}}" '{network: ({name: $name} + $more)}' |
        api network POST /v2.0/networks @- | jq -r .network.id)
    jq -n --arg id "$id" --arg name "$1" --arg cidr "$2" '{subnet: {network_id: $id, name: $name,
        ip_version: 4, cidr: $cidr, enable_dhcp: true}}' |
        api network POST /v2.0/subnets @- >/dev/null
    echo "$id"
}

offer_guest_image() { # in place of one from another build
    local build id
    build=$(fingerprint "$DEMO/guest/disk.qcow2")
    id=$(image_id "$IMAGE")
    [[ -z $id || $(api image GET "/v2/images/$id" | jq -r .guest_build) != "$build" ]] || return 0
    [[ -z $id ]] || api image DELETE "/v2/images/$id"
    upload_image "$IMAGE" "$DEMO/guest/disk.qcow2" qcow2 "{\"guest_build\": \"$build\"}"
}

create_resources() {
    log_in
    offer_guest_image
    [[ -n $(flavor_id "$FLAVOR") ]] || create_flavor "$FLAVOR" 1 128 1
    [[ -n $(network_id "$NETWORK") ]] || create_network "$NETWORK" 10.99.0.0/24 '{"shared": true}'
}

build_guest() {
    local inside=/var/lib/novalet-guest
    rm -rf "${ROOT:?}$inside"
    mkdir -p "$ROOT$inside" "$DEMO/guest"
    cp "$PIECES"/guest/{build,init,dhcp-event} "$ROOT$inside/"
    in_root root "$inside/build" "$inside"
    cp "$ROOT$inside"/{vmlinuz,initrd,disk.qcow2} "$DEMO/guest/"
}

# ---- servers ----------------------------------------------------------------------------------

create_server() { # create_server NAME [FLAVOR] [IMAGE] [NETWORKS-JSON] [MORE-JSON]: prints the id
    local networks=${4:-}
    [[ -n $networks ]] || networks="[{\"uuid\": \"$(network_id "$NETWORK")\"}]"
    jq -n --arg name "$1" --arg flavor "$(flavor_id "${2:-$FLAVOR}")" \
        --arg image "$(image_id "${3:-$IMAGE}")" --argjson networks "$networks" \
        --argjson more "${5:-{\}}" '{server: ({name: $name, flavorRef: $flavor, imageRef: $image,
            networks: $networks} + $more)}' | api compute POST /v2.1/servers @- | jq -r .server.id
}

server_field() { # server_field ID JQ-FILTER
    api compute GET "/v2.1/servers/$1" | jq -r ".server | $2"
}

server_is_settled() { # nothing is under way any more
    [[ $(server_field "$1" '"\(.status) \(."OS-EXT-STS:task_state")"') =~ ^(ACTIVE|ERROR)\ null$ ]]
}

wait_for_active() { # wait_for_active ID [SECONDS]
    wait_until "${2:-300}" "server $1 is made" server_is_settled "$1"
    [[ $(server_field "$1" .status) = ACTIVE ]] ||
        fail "server $1 is in ERROR: $(server_field "$1" '.fault.message // "no reason given"')"
}

console_of() { # console_of ID
    api compute POST "/v2.1/servers/$1/action" '{"os-getConsoleOutput": {}}' | jq -r .output
}

console_shows() { [[ $(console_of "$1") == *"$2"* ]]; }

server_is_gone() {
    [[ $(curl --silent --noproxy '*' --max-time 60 --output /dev/null --write-out '%{http_code}' \
        -H "@$DEMO/token" "http://127.0.0.1:${PORT[compute]}/v2.1/servers/$1") = 404 ]]
}

delete_server() { # delete_server ID [SECONDS]: and wait until it is gone
    server_is_gone "$1" || api compute DELETE "/v2.1/servers/$1"
    wait_until "${2:-120}" "server $1 is deleted" server_is_gone "$1"
}

servers() { # id, name, status, task, power, addresses: one line each
    api compute GET "/v2.1/servers/detail?all_tenants=1" | jq -r '.servers[] | [.id, .name, .status,
        (."OS-EXT-STS:task_state" // "-"), ([.addresses[][].addr] | join(","))] | @tsv'
}

boot_server() { # boot_server NAME: prints its id
    local id
    id=$(create_server "$1")
    wait_for_active "$id"
    echo "$id"
}

show_console() { # show_console ID: the guest's own lines
    wait_until 120 "the guest of server $1 says that it is ready" console_shows "$1" DEMO-GUEST-READY
    console_of "$1" | tr -d '\r' | grep '^DEMO-GUEST' | sed 's/^/    /'
}
