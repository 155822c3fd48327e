#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'libvirtd goes in the middle of builds and a hard reboot: what was begun waits for it and ends well'

libvirt_is_back() { is_running libvirtd || start_libvirt; }

running=$(create_server e2e-libvirtd-reboot)
wait_for_active "$running"
ids=()
for number in 1 2 3; do ids+=("$(create_server "e2e-libvirtd-$number")"); done
wait_until 60 'the second of them is spawned' reached "${ids[1]}" spawning active
api compute POST "/v2.1/servers/$running/action" '{"reboot": {"type": "HARD"}}' >/dev/null
AT_END+=(libvirt_is_back)
end libvirtd
note 'libvirtd is gone'
for id in "${ids[@]}"; do note "$id is in $(task_of "$id")"; done
sleep 15 # longer than the pause between two tries
start_libvirt
note 'libvirtd is back'
for id in "${ids[@]}" "$running"; do
    wait_until 240 "server $id is settled" server_is_settled "$id"
    expect_running "$id"
done
expect_owners
for id in "${ids[@]}" "$running"; do delete_server "$id"; done
expect_empty
