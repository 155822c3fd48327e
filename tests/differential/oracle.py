"""What Debian's nova.virt.hardware says to a question.

Its search over host cells keeps verdicts under ids that it overwrites meanwhile, so for guests of
several cells its own answer is not to be trusted. `sound` is the same search without that memory:
every selection of cells in the same order, Nova's own check of one guest cell on one host cell, on
fresh copies. `rules` says which release's memory and mixed-guest rules hold: "own" are those of the
package, "later" those of 2025.1, which novalet uses on every release; on older packages they are
put in front of Nova's check by overriding what it reads from the host cell.
"""
import copy
import inspect
import itertools
import logging


class Oracle:
    def __init__(self):
        import nova.conf
        from nova import exception, objects
        objects.register_all()
        from nova.pci import stats
        from nova.virt import hardware
        self.conf = nova.conf.CONF
        self.conf([], project="nova", default_config_files=[])
        self.conf.set_override("device_spec", [], group="pci")
        logging.disable(logging.CRITICAL)
        self.exception, self.objects, self.stats, self.hw = exception, objects, stats, hardware
        fit = inspect.signature(hardware.numa_fit_instance_to_host)
        self.has_mapping = "provider_mapping" in fit.parameters
        self.has_own_later_rules = self.has_mapping
        self._patch_host_cells()

    def _patch_host_cells(self):
        host_cell = self.objects.NUMACell
        can_fit_pagesize = host_cell.can_fit_pagesize

        class Ordered(set):
            """CPUs in ascending order, not in the order of CPython's hash slots."""

            def __iter__(self):
                return iter(sorted(set.__iter__(self)))

        def free_siblings(cell):
            return [Ordered(s & cell.free_pcpus) for s in cell.siblings]

        def avail_memory(cell):
            if cell.pinned_guest and cell.mempages:
                return cell.memory
            return cell.memory - cell.memory_usage

        def can_fit(cell, pagesize, memory, use_free=True):
            return can_fit_pagesize(cell, pagesize, memory,
                                    use_free=use_free or cell.pinned_guest)

        host_cell.pinned_guest = False
        host_cell.free_siblings = property(free_siblings)
        host_cell.avail_memory = property(avail_memory)
        host_cell.can_fit_pagesize = can_fit

    # ---- objects anew for each call: Nova's functions change what they are given ----

    def host(self, document):
        if document is None:
            return None
        objects = self.objects
        cells = []
        for cell in document["nova_object.data"]["cells"]:
            data = cell["nova_object.data"]
            network = data["network_metadata"]["nova_object.data"]
            cells.append(objects.NUMACell(
                id=data["id"], cpuset=set(data["cpuset"]), pcpuset=set(data["pcpuset"]),
                memory=data["memory"], cpu_usage=data["cpu_usage"],
                memory_usage=data["memory_usage"], pinned_cpus=set(data["pinned_cpus"]),
                siblings=[set(s) for s in data["siblings"]], socket=data["socket"],
                mempages=[objects.NUMAPagesTopology(**p["nova_object.data"])
                          for p in data["mempages"]],
                network_metadata=objects.NetworkMetadata(
                    physnets=set(network["physnets"]), tunneled=network["tunneled"])))
        return objects.NUMATopology(cells=cells)

    def limits(self, document):
        if document is None:
            return None
        out = self.objects.NUMATopologyLimits(
            cpu_allocation_ratio=document["cpu_allocation_ratio"],
            ram_allocation_ratio=document["ram_allocation_ratio"])
        if document.get("network_metadata"):
            network = document["network_metadata"]
            out.network_metadata = self.objects.NetworkMetadata(
                physnets=set(network["physnets"]), tunneled=network["tunneled"])
        return out

    def pci(self, document):
        if document is None:
            return None, None
        requests = [self.objects.InstancePCIRequest(request_id=None, requester_id=None, **request)
                    for request in document["requests"]]
        pools = self.stats.PciDeviceStats(self.objects.NUMATopology(cells=[]), dev_filter=None)
        pools.pools = copy.deepcopy(document["pools"])
        return requests, pools

    def constraints(self, question):
        flavor = question["flavor"]
        flavor = self.objects.Flavor(
            name="f", vcpus=flavor["vcpus"], memory_mb=flavor["memory_mb"], root_gb=1,
            ephemeral_gb=0, swap=0, extra_specs=dict(flavor["extra_specs"]))
        properties = self.objects.ImageMetaProps.from_dict(dict(question["image"]["properties"]))
        image = self.objects.ImageMeta(id="5a8bb6a8-5d5b-4b3b-9f6e-000000000000", name="i",
                                       properties=properties)
        return self.hw.numa_get_constraints(flavor, image)

    # ---- the searches ----

    def original(self, question):
        requests, pools = self.pci(question["pci"])
        arguments = {"limits": self.limits(question["limits"]), "pci_requests": requests,
                     "pci_stats": pools}
        if pools is not None:
            pools.numa_topology = self.host(question["host_topology"])
        if self.has_mapping:
            arguments["provider_mapping"] = None
        return self.hw.numa_fit_instance_to_host(
            self.host(question["host_topology"]), self.constraints(question), **arguments)

    def order(self, host, guest, packing, requests, pools):
        """Host cells, the preferred ones first."""
        cells = list(host.cells)
        if len(cells) <= len(guest.cells):
            return cells
        sign = -1 if packing else 1
        if guest.cells[0].cpu_policy in (None, "shared"):
            def cpus(c): return sign * c.cpu_usage
        else:
            def cpus(c): return -sign * len(c.free_pcpus)

        def devices(c):
            if not pools:
                return 0
            count = sum(p["count"] for p in pools.pools if p["numa_node"] == c.id)
            return -count if requests else count

        return sorted(cells, key=lambda c: (devices(c), cpus(c), -sign * c.avail_memory))

    def one_cell(self, host_cell, guest_cell, limits, reserved, rules):
        """Nova's check on copies; None when it does not fit."""
        host_cell, guest_cell = copy.deepcopy(host_cell), copy.deepcopy(guest_cell)
        policy = guest_cell.cpu_policy
        later = rules == "later" and not self.has_own_later_rules
        all_shared = policy == "mixed" and not guest_cell.pcpuset
        if later:
            host_cell.pinned_guest = policy in ("dedicated", "mixed")
        # an all-shared cell of a mixed guest: checked as the shared cell it is
        if all_shared and later:
            if guest_cell.cpu_thread_policy == "isolate" or reserved:
                return None
            if not self.small_pages_free(host_cell, guest_cell):
                return None
            guest_cell.cpu_policy = "shared"
        try:
            placed = self.hw._numa_fit_instance_cell(host_cell, guest_cell, limits, reserved)
        except self.exception.MemoryPageSizeNotSupported:
            return None
        if placed is not None and all_shared and later:
            placed.cpu_policy, placed.cpu_pinning = "mixed", {}
        return placed

    def small_pages_free(self, host_cell, guest_cell):
        if guest_cell.pagesize:
            return True
        if not host_cell.mempages:
            return guest_cell.memory <= host_cell.avail_memory
        smallest = min(p.size_kb for p in host_cell.mempages)
        return host_cell.can_fit_pagesize(smallest, guest_cell.memory * 1024)

    def sound(self, question, rules):
        host, guest = self.host(question["host_topology"]), self.constraints(question)
        if len(host.cells) < len(guest.cells):
            return None
        limits = self.limits(question["limits"])
        requests, pools = self.pci(question["pci"])
        if pools is not None:
            pools.numa_topology = host
        known = {}

        def fitted(host_cell, index):
            if (host_cell.id, index) not in known:
                reserved = int(guest.emulator_threads_isolated and index == 0)
                known[host_cell.id, index] = self.one_cell(
                    host_cell, guest.cells[index], limits, reserved, rules)
            return known[host_cell.id, index]

        packing = question["options"]["packing"]
        for selection in itertools.permutations(
                self.order(host, guest, packing, requests, pools), len(guest.cells)):
            cells = [fitted(h, i) for i, h in enumerate(selection)]
            if any(c is None for c in cells):
                continue
            if requests and not self.devices_there(pools, requests, cells):
                continue
            if limits and "network_metadata" in limits and \
                    not self.hw._numa_cells_support_network_metadata(
                        host, list(selection), limits.network_metadata):
                continue
            return self.objects.InstanceNUMATopology(
                cells=copy.deepcopy(cells),
                emulator_threads_policy=guest.emulator_threads_policy)
        return None

    def devices_there(self, pools, requests, cells):
        if self.has_mapping:
            return pools.support_requests(requests, None, cells)
        return pools.support_requests(requests, cells)

    def usage(self, question, fitted):
        return self.hw.numa_usage_from_instance_numa(
            self.host(question["host_topology"]), copy.deepcopy(fitted))

    # ---- plain documents ----

    def plain_guest(self, topology):
        if topology is None:
            return None
        return {"emulator": topology.emulator_threads_policy, "cells": [
            {"id": c.id, "cpuset": sorted(c.cpuset), "pcpuset": sorted(c.pcpuset),
             "memory": c.memory, "pagesize": c.pagesize or None, "cpu_policy": c.cpu_policy,
             "thread_policy": c.cpu_thread_policy,
             "pins": {str(k): v for k, v in (c.cpu_pinning or {}).items()},
             "reserved": sorted(c.cpuset_reserved or ())} for c in topology.cells]}

    def plain_host(self, topology):
        return [{"id": c.id, "cpu_usage": c.cpu_usage, "memory_usage": c.memory_usage,
                 "pinned": sorted(c.pinned_cpus),
                 "pages": [[p.size_kb, p.total, p.used, p.reserved] for p in c.mempages]}
                for c in topology.cells]

    def ask(self, call, *arguments):
        """{"error"} or {"value"}"""
        try:
            return {"value": call(*arguments)}
        except Exception as error:  # whatever class it is, it is the answer
            return {"error": {"class": type(error).__name__, "message": str(error)}}

    def answer(self, question):
        self.conf.set_override("packing_host_numa_cells_allocation_strategy",
                               question["options"]["packing"], group="compute")
        asked = self.ask(self.constraints, question)
        if "error" in asked:
            return {"constraints": asked}
        if asked["value"] is None or question["host_topology"] is None:
            return {"constraints": {"value": None}}
        out = {"constraints": {"value": self.plain_guest(asked["value"])}}
        for name, call in (("original", lambda: self.original(question)),
                           ("own", lambda: self.sound(question, "own")),
                           ("later", lambda: self.sound(question, "later"))):
            found = self.ask(call)
            out[name] = found if "error" in found else {"value": self.plain_guest(found["value"])}
            if name == "later" and found.get("value") is not None:
                used = self.ask(self.usage, question, found["value"])
                out["usage"] = used if "error" in used else {"value": self.plain_host(used["value"])}
        return out
