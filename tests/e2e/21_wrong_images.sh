#!/bin/bash
source "$(dirname "$0")/scenario.sh"
begin 'hostile and damaged images are refused with a reason, and none is given to a guest'

# Newer Glance looks into what is uploaded, so the bad file takes the place of a good one behind its
# back, with size and checksums as Glance would have noted them.
stored_as() { # stored_as FILE [wrong-checksum]: the file of the newest image becomes FILE
    local id=${MADE_IMAGES[-1]} store=$ROOT/var/lib/glance/images
    cat "$1" >"$store/$id"
    [[ ${2:-} != wrong-checksum ]] || return 0
    sql -e "UPDATE glance.images SET size = $(stat -c %s "$1"),
        checksum = '$(md5sum "$1" | cut -d' ' -f1)',
        os_hash_value = '$(sha512sum "$1" | cut -d' ' -f1)' WHERE id = '$id'"
}

refused() { # refused NAME FILE REGULAR-EXPRESSION [wrong-checksum]
    note "$1"
    local id
    made_image "e2e-$1-$$" "$DEMO/guest/disk.qcow2" qcow2
    stored_as "$2" "${4:-}"
    id=$(create_server "e2e-$1" "$FLAVOR" "$image")
    expect_error "$id" "$3"
    expect_owners
    delete_server "$id"
}

echo 'a secret of the host' >"$WORK/secret"
qemu-img create -q -f qcow2 -F raw -b "$WORK/secret" "$WORK/backing" 10M
refused backing-file "$WORK/backing" '[Bb]acking|unacceptable'

truncate -s 10M "$WORK/outside.raw"
qemu-img create -q -f qcow2 -o "data_file=$WORK/outside.raw,data_file_raw=on" "$WORK/data-file" 10M
refused data-file "$WORK/data-file" '[Dd]ata file|unacceptable'

# something else under the name qcow2
truncate -s 1M "$WORK/zeros"
refused not-qcow2 "$WORK/zeros" 'format|unacceptable'

# a download may go wrong on one host alone, so another is tried; the conductor's word is the last
damaged='[Cc]hecksum|[Hh]ash|[Cc]orrupt|[Ss]ize|bytes arrived|Exhausted all hosts'
head -c 3000000 "$DEMO/guest/disk.qcow2" >"$WORK/short"
refused cut-off "$WORK/short" "$damaged" wrong-checksum

cp "$DEMO/guest/disk.qcow2" "$WORK/flipped"
printf 'damaged' | dd of="$WORK/flipped" bs=1 seek=2000000 conv=notrunc status=none
refused wrong-checksum "$WORK/flipped" "$damaged" wrong-checksum

expect 'files of refused images in the cache' "$(grep -rlF 'a secret of the host' "$INSTANCES" || true)" ''
expect_empty
