# What an agent does, seen from outside: the same eyes for novalet and nova-compute. Whatever has to
# be seen within milliseconds is watched for where it happens, inside the database and the broker,
# because a poll from here costs more CPU time than what it looks at.
# shellcheck shell=bash

# ---- the agent's processes --------------------------------------------------------------------

# A control group of its own, since nova-compute's helpers leave its session: it knows all processes
# that descend from the agent, and the CPU time of those that have ended too.
make_group() {
    local top
    top=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
    if [[ -z $top ]]; then
        top=$WORK/cgroup
        mkdir "$top"
        mount -t cgroup2 none "$top"
    fi
    GROUP=$top/novalet-bench.$$
    mkdir "$GROUP"
}

remove_group() {
    [[ -n ${GROUP:-} ]] || return 0
    end_group
    rmdir "$GROUP"
    ! mountpoint -q "$WORK/cgroup" || umount "$WORK/cgroup"
}

join_group() { echo "$BASHPID" >"$GROUP/cgroup.procs"; } # the subshell that calls it

group_is_empty() { [[ -z $(<"$GROUP/cgroup.procs") ]]; }

end_group() {
    local pid
    for pid in $(<"$GROUP/cgroup.procs"); do kill -KILL "$pid" 2>/dev/null || true; done
    wait_until 10 'the processes that were measured end' group_is_empty
}

group_cpu() { # microseconds
    awk '$1 == "usage_usec" {print $2}' "$GROUP/cpu.stat"
}

group_pss() { # KiB
    local pid
    for pid in $(<"$GROUP/cgroup.procs"); do
        awk '/^Pss:/ {print $2}' "/proc/$pid/smaps_rollup"
    done | awk '{sum += $1} END {print sum}'
}

exec_time() { # exec_time NAME: when its process was made, in seconds since 1970, to 0.02 s
    local up now ticks
    read -r up _ </proc/uptime
    now=$EPOCHREALTIME
    ticks=$(started_at "$(pid_of_service "$1")")
    calculate 'now - up + ticks / hz' now="$now" up="$up" ticks="$ticks" hz="$(getconf CLK_TCK)"
}

# ---- the database -----------------------------------------------------------------------------

# watch_database FILE DECLARATIONS STATEMENTS: the statements are repeated every 10 ms, for two
# minutes at most, until they LEAVE watching; what they SELECT goes to the file. Returns when it
# watches.
watch_database() {
    : >"$1"
    sql --unbuffered >"$1" 2>"$1.errors" <<SQL &
SELECT 'watching';
DELIMITER //
BEGIN NOT ATOMIC
    DECLARE turn INT DEFAULT 0;
    $2
    watching: WHILE turn < 12000 DO
        $3
        DO SLEEP(0.01);
        SET turn = turn + 1;
    END WHILE;
END //
SQL
    WATCHER=$!
    wait_until 20 'the database watches' grep -q watching "$1"
}

# SYSDATE is the time of the moment; NOW would be that of the whole block.
DATABASE_TIME='UNIX_TIMESTAMP(SYSDATE(6))'

wait_for_watcher() { # wait_for_watcher FILE: then all that was seen is in it
    wait "$WATCHER" || fail "the database does not watch: $(<"$1.errors")"
    sed -i 1d "$1"
}

watch_report() { # the host's service record is renewed
    local count="(SELECT SUM(report_count) FROM nova.services WHERE host = '$COMPUTE_HOST'
        AND \`binary\` = 'nova-compute' AND deleted = 0)"
    watch_database "$WORK/report" "DECLARE before_start BIGINT DEFAULT $count;" "
        IF NOT $count <=> before_start THEN
            SELECT $DATABASE_TIME;
            LEAVE watching;
        END IF;"
}

watch_server() { # watch_server NAME: a line "TIME HOST VM-STATE TASK-STATE" for each change
    watch_database "$WORK/server" 'DECLARE state, last_state TEXT;' "
        SET state = (SELECT CONCAT_WS(' ', IFNULL(host, '-'), vm_state, IFNULL(task_state, '-'))
            FROM nova.instances WHERE display_name = '$1' AND deleted = 0 LIMIT 1);
        IF NOT state <=> last_state THEN
            SELECT CONCAT_WS(' ', $DATABASE_TIME, state);
            SET last_state = state;
        END IF;
        IF state LIKE '% active -' OR state LIKE '% error %' THEN LEAVE watching; END IF;"
}

# ---- the broker -------------------------------------------------------------------------------

broker() { in_root rabbitmq rabbitmqctl -q "$@"; }

# A process inside the broker looks every 10 ms whether the host's queue has a consumer, and keeps
# the moment until it is asked.
watch_consumer() {
    local answer
    answer=$(broker eval '
        Watch = fun Watch(0) -> never;
            Watch(Turns) ->
                Queue = rabbit_misc:r(<<"/">>, queue, <<"compute.'"$COMPUTE_HOST"'">>),
                Consumers = case rabbit_amqqueue:lookup(Queue) of
                    {ok, Found} -> rabbit_amqqueue:consumers(Found);
                    _ -> []
                end,
                case Consumers of
                    [] -> timer:sleep(10), Watch(Turns - 1);
                    _ -> os:system_time(microsecond)
                end
        end,
        catch exit(whereis(novalet_bench), kill),
        timer:sleep(10),
        register(novalet_bench, spawn(fun() ->
            Seen = Watch(12000),
            receive {tell, Who} -> Who ! {novalet_bench, Seen} after 120000 -> ok end
        end)),
        watching.')
    [[ $answer = watching ]] || fail "the broker does not watch: $answer"
}

consumer_time() { # seconds since 1970
    local time
    time=$(broker eval 'novalet_bench ! {tell, self()},
        receive {novalet_bench, Seen} -> Seen after 10000 -> never end.')
    [[ $time =~ ^[0-9]+$ ]] || fail "nobody consumes compute.$COMPUTE_HOST: $time"
    calculate 'time / 1000000' time="$time"
}

# The broker counts messages for each channel once it is told to; channels that are there already
# are not counted. Both agents log in as user "compute".
count_messages_of_new_channels() {
    broker eval 'Before = application:get_env(rabbit, collect_statistics, none),
        application:set_env(rabbit, collect_statistics, fine), Before.'
}
set_counting() { quietly broker eval "application:set_env(rabbit, collect_statistics, $1)."; }

message_counts() { # SENT RECEIVED, of the agent, since its channels were opened
    broker eval '
        Ours = sets:from_list([Channel || {Channel, About} <- ets:tab2list(channel_created),
            proplists:get_value(user, About) =:= <<"compute">>,
            proplists:get_value(vhost, About) =:= <<"/">>]),
        Sent = [element(2, Row) || Row <- ets:tab2list(channel_exchange_metrics),
            sets:is_element(element(1, element(1, Row)), Ours)],
        Received = [element(2, Row) + element(3, Row) + element(4, Row) + element(5, Row)
            || Row <- ets:tab2list(channel_queue_metrics),
            sets:is_element(element(1, element(1, Row)), Ours)],
        io_lib:format("~b ~b", [lists:sum(Sent), lists:sum(Received)]).' | tr -d '"'
}

# ---- the REST APIs ----------------------------------------------------------------------------

# The access logs do not say who asked; when nothing else happens, it is the agent, and Keystone's
# part are its logins and the services' questions about its tokens.
API_SERVICES=(keystone placement-api glance-api neutron-api nova-api)

request_count() { # of all API services, since their logs began
    local name
    for name in "${API_SERVICES[@]}"; do
        printf '%s %s\n' "$name" "$(grep -c '^\[pid: .*|req: ' "$LOG/$name.log" || true)"
    done
}
