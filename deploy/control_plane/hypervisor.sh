# This machine's libvirt: used when it runs, started when not.
# shellcheck shell=bash

on_libvirt() { virsh --quiet --connect "$LIBVIRT_URI" "$@"; }

# Where root may open /dev/kvm and libvirt's qemu user may not, libvirtd finds its knowledge of QEMU
# outdated at every use and asks QEMU anew: seconds for a query, most of a minute for a boot.
give_kvm_to_its_group() {
    [[ ! -e /dev/kvm ]] || ! getent group kvm >/dev/null || {
        chgrp kvm /dev/kvm
        chmod 660 /dev/kvm
    }
}

mount_huge_pages() { # libvirtd looks for them only when it starts
    [[ -d /dev/hugepages ]] || mkdir /dev/hugepages
    grep -q ' hugetlbfs ' /proc/mounts || mount -t hugetlbfs hugetlbfs /dev/hugepages || true
}

virtlogd_listens() { ss -Hxl | grep /libvirt/virtlogd-sock >/dev/null; }
libvirt_answers() { quietly on_libvirt version; }

start_libvirt() {
    give_kvm_to_its_group
    ! libvirt_answers || ! virtlogd_listens || return 0
    mount_huge_pages
    if [[ -d /run/systemd/system ]]; then
        systemctl start virtlogd.socket libvirtd.service
    else
        virtlogd_listens || launch virtlogd virtlogd
        wait_until 20 'virtlogd listens' virtlogd_listens
        libvirt_answers || launch libvirtd libvirtd
    fi
    wait_until 60 'libvirtd answers' libvirt_answers
}

stop_libvirt() { # only what start_libvirt started
    end libvirtd
    end virtlogd
}

demo_domains() { # names of the guests whose disks lie in the demo's folder
    local name
    libvirt_answers || return 0
    for name in $(on_libvirt list --all --name); do
        ! on_libvirt dumpxml "$name" | grep -F "'$INSTANCES/" >/dev/null || echo "$name"
    done
}

remove_guests() {
    local name
    for name in $(demo_domains); do
        quietly on_libvirt destroy "$name" || true
        on_libvirt undefine --nvram "$name" || on_libvirt undefine "$name"
    done
}

# ---- can guests use KVM here? -----------------------------------------------------------------

# /dev/kvm may exist and guests still not run (nested virtualization that is half there), so the
# demo's guest is tried once; the answer is kept.
choose_virt_type() {
    [[ ! -e $DEMO/virt_type ]] || return 0
    local type=${NOVALET_DEMO_VIRT_TYPE:-}
    if [[ -z $type ]]; then
        type=qemu
        ! guest_boots_under_kvm || type=kvm
    fi
    echo "$type" >"$DEMO/virt_type"
}

guest_boots_under_kvm() {
    [[ -w /dev/kvm ]] || return 1
    local console=$DEMO/guest/kvm-console
    timeout 15 qemu-system-x86_64 -accel kvm -cpu host -m 128 -display none -nodefaults \
        -no-reboot -serial "file:$console" -kernel "$DEMO/guest/vmlinuz" \
        -initrd "$DEMO/guest/initrd" -append 'console=ttyS0 quiet panic=-1 demo.probe=1' || true
    grep -q DEMO-GUEST-READY "$console"
}
