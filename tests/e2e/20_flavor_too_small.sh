#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'an image that needs more disk than the flavor has is refused, and the reason says so'

cp "$DEMO/guest/disk.qcow2" "$WORK/image"
qemu-img resize -q -f qcow2 "$WORK/image" 2G
made_image "e2e-large-$$" "$WORK/image" qcow2
id=$(create_server e2e-small "$FLAVOR" "$image")
expect_error "$id" 'disk is too small'
expect_owners
delete_server "$id"
expect_empty
