#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'a server deleted in the middle of its build goes away, and nothing of it stays'

fresh_image() { # one that has to be fetched
    cp "$DEMO/guest/disk.qcow2" "$WORK/image"
    qemu-img resize -q -f qcow2 "$WORK/image" "$((64 + RANDOM % 512))M"
    made_image "e2e-fresh-$1-$$" "$WORK/image" qcow2
}

delete_when() { # delete_when SERVICE STATE…: SERVICE stands still, so that the build stays there
    local service=$1 id
    shift
    note "in $* ($service stands still)"
    fresh_image "$service"
    id=$(create_server "e2e-cut" "$FLAVOR" "$image")
    pause_service "$service"
    wait_until 60 "the build of $id is in $*" reached "$id" "$@"
    api compute DELETE "/v2.1/servers/$id"
    resume_service "$service"
    wait_until 180 "server $id is deleted" server_is_gone "$id"
    expect_empty
}

note 'at once'
id=$(create_server e2e-cut)
delete_server "$id" 180
expect_empty

delete_when glance-api spawning
delete_when neutron-l2-agent spawning
