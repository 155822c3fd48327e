#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'a pool of huge pages follows the guests: minimum, spare, maximum, and back'

# A server of 128 MiB takes 64 pages. 70 are spare for the next one; 80 to 160 are allowed.
page_kib=2048 server_pages=64 min=80 max=160 spare=70
pages=/sys/devices/system/node/node0/hugepages/hugepages-${page_kib}kB
pool_before=$(<$pages/nr_hugepages)
give_pool_back() { echo "$pool_before" >$pages/nr_hugepages; }
AT_END+=(give_pool_back)

resize_pool() { # resize_pool PAGES
    echo "$1" >$pages/nr_hugepages
    expect 'the pool that the kernel made' "$(<$pages/nr_hugepages)" "$1"
}
pages_in_use() { echo "$(($(<$pages/nr_hugepages) - $(<$pages/free_hugepages)))"; }
pool_is() { [[ $(<$pages/nr_hugepages) = "$1" ]]; }
recorded() { # recorded SIZE-KIB FIELD: of cell 0 in the compute node's record
    sql -e "SELECT numa_topology FROM nova.compute_nodes WHERE host = '$COMPUTE_HOST' AND
        deleted = 0" | jq -r --argjson size "$1" --arg field "$2" '.["nova_object.data"].cells[]
            ["nova_object.data"] | select(.id == 0).mempages[]["nova_object.data"] |
            select(.size_kb == $size)[$field]'
}
record_says() { [[ $(recorded $page_kib total),$(recorded $page_kib used) = "$1,$2" ]]; }
pool_and_record() { # pool_and_record TEXT TOTAL USED
    wait_until 60 "$1: the pool has $2 pages" pool_is "$2"
    wait_until 60 "$1: the record has $2 pages, $3 used" record_says "$2" "$3"
    # what is in the pool is no small page any more
    expect "$1: small and huge pages of the record in KiB" \
        "$(($(recorded 4 total) * 4 + $2 * page_kib))" "$memory_kib"
    expect "$1: memory in Placement" "$(memory_inventory)" "$inventory"
}
memory_inventory() {
    api placement GET "/resource_providers/$(provider_id)/inventories" |
        jq -c '.inventories.MEMORY_MB | {total, reserved}'
}
changes_told() { # FROM-TO of each change that the log tells since the scenario began
    tail -n +"$((log_start + 1))" "$LOG/$AGENT.log" | grep -F 'pool of huge pages changed' |
        sed -E 's/.*from=([0-9]+) .*now=([0-9]+) .*/\1-\2/' | xargs
}

resize_pool $max # the memory is there in one piece
resize_pool 0
memory_kib=$(($(recorded 4 total) * 4 + $(recorded $page_kib total) * page_kib))
inventory=$(memory_inventory)

configure_agent <<EOF
compute:
  huge_page_pools: [{node: 0, size: 2 MiB, min: $min, max: $max, spare: $spare}]
intervals:
  update_resources: 2 s
  periodic_fuzzy_delay: 0 s
EOF
pool_and_record 'without a server' $min 0

made_flavor "e2e-pool-$$" 1 128 1
give_flavor hw:mem_page_size 2MB
first=$(create_server e2e-pool-1 "$flavor")
wait_for_active "$first"
expect 'huge pages in use' "$(pages_in_use)" $server_pages
pool_and_record 'the spare is kept' $((server_pages + spare)) $server_pages

second=$(create_server e2e-pool-2 "$flavor")
wait_for_active "$second"
expect 'huge pages in use' "$(pages_in_use)" $((2 * server_pages))
pool_and_record 'never more than the maximum' $max $((2 * server_pages))

third=$(create_server e2e-pool-3 "$flavor")
expect_error "$third" "needs $server_pages 2 MiB pages, $((max - 2 * server_pages)) of $max free"
delete_server "$third"

delete_server "$first"
pool_and_record 'one guest that goes does not move the pool' $max $server_pages
expect_running "$second"

delete_server "$second"
pool_and_record 'back to the minimum' $min 0
expect 'huge pages in use' "$(pages_in_use)" 0
expect 'the changes that the log tells' "$(changes_told)" \
    "0-$min $min-$((server_pages + spare)) $((server_pages + spare))-$max $max-$min"

# Below what is used it never goes: the operator allows less while a guest runs.
third=$(create_server e2e-pool-4 "$flavor")
wait_for_active "$third"
pool_and_record 'one guest again' $((server_pages + spare)) $server_pages
configure_agent <<EOF
compute:
  huge_page_pools: [{node: 0, size: 2 MiB, max: 10}]
intervals:
  update_resources: 2 s
  periodic_fuzzy_delay: 0 s
EOF
pool_and_record 'a maximum below what is used' $server_pages $server_pages
expect_running "$third"
delete_server "$third"
pool_and_record 'nothing is used, nothing is kept' 0 0
expect_empty
