# The control plane's daemons: how each is started, in which order, and taken down again.
# shellcheck shell=bash

# in the order of starting; stopped the other way round
SERVICES=(mariadb rabbitmq keystone placement-api glance-api neutron-api neutron-rpc-server nova-api
    nova-conductor nova-scheduler nova-novncproxy neutron-l2-agent neutron-dhcp-agent)

start_service() { # start_service NAME: returns at once
    local uwsgi=/usr/bin/uwsgi_python3
    local neutron=(--config-file /etc/neutron/neutron.conf)
    local ml2=(--config-file /etc/neutron/plugins/ml2/ml2_conf.ini)
    case $1 in
        mariadb)
            # /run is new after each mount
            install -d -o "$(id_in_root -u mysql)" "$ROOT/run/mysqld"
            launch_in_root "$1" root mariadbd --user=mysql
            ;;
        rabbitmq)
            install -d -o "$(id_in_root -u rabbitmq)" "$ROOT/run/rabbitmq"
            launch_in_root "$1" rabbitmq /usr/lib/rabbitmq/bin/rabbitmq-server
            ;;
        keystone | placement-api | glance-api | neutron-api | nova-api)
            launch_in_root "$1" root "$uwsgi" --ini "/etc/novalet-demo/$1.ini"
            ;;
        neutron-rpc-server)
            launch_in_root "$1" neutron neutron-rpc-server "${neutron[@]}" "${ml2[@]}"
            ;;
        neutron-l2-agent)
            launch_in_root "$1" neutron neutron-linuxbridge-agent "${neutron[@]}" \
                --config-file /etc/neutron/plugins/ml2/linuxbridge_agent.ini
            ;;
        neutron-dhcp-agent)
            launch_in_root "$1" neutron neutron-dhcp-agent "${neutron[@]}" \
                --config-file /etc/neutron/dhcp_agent.ini
            ;;
        nova-conductor | nova-scheduler | nova-novncproxy)
            launch_in_root "$1" nova "$1" --config-file /etc/nova/nova.conf
            ;;
        *) fail "no service called $1; there are: ${SERVICES[*]}" ;;
    esac
}

service_is_ready() { # service_is_ready NAME: it does its work, not only runs
    case $1 in
        mariadb) listening mariadb "${PORT[database]}" ;;
        rabbitmq) listening rabbitmq "${PORT[broker]}" ;;
        keystone) listening keystone "${PORT[identity]}" ;;
        placement-api) listening placement-api "${PORT[placement]}" ;;
        glance-api) listening glance-api "${PORT[image]}" ;;
        neutron-api) listening neutron-api "${PORT[network]}" ;;
        nova-api) listening nova-api "${PORT[compute]}" ;;
        nova-novncproxy) listening nova-novncproxy "${PORT[console]}" ;;
        nova-conductor | nova-scheduler) service_reports "$1" "$(start_time "$1")" ;;
        neutron-rpc-server) is_running "$1" ;;
        neutron-l2-agent) agent_reports 'Linux bridge agent' "$(start_time "$1")" ;;
        neutron-dhcp-agent) agent_reports 'DHCP agent' "$(start_time "$1")" ;;
    esac
}

is_seen_through_api() { # is_seen_through_api NAME: its readiness can only be asked with a token
    case $1 in
        nova-conductor | nova-scheduler | neutron-l2-agent | neutron-dhcp-agent) ;;
        *) return 1 ;;
    esac
}

wait_for_service() { wait_until "${2:-120}" "$1 is ready" service_is_ready "$1"; }

# Seconds since 1970 at which the service's process began: a stopped service still counts as up for
# a minute, so a report has to be younger than the process.
start_time() { stat -c %Y "$RUN/$1.pid"; }

service_reports() { # service_reports BINARY SINCE [HOST]
    is_running "$1" || [[ $1 = nova-compute ]] || fail "$1 ended by itself: see $LOG/$1.log"
    quietly api compute GET /v2.1/os-services || return 1
    api compute GET "/v2.1/os-services?binary=$1${3:+&host=$3}" |
        jq -e --argjson since "$2" '[.services[] | select(.state == "up" and .updated_at != null)
            | .updated_at | sub("\\..*$"; "Z") | fromdateiso8601 | select(. >= $since)]
            | length > 0' >/dev/null
}

agent_reports() { # agent_reports TYPE SINCE: an agent of Neutron on this host
    quietly api network GET /v2.0/agents || return 1
    api network GET "/v2.0/agents?host=$COMPUTE_HOST" |
        jq -e --arg type "$1" --argjson since "$2" '[.agents[] | select(.agent_type == $type
            and .alive and (.heartbeat_timestamp | sub(" "; "T") + "Z" | fromdateiso8601) >= $since)]
            | length > 0' >/dev/null
}

start_infrastructure() {
    [[ -d $ROOT/var/lib/mysql/mysql ]] ||
        in_root root mariadb-install-db --user=mysql --skip-test-db
    start_service mariadb
    start_service rabbitmq
    wait_for_service mariadb
    wait_for_service rabbitmq
}

start_identity() {
    start_service keystone
    wait_for_service keystone
}

start_control_plane() {
    local name
    for name in placement-api glance-api neutron-api nova-api neutron-rpc-server nova-conductor \
        nova-scheduler; do
        start_service "$name"
    done
    start_service nova-novncproxy
    for name in placement-api glance-api neutron-api nova-api; do wait_for_service "$name"; done
    log_in
    # The DHCP agent's first call is lost for a minute when neutron-rpc-server does not listen yet,
    # so the L2 agent has to have reported first.
    start_service neutron-l2-agent
    wait_for_service neutron-l2-agent
    start_service neutron-dhcp-agent
    for name in neutron-dhcp-agent nova-conductor nova-scheduler nova-novncproxy; do
        wait_for_service "$name"
    done
}

is_nothing_running() {
    local name
    for name in "${SERVICES[@]}"; do ! is_running "$name" || return 1; done
}

stop_control_plane() {
    local i
    # neutron's and nova's daemons do not need each other to stop
    for ((i = ${#SERVICES[@]} - 1; i >= 2; i--)); do
        end "${SERVICES[i]}" 15 &
    done
    wait
    clean_networks
    end rabbitmq 40
    end_name_server
    end mariadb 60
}

end_name_server() { # epmd is started by RabbitMQ, as a daemon of its own
    local pid
    for pid in $(ss -Hltnp "sport = :${PORT[broker_names]}" | sed -n 's/.*pid=\([0-9]*\).*/\1/p'); do
        [[ $(readlink "/proc/$pid/root") != "$ROOT" ]] || kill "$pid"
    done
}

# ---- what Neutron's agents leave behind -------------------------------------------------------

clean_networks() {
    local file pid network
    for file in "$ROOT"/var/lib/neutron/dhcp/*/pid "$ROOT"/var/lib/neutron/external/pids/*; do
        [[ -f $file ]] || continue
        pid=$(<"$file")
        [[ $(readlink "/proc/$pid/root") != "$ROOT" ]] || kill "$pid" 2>/dev/null || true
        rm -f "$file"
    done
    ! is_running mariadb || for network in $(sql -e 'SELECT id FROM neutron.networks'); do
        ! quietly chroot "$ROOT" ip netns pids "qdhcp-$network" ||
            quietly chroot "$ROOT" ip netns delete "qdhcp-$network" || true
        remove_bridge "brq${network:0:11}"
    done
    clean_firewall
}

remove_bridge() { # with the ends of Neutron's veth pairs in it; a guest's tap belongs to libvirt
    [[ -d /sys/class/net/$1 ]] || return 0
    local port
    for port in "/sys/class/net/$1/brif"/*; do
        [[ -e $port && ! -e $port/../tun_flags ]] || continue
        ip link delete "${port##*/}" || true
    done
    ip link delete "$1" || true
}

clean_firewall() { # chains of the L2 agent; another Neutron on this machine has the same names
    local tool set
    ! pgrep -f neutron-linuxbridge-agent >/dev/null || return 0
    for tool in iptables ip6tables; do
        # grep -c reads all of it: an early end would count as a failure of the first command
        if [[ $($tool-save 2>/dev/null | grep -c neutron-) -gt 0 ]]; then
            $tool-save 2>/dev/null | grep -v neutron- | $tool-restore
        fi
    done
    # each was made by the L2 agent, with the root's ipset
    for set in $(in_root root ipset list -n | grep -E '^N(IPv4|IPv6|ETH)'); do
        in_root root ipset destroy "$set" || true
    done
}
