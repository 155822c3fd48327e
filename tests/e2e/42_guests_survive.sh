#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'guests run on, in the same process, whatever happens to the agent'

id=$(create_server e2e-survivor)
wait_for_active "$id"
wait_until_ready "$id"
pid=$(qemu_pid "$id")

untouched() { # untouched TEXT
    note "$1"
    expect 'QEMU process' "$(qemu_pid "$id")" "$pid"
    [[ -d /proc/$pid ]] || fail "QEMU $pid is gone"
    expect_running "$id"
    expect 'boots of the guest' "$(console_of "$id" | grep -c DEMO-GUEST-START)" 1
}

stop_agent
start_agent
untouched 'after a restart'
kill_agent "$AGENT"
start_agent
untouched 'after a crash'
stop_agent
expect 'QEMU process without an agent' "$(qemu_pid "$id")" "$pid"
start_agent
untouched 'after a pause'
delete_server "$id"
[[ ! -d /proc/$pid ]] || fail "QEMU $pid outlived its server"
expect_empty
