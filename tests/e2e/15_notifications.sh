#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'with notifications switched on, the life of a server is told in both forms'

broker() { in_root rabbitmq rabbitmqctl -q "$@"; }
waiting_in() { # waiting_in QUEUE: how many messages
    broker list_queues name messages | awk -v queue="$1" '$1 == queue {print $2; found = 1}
        END {if (!found) print 0}'
}
purge() { [[ $(waiting_in "$1") = 0 ]] || broker purge_queue "$1" >/dev/null; }
forget_notifications() { purge notifications.info; purge versioned_notifications.info; }
AT_END+=(forget_notifications)

configure_agent <<EOF
notifications:
  enabled: true
  format: both
EOF
forget_notifications
id=$(create_server e2e-told)
wait_for_active "$id"
delete_server "$id"
# create, delete and shutdown, each with a start and an end; the control plane itself is silent
expect 'unversioned notifications' "$(waiting_in notifications.info)" 6
expect 'versioned notifications' "$(waiting_in versioned_notifications.info)" 6
expect_empty
