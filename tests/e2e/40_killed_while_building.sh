#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'kill -9 in the middle of a build: after the restart the server is ACTIVE or ERROR with a reason'

fresh_image() {
    cp "$DEMO/guest/disk.qcow2" "$WORK/image"
    qemu-img resize -q -f qcow2 "$WORK/image" "$((64 + RANDOM % 512))M"
    made_image "e2e-fresh-$1-$$" "$WORK/image" qcow2
}

settled_after_crash() { # settled_after_crash ID
    local status
    wait_until 240 "server $1 is settled after the crash" server_is_settled "$1"
    status=$(server_field "$1" .status)
    note "it ends $status $(fault_of "$1")"
    case $status in
        ACTIVE) expect_running "$1" ;;
        ERROR) expect_match 'the reason' "$(fault_of "$1")" '.' ;;
    esac
    expect_owners
    delete_server "$1"
    expect_empty
}

kill_when() { # kill_when SERVICE STATE…: SERVICE stands still until the kill, so that it happens there
    local service=$1 id
    shift
    note "in $* ($service stands still)"
    fresh_image "$service"
    id=$(create_server e2e-crash "$FLAVOR" "$image")
    pause_service "$service"
    wait_until 60 "the build of $id is in $*" reached "$id" "$@"
    kill_agent "$AGENT"
    resume_service "$service"
    start_agent
    settled_after_crash "$id"
}

kill_at() { # kill_at STATE…: as soon as it is seen; what passes too fast is caught a bit later
    local id
    note "as soon as it is seen in $*"
    id=$(create_server e2e-crash)
    wait_until 60 "the build of $id is in $*" reached "$id" "$@" active error
    note "killed in $(task_of "$id")"
    kill_agent "$AGENT"
    start_agent
    settled_after_crash "$id"
}

kill_when neutron-api networking block_device_mapping spawning # they run beside each other
kill_when glance-api spawning
kill_when neutron-l2-agent spawning
kill_at networking block_device_mapping spawning
kill_at block_device_mapping spawning
kill_at active

note 'while several are built'
ids=()
for number in 1 2 3; do ids+=("$(create_server "e2e-crash-$number")"); done
wait_until 60 'the first of them is built' reached "${ids[0]}" networking block_device_mapping \
    spawning active
kill_agent "$AGENT"
start_agent
for id in "${ids[@]}"; do wait_until 240 "server $id is settled" server_is_settled "$id"; done
expect_owners
for id in "${ids[@]}"; do delete_server "$id"; done
expect_empty
