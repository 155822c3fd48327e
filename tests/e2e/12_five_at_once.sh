#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'five servers at once, of an image that is not in the cache; one download serves them all'

cp "$DEMO/guest/disk.qcow2" "$WORK/image"
# other content: another image also for those who go by the checksum
qemu-img resize -q -f qcow2 "$WORK/image" 64M
made_image "e2e-fresh-$$" "$WORK/image" qcow2
before=$(grep -c "GET /v2/images/.*/file" "$LOG/glance-api.log" || true)
ids=()
for number in 1 2 3 4 5; do ids+=("$(create_server "e2e-five-$number" "$FLAVOR" "$image")"); done
for id in "${ids[@]}"; do wait_for_active "$id"; done
for id in "${ids[@]}"; do
    expect_running "$id"
    wait_until_ready "$id"
done
expect 'downloads of the image' \
    "$(($(grep -c "GET /v2/images/.*/file" "$LOG/glance-api.log") - before))" 1
for id in "${ids[@]}"; do api compute DELETE "/v2.1/servers/$id"; done
wait_until 120 'all are deleted' no_servers
expect_empty
