# The Debian root the control plane lives in, so that the host stays clean.
# shellcheck shell=bash

packages_of() { # packages_of LIST: the names in packages/LIST
    sed -e 's/#.*//' "$PIECES/packages/$1"
}

apt_sources() { # this machine's own Debian mirrors, as sources.list lines
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v s="$SUITE" '$3 == "main" && ($2 == s || $2 == s "-updates" || $2 == s "-security") {
            print "deb", $1, $2, $3 }' | sort -u
}

apt_network_options() { # proxies and the like; index targets are the root's own matter
    apt-config dump | grep -E '^Acquire::(https?::|Check-|Retries|ForceIPv)' || true
}

bootstrap_root() {
    local sources=()
    mapfile -t sources < <(apt_sources)
    if [[ ${#sources[@]} -eq 0 ]]; then
        # some images come without package lists
        apt-get -q update
        mapfile -t sources < <(apt_sources)
    fi
    [[ ${#sources[@]} -gt 0 ]] ||
        fail "apt knows no mirror of Debian $SUITE: add one to /etc/apt, run apt-get update"
    apt_network_options >"$DEMO/apt.conf"
    # what an interrupted earlier attempt left; nothing is mounted below yet
    forget_mounts
    remove_tree "$ROOT"
    mmdebstrap --quiet --variant=apt --include=ca-certificates,eatmydata,python3 \
        --aptopt="$DEMO/apt.conf" --aptopt='APT::Install-Recommends "false"' \
        --aptopt='Acquire::Languages "none"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt=force-unsafe-io \
        "$SUITE" "$ROOT" "${sources[@]}"
    # packages must not start their services: deploy/demo does
    printf '#!/bin/sh\nexit 101\n' >"$ROOT/usr/sbin/policy-rc.d"
    chmod 755 "$ROOT/usr/sbin/policy-rc.d"
    install -m 644 /etc/hosts "$ROOT/etc/hosts"
}

install_in_root() { # install_in_root LIST
    local names
    names=$(packages_of "$1")
    in_root root eatmydata apt-get -q update
    # shellcheck disable=SC2086 # a list of words
    in_root root env DEBIAN_FRONTEND=noninteractive eatmydata \
        apt-get -q -y --no-install-recommends install $names
}

# ---- entering it ------------------------------------------------------------------------------

id_in_root() { chroot "$ROOT" id "$@"; }

in_root() { # in_root USER COMMAND…: nothing of the caller's environment goes along
    local user=$1 home
    shift
    home=$(awk -F: -v u="$user" '$1 == u {print $6}' "$ROOT/etc/passwd")
    chroot --userspec="$user:$(id_in_root -g "$user")" \
        --groups="$(id_in_root -G "$user" | tr ' ' ,)" "$ROOT" \
        env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        LANG=C.UTF-8 HOME="$home" "$@"
}

# ---- mounts -----------------------------------------------------------------------------------

mount_once() { # mount_once TARGET MOUNT-ARGUMENTS…
    local target=$1
    shift
    mkdir -p "$target"
    mountpoint -q "$target" || mount "$@" "$target"
}

mount_root() {
    # "ip netns exec" makes / a slave mount, so the root has to be a mount point itself
    mount_once "$ROOT" --bind "$ROOT"
    mount_once "$ROOT/proc" -t proc proc
    mount_once "$ROOT/sys" --rbind --make-rslave /sys
    mount_devices
    mount_once "$ROOT/run" -t tmpfs -o mode=755 tmpfs
    mkdir -p "$ROOT/run/lock" "$INSTANCES" /run/libvirt
    chmod 1777 "$ROOT/run/lock"
    mount_once "$ROOT/run/libvirt" --bind /run/libvirt
    mount_once "$ROOT$INSTANCES" --bind "$INSTANCES"
}

is_mounted() { mountpoint -q "$ROOT/proc"; }

mount_devices() {
    # Nodes of our own: packages inside would change the owner of the host's /dev/kvm.
    mountpoint -q "$ROOT/dev" && return
    mount_once "$ROOT/dev" -t tmpfs -o mode=755 tmpfs
    local node
    while read -r node major minor mode; do
        mknod -m "$mode" "$ROOT/dev/$node" c "$major" "$minor"
    done <<'NODES'
null 1 3 666
zero 1 5 666
full 1 7 666
random 1 8 666
urandom 1 9 666
tty 5 0 666
ptmx 5 2 666
NODES
    ln -s /proc/self/fd "$ROOT/dev/fd"
    # nova-compute reads guests' consoles from the host's pseudo terminals
    mount_once "$ROOT/dev/pts" --bind /dev/pts
    mount_once "$ROOT/dev/shm" -t tmpfs -o mode=1777 tmpfs
}

mounts_below() { # mounts_below FOLDER: mount points at or under it, the deepest first
    awk -v r="$1" '$5 == r || index($5, r "/") == 1 {print $5}' /proc/self/mountinfo | sort -r
}

forget_mounts() {
    local target
    mounts_below "$ROOT" | while read -r target; do umount -l "$target"; done
}

remove_tree() { # rm -rf that never reaches through a mount into somebody else's files
    local inside
    inside=$(mounts_below "$1")
    [[ -z $inside ]] || fail "$1 is not removed: still mounted: ${inside//$'\n'/, }"
    rm -rf --one-file-system "$1"
}
