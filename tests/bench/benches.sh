# The benches themselves. Each gives samples to `sample`.
# shellcheck shell=bash

REST_SECONDS=10           # after the start, before PSS is read
SETTLE_SECONDS=15         # after the start, before idling counts
RPC_CORE=0                # of the server; the load has the others
RPC_VHOST=novalet-bench   # of the broker, for the RPC bench alone
RPC_CONCURRENCY=64        # callers at once: as many as nova-compute works on at a time
declare -A RPC_CALLS=([novalet]=40000 [nova-compute]=4000)

wanted() { [[ " ${NAMES[*]} " == *" $1 "* ]]; }

# ---- agents -----------------------------------------------------------------------------------

stop_agents() {
    stop_agent
    stop_reference
    [[ -z ${GROUP:-} ]] || end_group
}

# The pieces of the demo wait for an agent by asking the API again and again, which takes the CPU
# away from what is measured here: this start returns when the process is made. Only the process is
# in the group, without the logins and templates before it.
eval "demo_$(declare -f launch)"
start_in_group() { # start_in_group AGENT
    (
        # shellcheck disable=SC2317 # called by what follows
        wait_for_compute() { :; }
        # shellcheck disable=SC2317
        launch() { join_group; demo_launch "$@"; }
        case $1 in
            novalet) start_agent ;;
            nova-compute) start_reference ;;
        esac
    )
}

start_watched() { # start_watched AGENT: in place of the other one; UP_AT is when it had reported
    stop_agents
    watch_report
    start_in_group "$1"
    wait_for_watcher "$WORK/report"
    UP_AT=$(<"$WORK/report")
    [[ -n $UP_AT ]] || fail "$1 did not report itself within two minutes: see $LOG/$1.log"
}

# ---- pss, start, boot: rounds that alternate between the agents ---------------------------------

measured_start() { # measured_start AGENT
    local agent=$1 cpu began
    stop_agents
    ! wanted start || watch_consumer
    cpu=$(group_cpu)
    start_watched "$agent"
    wanted start || return 0
    began=$(exec_time "$agent")
    sample start.cpu "$agent" "$(calculate '(now - before) / 1e6' now="$(group_cpu)" before="$cpu")"
    sample start.consuming "$agent" \
        "$(calculate 'seen - began' seen="$(consumer_time)" began="$began")"
    sample start.up "$agent" "$(calculate 'seen - began' seen="$UP_AT" began="$began")"
}

sample_pss() { sample "$1" "$2" "$(calculate 'kib / 1024' kib="$(group_pss)")"; }

# The lines of watch_server, from the first that names this host: the agent took the server over.
boot_once() { # boot_once AGENT NAME: BOOTED is its id, BEGAN, TAKEN, ACTIVE and CPU what it took
    local body cpu taken active
    body=$(jq -n --arg name "$2" --arg flavor "$FLAVOR_ID" --arg image "$IMAGE_ID" \
        --arg network "$NETWORK_ID" '{server: {name: $name, flavorRef: $flavor,
            imageRef: $image, networks: [{uuid: $network}]}}')
    watch_server "$2"
    cpu=$(group_cpu)
    BEGAN=$EPOCHREALTIME
    BOOTED=$(api compute POST /v2.1/servers "$body" | jq -r .server.id)
    wait_for_watcher "$WORK/server"
    CPU=$(calculate '(now - before) / 1e6' now="$(group_cpu)" before="$cpu")
    taken=$(awk -v host="$COMPUTE_HOST" '$2 == host {print $1; exit}' "$WORK/server")
    active=$(awk '$3 == "active" && $4 == "-" {print $1}' "$WORK/server")
    [[ -n $taken && -n $active ]] ||
        fail "server $2 under $1 did not become ACTIVE: $(tr '\n' ';' <"$WORK/server")"
    TAKEN=$taken ACTIVE=$active
}

measured_boots() { # measured_boots AGENT ROUND: the first warms up, the second is measured
    boot_once "$1" "bench-first-$2"
    if wanted pss; then
        sleep 3
        sample_pss pss.booted "$1"
    fi
    delete_server "$BOOTED"
    wanted boot || return 0
    sleep 2 # what the deletion left to do
    boot_once "$1" "bench-$2"
    sample boot.total "$1" "$(calculate 'active - began' active="$ACTIVE" began="$BEGAN")"
    sample boot.agent "$1" "$(calculate 'active - taken' active="$ACTIVE" taken="$TAKEN")"
    sample boot.cpu "$1" "$CPU"
    delete_server "$BOOTED"
}

bench_rounds() {
    local round agent order
    FLAVOR_ID=$(flavor_id "$FLAVOR") IMAGE_ID=$(image_id "$IMAGE") NETWORK_ID=$(network_id "$NETWORK")
    for ((round = 1; round <= RUNS; round++)); do
        order=("${AGENTS[@]}")
        # neither always has the other's warm caches
        [[ $((round % 2)) -eq 1 || ${#AGENTS[@]} -eq 1 ]] || order=("${AGENTS[1]}" "${AGENTS[0]}")
        for agent in "${order[@]}"; do
            say "-- round $round of $RUNS: $agent"
            measured_start "$agent"
            if wanted pss; then
                sleep "$REST_SECONDS"
                sample_pss pss.rest "$agent"
            fi
            if wanted pss || wanted boot; then measured_boots "$agent" "$round"; fi
        done
    done
}

# ---- idle ---------------------------------------------------------------------------------------

bench_idle() {
    local agent counting
    counting=$(count_messages_of_new_channels)
    COUNTING_BEFORE=$counting
    for agent in "${AGENTS[@]}"; do
        say "-- idle: $agent, for $IDLE_SECONDS s"
        start_watched "$agent"
        sleep "$SETTLE_SECONDS"
        measured_idling "$agent"
    done
    set_counting "$counting"
    COUNTING_BEFORE=
}

measured_idling() { # measured_idling AGENT
    local agent=$1 sent received sent_after received_after cpu cpu_after name count
    request_count >"$WORK/requests.before"
    read -r sent received < <(message_counts)
    cpu=$(group_cpu)
    sleep "$IDLE_SECONDS"
    cpu_after=$(group_cpu)
    read -r sent_after received_after < <(message_counts)
    request_count >"$WORK/requests.after"
    [[ -n $received && -n $received_after ]] || fail 'the broker does not count messages'

    local ten_minutes="* 600 / $IDLE_SECONDS"
    sample idle.cpu "$agent" "$(calculate "(b - a) / 1e6 $ten_minutes" a="$cpu" b="$cpu_after")"
    sample idle.sent "$agent" "$(calculate "(b - a) $ten_minutes" a="$sent" b="$sent_after")"
    sample idle.messages "$agent" "$(calculate "(b - a) $ten_minutes" \
        a=$((sent + received)) b=$((sent_after + received_after)))"
    sample idle.requests "$agent" "$(calculate "(b - a) $ten_minutes" \
        a="$(awk '{sum += $2} END {print sum}' "$WORK/requests.before")" \
        b="$(awk '{sum += $2} END {print sum}' "$WORK/requests.after")")"
    join "$WORK/requests.before" "$WORK/requests.after" | while read -r name count after; do
        [[ $count -eq $after ]] || say "   $agent: $((after - count)) requests to $name"
    done
}

# ---- rpc ----------------------------------------------------------------------------------------

rpc_program() { # prints its path, built when it is not there
    local program=${NOVALET_BENCH_RPC:-$SOURCE/build/release/tests/bench/bench_rpc}
    if [[ ! -x $program ]]; then
        say "-- building $program"
        (cd "$SOURCE" && cmake --preset release -DNOVALET_TESTS=ON) >&2
        cmake --build "$SOURCE/build/release" --target bench_rpc >&2
    fi
    echo "$program"
}

make_vhost() {
    broker add_vhost "$RPC_VHOST"
    broker set_permissions -p "$RPC_VHOST" compute '.*' '.*' '.*'
}
remove_vhost() { quietly broker delete_vhost "$RPC_VHOST"; }

other_cores() { # all but the server's; the same when there is no other
    local last=$(($(nproc) - 1))
    if [[ $last -eq 0 ]]; then echo 0; else echo "1-$last"; fi
}

# The broker's URL goes by standard input: arguments could be read by everybody.
rpc_url() { sed "s|/\$|/$RPC_VHOST|" "$SECRETS/transport_url"; }

start_rpc_server() { # start_rpc_server AGENT HOST
    local folder=$ROOT/tmp/novalet-bench
    case $1 in
        novalet)
            rpc_url | (
                join_group
                exec taskset -c "$RPC_CORE" "$RPC_PROGRAM" serve "$2"
            ) >"$WORK/server.log" 2>&1 &
            ;;
        nova-compute)
            install -D -m 644 "$here/oslo_server.py" "$folder/oslo_server.py"
            rpc_url | (
                join_group
                taskset -p -c "$RPC_CORE" "$BASHPID" >/dev/null
                in_root nova python3 /tmp/novalet-bench/oslo_server.py "$2"
            ) >"$WORK/server.log" 2>&1 &
            ;;
    esac
    # not the shell's job: it would report its end on the terminal
    disown $!
}

load_rpc_server() { # load_rpc_server HOST CALLS
    rpc_url | taskset -c "$(other_cores)" "$RPC_PROGRAM" load "$1" "$2" \
        "$RPC_CONCURRENCY" || {
        cat "$WORK/server.log" >&2
        fail "the RPC server does not answer"
    }
}

measured_calls() { # measured_calls AGENT ROUND
    local agent=$1 host=bench-$1-$2 calls=${RPC_CALLS[$1]} cpu report
    start_rpc_server "$agent" "$host"
    quietly load_rpc_server "$host" $((calls / 10)) # it warms up
    cpu=$(group_cpu)
    report=$(load_rpc_server "$host" "$calls")
    cpu=$(calculate '(after - before) / 1e6' after="$(group_cpu)" before="$cpu")
    end_group
    [[ $(jq .failed <<<"$report") -eq 0 ]] || fail "calls of $agent's server failed: $report"
    sample rpc.per_core "$agent" "$(calculate 'calls / cpu' calls="$calls" cpu="$cpu")"
    sample rpc.throughput "$agent" "$(jq '.calls / .seconds' <<<"$report")"
}

bench_rpc() {
    local round agent
    RPC_PROGRAM=$(rpc_program)
    make_vhost
    for ((round = 1; round <= RUNS; round++)); do
        for agent in "${AGENTS[@]}"; do
            say "-- rpc, round $round of $RUNS: ${agent/nova-compute/oslo.messaging}"
            measured_calls "$agent" "$round"
        done
    done
    remove_vhost
}
