#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'root, ephemeral and swap disks and a config drive arrive in the guest'

made_flavor "e2e-disks-$$" 1 128 1 1 64
id=$(create_server e2e-disks "$flavor" "$IMAGE" '' "$(jq -n '{config_drive: true,
    metadata: {purpose: "end to end"}, user_data: ("#!/bin/sh\necho E2E-USER-DATA-RAN\n" | @base64)}')")
wait_for_active "$id"
wait_until 120 'the user data ran' console_shows "$id" E2E-USER-DATA-RAN
console=$(console_of "$id")
expect_match 'root disk' "$console" 'DEMO-GUEST-DISK vda 1024 MiB'
expect_match 'ephemeral disk' "$console" 'DEMO-GUEST-DISK vdb 1024 MiB'
expect_match 'swap' "$console" 'DEMO-GUEST-DISK vdc 64 MiB'
expect_match 'config drive' "$console" "DEMO-GUEST-CONFIG-DRIVE .*\"uuid\": ?\"$id\""
expect_match 'metadata' "$console" '"purpose": ?"end to end"'
expect 'allocation' "$(api placement GET "/allocations/$id" | jq -c --sort-keys '.allocations[].resources')" \
    '{"DISK_GB":3,"MEMORY_MB":128,"VCPU":1}'
delete_server "$id"
expect_empty
