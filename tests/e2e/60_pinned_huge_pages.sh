#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'a dedicated CPU and 2 MB pages: claimed, really given, refused with numbers, given back'

pages=/sys/kernel/mm/hugepages/hugepages-2048kB
pool_before=$(<$pages/nr_hugepages)
give_pool_back() { echo "$pool_before" >$pages/nr_hugepages; }
AT_END+=(give_pool_back)
echo 100 >$pages/nr_hugepages
expect 'the pool that the kernel made' "$(<$pages/nr_hugepages)" 100
free_pages() { cat $pages/free_hugepages; }
inventory_of() { # inventory_of CLASS FIELD
    api placement GET "/resource_providers/$(provider_id)/inventories" |
        jq -r ".inventories.$1.$2 // 0"
}
usage_of() { # usage_of CLASS
    api placement GET "/resource_providers/$(provider_id)/usages" | jq -r ".usages.$1 // 0"
}

configure_agent <<EOF
compute:
  cpu_shared_set: "0"
  cpu_dedicated_set: "1"
  reserved_host_memory: 512
EOF
has_a_dedicated_cpu() { [[ $(inventory_of PCPU total) = 1 ]]; }
wait_until 20 'the inventory follows the configuration' has_a_dedicated_cpu
expect 'VCPU inventory' "$(inventory_of VCPU total)" 1

made_flavor "e2e-pinned-$$" 1 128 1
give_flavor hw:cpu_policy dedicated hw:mem_page_size 2MB
id=$(create_server e2e-pinned "$flavor")
wait_for_active "$id"
wait_until_ready "$id"
expect 'huge pages that are in use' "$(($(<$pages/nr_hugepages) - $(free_pages)))" 64
expect 'PCPU usage' "$(usage_of PCPU)" 1
expect 'VCPU usage' "$(usage_of VCPU)" 0
pid=$(qemu_pid "$id")
vcpu=$(grep -l 'CPU 0/' /proc/"$pid"/task/*/comm | head -n 1)
expect 'the CPU of the vCPU thread' \
    "$(sed -n 's/^Cpus_allowed_list:\t//p' "${vcpu%/comm}/status")" 1
expect_match 'the memory of the guest' "$(cat /proc/"$pid"/numa_maps)" 'huge .*dirty=64'

made_flavor "e2e-large-pages-$$" 1 128 1
give_flavor hw:mem_page_size 2MB
second=$(create_server e2e-no-pages "$flavor")
expect_error "$second" '2048 KiB|2 ?MiB|2048'
expect_match 'the reason in numbers' "$(fault_of "$second")" '36'
delete_server "$second"

delete_server "$id"
expect 'huge pages that are in use after the delete' \
    "$(($(<$pages/nr_hugepages) - $(free_pages)))" 0
expect 'PCPU usage after the delete' "$(usage_of PCPU)" 0
expect_empty
