"""Random questions for `novalet explain --batch`, one a line.

Two kinds, in turn: small crowded hosts with sensible guests (the fit), and a roomy host with
arbitrary extra specs and image properties (the constraints).
"""
import json
import random

PAGE_REQUESTS = ["small", "large", "any", "2MB", "2048", "1GB", "4", "16384", "1.5MB", "2048Kb"]
JUNK = ["", "0", "-1", "x", " 2 ", "2M", "1G", "Large", "1-0", "^0", "3-1", "prefered", "Share"]


def envelope(name, version, data):
    return {"nova_object.name": name, "nova_object.namespace": "nova",
            "nova_object.version": version, "nova_object.data": data,
            "nova_object.changes": sorted(data)}


def pool(size_kb, total, used=0, reserved=0):
    return envelope("NUMAPagesTopology", "1.1",
                    {"size_kb": size_kb, "total": total, "used": used, "reserved": reserved})


def cell(dice, number, cores, threads, sets):
    """`sets`: legacy (one set for all), shared, dedicated, split or uneven."""
    base = number * cores * threads
    siblings = [[base + core + thread * cores for thread in range(threads)]
                for core in range(cores)]
    shared, dedicated = set(), set()
    for core in siblings:
        kind = dice.choice(["shared", "dedicated"]) if sets == "split" else sets
        for cpu in core:
            one = dice.choice(["shared", "dedicated", "none"]) if sets == "uneven" else kind
            if one in ("shared", "legacy"):
                shared.add(cpu)
            if one in ("dedicated", "legacy"):
                dedicated.add(cpu)
    ours = shared | dedicated
    siblings = [sorted(set(core) & ours) for core in siblings if set(core) & ours]
    taken = dice.choice([0, 0, 0.15, 0.3])
    pinned = {cpu for cpu in dedicated if dice.random() < taken}
    huge_2m, huge_1g = dice.choice([(0, 0), (256, 0), (512, 0), (128, 1), (512, 2)])
    memory = dice.choice([1024, 2048, 4096]) + huge_2m * 2 + huge_1g * 1024
    mempages = []
    if dice.random() < 0.8:
        small = (memory - huge_2m * 2 - huge_1g * 1024) * 256
        mempages.append(pool(4, small, dice.choice([0, small // 2, small // 2, small]),
                             dice.choice([0, 0, 1024])))
        mempages.append(pool(2048, huge_2m, dice.choice([0, huge_2m // 2, huge_2m]),
                             dice.choice([0, 0, 16])))
        if dice.random() < 0.5:
            mempages.append(pool(1048576, huge_1g, dice.choice([0, huge_1g]), 0))
    return envelope("NUMACell", "1.5", {
        "id": number, "cpuset": sorted(shared), "pcpuset": sorted(dedicated), "memory": memory,
        "cpu_usage": dice.randrange(0, 9) if shared else 0,
        "memory_usage": dice.choice([0, 0, 256, 512, 1024]), "pinned_cpus": sorted(pinned),
        "siblings": siblings, "socket": dice.choice([number // 2, number // 2, None]),
        "mempages": mempages,
        "network_metadata": envelope("NetworkMetadata", "1.0", {
            "physnets": sorted(dice.sample(["a", "b", "c"], dice.choice([0, 0, 1, 2]))),
            "tunneled": dice.random() < 0.3})})


def crowded_host(dice):
    cores, threads = dice.choice([(2, 1), (4, 1), (6, 1), (2, 2), (4, 2), (6, 2), (2, 4), (4, 4)])
    sets = dice.choice(["legacy", "shared", "dedicated", "dedicated", "split", "split", "uneven"])
    cells = [cell(dice, number, cores, threads, sets)
             for number in range(dice.choice([1, 1, 2, 2, 3, 4]))]
    # sibling sets are never empty on a host that runs guests
    cells = [c for c in cells if c["nova_object.data"]["siblings"]]
    return envelope("NUMATopology", "1.2", {"cells": cells}) if cells else None


def roomy_host(dice):
    cells = []
    for number in range(8):
        base = number * 64
        siblings = [[base + i, base + i + 32] for i in range(32)]
        cells.append(envelope("NUMACell", "1.5", {
            "id": number, "cpuset": list(range(base, base + 64)),
            "pcpuset": list(range(base, base + 64)), "memory": 1 << 20, "cpu_usage": 0,
            "memory_usage": number * 16, "pinned_cpus": [], "siblings": siblings, "socket": number,
            "mempages": [pool(4, 1 << 26), pool(2048, 1 << 17), pool(1048576, 256)],
            "network_metadata": envelope("NetworkMetadata", "1.0",
                                         {"physnets": [], "tunneled": False})}))
    return envelope("NUMATopology", "1.2", {"cells": cells})


def mask(dice, vcpus):
    first = dice.randrange(vcpus)
    last = dice.randrange(first, vcpus)
    return dice.choice(["%d-%d" % (first, last), "^%d" % first, "%d" % last,
                        "%d,^%d" % (first, last)])


def sensible_guest(dice, host):
    """Most such guests have a chance: no more cells than the host, few CPUs, whole pages."""
    there = len(host["nova_object.data"]["cells"]) if host else 1
    nodes = dice.randrange(1, there + 1) if dice.random() < 0.95 else dice.randrange(1, 5)
    vcpus = nodes * dice.choice([1, 1, 1, 1, 2, 2, 3, 4])
    memory = nodes * dice.choice([16, 32, 64, 64, 128, 128, 256, 512, 513, 1024, 1025, 2048])
    extra = {}
    if nodes > 1 or dice.random() < 0.5:
        extra["hw:numa_nodes"] = str(nodes)
    policies = [None, "shared", "dedicated", "dedicated", "dedicated", "mixed"]
    if host and dice.random() < 0.8:
        cells = [c["nova_object.data"] for c in host["nova_object.data"]["cells"]]
        if not any(c["pcpuset"] for c in cells):
            policies = [None, "shared"]
        elif not any(c["cpuset"] for c in cells):
            policies = ["dedicated"]
    policy = dice.choice(policies)
    if policy == "mixed" and vcpus > 1:
        extra["hw:cpu_dedicated_mask"] = mask(dice, vcpus)
    if policy and (policy != "mixed" or vcpus > 1):
        extra["hw:cpu_policy"] = policy
    if policy in ("dedicated", "mixed"):
        if dice.random() < 0.6:
            extra["hw:cpu_thread_policy"] = dice.choice(["prefer", "isolate", "require"])
        if dice.random() < 0.3:
            extra["hw:emulator_threads_policy"] = dice.choice(["isolate", "share"])
    if dice.random() < 0.4:
        extra["hw:mem_page_size"] = dice.choice(
            PAGE_REQUESTS if dice.random() < 0.4 else ["small", "large", "any", "2MB"])
    if nodes == 2 and vcpus > 2 and dice.random() < 0.3:
        cut = dice.randrange(1, vcpus)
        part = dice.randrange(1, memory)
        extra.update({"hw:numa_cpus.0": "0-%d" % (cut - 1) if cut > 1 else "0",
                      "hw:numa_cpus.1": "%d-%d" % (cut, vcpus - 1) if cut < vcpus - 1 else str(cut),
                      "hw:numa_mem.0": str(part), "hw:numa_mem.1": str(memory - part)})
    return {"vcpus": vcpus, "memory_mb": memory, "extra_specs": extra}, {"properties": {}}


def arbitrary_guest(dice):
    vcpus = dice.choice([1, 2, 2, 4, 4, 4, 6])
    memory = dice.choice([256, 512, 1024, 2048, 2049])
    values = {
        "numa_nodes": ["1", "2", "2", "3"], "mem_page_size": PAGE_REQUESTS,
        "cpu_policy": ["shared", "dedicated", "mixed"],
        "cpu_thread_policy": ["prefer", "isolate", "require"],
        "cpu_realtime_mask": [mask(dice, vcpus)],
        "locked_memory": ["true", "false", "yes", "junk"],
        "numa_cpus.0": ["0", "0-1", mask(dice, vcpus)],
        "numa_cpus.1": ["1", "2-3", "1-3", mask(dice, vcpus)],
        "numa_mem.0": [str(memory // 2), "512"], "numa_mem.1": [str(memory - memory // 2), "512"],
    }
    flavor_only = {
        "emulator_threads_policy": ["share", "isolate"], "cpu_realtime": ["true", "no"],
        "cpu_dedicated_mask": [mask(dice, vcpus)], "pmem": ["6GB", " , "],
    }
    extra, properties = {}, {}
    for key in dice.sample(sorted(values) + sorted(flavor_only), dice.randrange(0, 7)):
        choices = values.get(key) or flavor_only[key]
        value = dice.choice(JUNK) if dice.random() < 0.07 else dice.choice(choices)
        if key in flavor_only or dice.random() < 0.65:
            extra["hw:" + key] = value
        if key in values and dice.random() < 0.35:
            properties["hw_" + key] = dice.choice(choices)
    if "hw:numa_cpus.0" in extra and dice.random() < 0.8:
        extra.update({"hw:numa_nodes": "2", "hw:numa_mem.0": str(memory // 2),
                      "hw:numa_mem.1": str(memory - memory // 2)})
        extra.setdefault("hw:numa_cpus.1", mask(dice, vcpus))
    if dice.random() < 0.1:
        key = dice.choice(["resources:PCPU", "resources1:PCPU", "resources:VCPU", "resources:PCPUX",
                           "resources01:PCPU"])
        extra[key] = dice.choice([str(vcpus), str(vcpus + 1), "x", "0"])
    if dice.random() < 0.1:
        extra["trait:HW_CPU_HYPERTHREADING"] = dice.choice(["required", "forbidden", "x"])
    if dice.random() < 0.05:
        properties["trait:HW_CPU_HYPERTHREADING"] = "required"
    return {"vcpus": vcpus, "memory_mb": memory, "extra_specs": extra}, {"properties": properties}


def side_conditions(dice, host):
    """limits and pci"""
    limits = pci = None
    if dice.random() < 0.5:
        limits = {"cpu_allocation_ratio": dice.choice([1.0, 1.5, 2.0, 4.0, 16.0]),
                  "ram_allocation_ratio": dice.choice([1.0, 1.2, 1.5])}
        if dice.random() < 0.4:
            limits["network_metadata"] = {
                "physnets": sorted(dice.sample(["a", "b", "c", "d"], dice.choice([0, 1, 1, 2]))),
                "tunneled": dice.random() < 0.3}
    if dice.random() < 0.3:
        requests = [{"count": dice.choice([1, 1, 2]), "alias_name": "a",
                     "numa_policy": dice.choice(["legacy", "required", "preferred", "socket"]),
                     "spec": [{"vendor_id": dice.choice(["8086", "15b3"]), "product_id": "1"}]}
                    for _ in range(dice.choice([1, 1, 2]))]
        nodes = [None] + [c["nova_object.data"]["id"] for c in host["nova_object.data"]["cells"]]
        places = [(vendor, node) for vendor in ("8086", "15b3") for node in nodes]
        pools = [{"count": dice.choice([1, 2, 3]), "numa_node": node, "vendor_id": vendor,
                  "product_id": "1", "dev_type": "type-PCI"}
                 for vendor, node in dice.sample(places, min(len(places), dice.randrange(1, 4)))]
        pci = {"requests": requests, "pools": pools}
    return limits, pci


def question(dice, number):
    """The question with this number of a sequence."""
    limits = pci = None
    if number % 4 == 3:
        host = roomy_host(dice)
        flavor, image = arbitrary_guest(dice)
    else:
        host = crowded_host(dice)
        flavor, image = sensible_guest(dice, host)
        if host is not None:
            limits, pci = side_conditions(dice, host)
    return {"host_topology": host, "flavor": flavor, "image": image, "limits": limits, "pci": pci,
            "options": {"packing": dice.random() < 0.5}}


def generate(out, seed, first, count):
    for number in range(first, first + count):
        dice = random.Random("%s/%d" % (seed, number))
        out.write(json.dumps(question(dice, number), separators=(",", ":")) + "\n")
