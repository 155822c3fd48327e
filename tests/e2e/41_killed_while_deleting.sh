#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'kill -9 in the middle of a deletion: it is carried on after the restart'

for attempt in 1 2 3; do
    id=$(create_server "e2e-going-$attempt")
    wait_for_active "$id"
    api compute DELETE "/v2.1/servers/$id"
    wait_until 30 "the deletion of $id has begun" reached "$id" deleting deleted
    kill_agent "$AGENT"
    start_agent
    wait_until 240 "server $id is gone" server_is_gone "$id"
    expect_empty
done
