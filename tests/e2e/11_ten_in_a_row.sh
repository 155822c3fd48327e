#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'ten servers one after another, each deleted before the next'

for number in 1 2 3 4 5 6 7 8 9 10; do
    start=$(date +%s%N)
    id=$(create_server "e2e-row-$number")
    wait_for_active "$id"
    expect_running "$id"
    note "server $number was ACTIVE after $((($(date +%s%N) - start) / 1000000)) ms"
    delete_server "$id"
done
expect_empty
