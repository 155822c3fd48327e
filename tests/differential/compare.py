"""novalet's answer against the oracle's. Every difference belongs to a class of README.md, or fails
the run. Input: question and answer in turn, one a line."""
import collections
import json
import sys

# Classes of differences that are meant, with the sections of README.md of the same name.
EXPECTED = ("own-text", "typed-error", "refused-nonsense", "all-shared-cell", "no-page-pools",
            "emulator-core", "empty-text")
# What Nova does otherwise than its own rules say; counted, for novalet follows the rules.
NOVAS_OWN = ("nova-memory-of-verdicts", "nova-older-rules", "nova-crash")


def plain_guest(document):
    if document is None:
        return None
    data = document["nova_object.data"]
    cells = []
    for cell in data["cells"]:
        cell = cell["nova_object.data"]
        cells.append({
            "id": cell["id"], "cpuset": cell["cpuset"], "pcpuset": cell["pcpuset"],
            "memory": cell["memory"], "pagesize": cell["pagesize"],
            "cpu_policy": cell["cpu_policy"], "thread_policy": cell["cpu_thread_policy"],
            "pins": cell["cpu_pinning_raw"] or {}, "reserved": cell["cpuset_reserved"] or []})
    return {"emulator": data["emulator_threads_policy"], "cells": cells}


def plain_host(document):
    return [{"id": c["id"], "cpu_usage": c["cpu_usage"], "memory_usage": c["memory_usage"],
             "pinned": c["pinned_cpus"],
             "pages": [[p["nova_object.data"][k] for k in ("size_kb", "total", "used", "reserved")]
                       for p in c["mempages"]]}
            for c in (cell["nova_object.data"] for cell in document["nova_object.data"]["cells"])]


def constraint_errors(ours, theirs):
    """Class of the difference of two errors, None for none, "" for one without a reason."""
    if ours["class"] == theirs["class"]:
        if ours["message"] == theirs["message"]:
            return None
        # the same sentence with both values behind it
        if ours["message"].startswith(theirs["message"].rstrip(".")):
            return "own-text"
        return ""
    if theirs["class"] in ("ValueError", "TypeError", "IndexError", "KeyError"):
        return "typed-error"
    return ""


def all_shared_cells(question, guest):
    """A mixed guest with a cell that has no pinned vCPU, and a policy that Nova refuses then."""
    extra = question["flavor"]["extra_specs"]
    return (any(cell["cpu_policy"] == "mixed" and not cell["pcpuset"] for cell in guest["cells"])
            and (any(cell["thread_policy"] in ("isolate", "require") for cell in guest["cells"]) or
                 extra.get("hw:emulator_threads_policy") == "isolate"))


def emulator_on_used_core(question, guest):
    """Policy isolate, and the emulator's CPU on a core of which somebody else has a thread."""
    hosts = {c["nova_object.data"]["id"]: c["nova_object.data"]
             for c in question["host_topology"]["nova_object.data"]["cells"]}
    for cell in guest["cells"] if guest else ():
        host = hosts[cell["id"]]
        for core in host["siblings"]:
            if cell["thread_policy"] == "isolate" and set(core) & set(cell["reserved"]) and \
                    set(core) & set(host["pinned_cpus"]):
                return True
    return False


def compare(question, ours, theirs, count):
    """Text of an unexpected difference, or None."""
    asked = theirs["constraints"]
    our_error = ours["error"] or {"class": None}
    refused_here = not ours["fits"] and our_error["class"] != "ComputeResourcesUnavailable"
    if "error" in asked:
        if not refused_here:
            if asked["error"] == {"class": "ValueError", "message": "Field value  is invalid"}:
                count["empty-text"] += 1
                return None
            return "Nova refuses the request, novalet does not"
        kind = constraint_errors(our_error, asked["error"])
        if kind == "":
            return "another error"
        count[kind or "same error"] += 1
        return None
    if refused_here:
        if our_error["class"] == "Invalid" and "libvirt" in our_error["message"] or \
                "numa_mem" in our_error["message"] or our_error["class"] == "MemoryPageSizeInvalid":
            count["refused-nonsense"] += 1
            return None
        return "novalet refuses the request, Nova does not"
    if asked["value"] is None:
        if not ours["fits"] or ours["topology"] is not None:
            return "no topology is asked, but novalet has one"
        count["same: no topology"] += 1
        return None
    return compare_fit(question, ours, theirs, count)


def compare_fit(question, ours, theirs, count):
    later = theirs["later"]
    if "error" in later:
        return "the oracle fails: %(class)s: %(message)s" % later["error"]
    topology = plain_guest(ours["topology"])
    if topology != later["value"]:
        if ours["fits"] and all_shared_cells(question, theirs["constraints"]["value"]):
            count["all-shared-cell"] += 1
            return None
        if emulator_on_used_core(question, later["value"]):
            count["emulator-core"] += 1
            return None
        return "another place" if ours["fits"] and later["value"] else \
            "novalet says %s, Nova's rules say %s" % (ours["fits"], later["value"] is not None)
    count["same: fits" if ours["fits"] else "same: does not fit"] += 1
    if theirs["own"] != later:
        count["nova-older-rules"] += 1
    original = theirs["original"]
    if "error" in original:
        count["nova-crash"] += 1
    elif original != theirs["own"]:
        if len(later["value"]["cells"] if later["value"] else theirs["constraints"]["value"]["cells"]) == 1 \
                and not symbolic_pages(question):
            return "Nova's own search differs from its own checks, for a guest of one cell"
        count["nova-memory-of-verdicts"] += 1
    if not ours["fits"]:
        if not ours["reasons"]:
            return "a refusal without reasons"
        return None
    used = theirs["usage"]
    if "error" in used:
        pools = [c["nova_object.data"]["mempages"]
                 for c in question["host_topology"]["nova_object.data"]["cells"]]
        if used["error"]["class"] == "IndexError" and [] in pools:
            count["no-page-pools"] += 1
            return None
        return "the oracle cannot count: %(class)s: %(message)s" % used["error"]
    if plain_host(ours["usage"]) != used["value"]:
        return "another usage: %s" % used["value"]
    count["same: usage"] += 1
    return None


def symbolic_pages(question):
    sizes = [question["flavor"]["extra_specs"].get("hw:mem_page_size"),
             question["image"]["properties"].get("hw_mem_page_size")]
    return any(size in ("small", "large", "any") for size in sizes)


def shown(question, ours, theirs):
    """Short enough to read; the whole question comes again from seed and number."""
    lines = []
    if theirs["constraints"].get("value") is not None:
        for cell in question["host_topology"]["nova_object.data"]["cells"][:4]:
            cell = cell["nova_object.data"]
            pages = [[p["nova_object.data"][k] for k in ("size_kb", "total", "used", "reserved")]
                     for p in cell["mempages"]]
            lines.append("host cell %s" % json.dumps(dict(
                cell, mempages=pages, network_metadata=cell["network_metadata"]["nova_object.data"])))
    for key in ("flavor", "image", "limits", "pci", "options"):
        lines.append("%s %s" % (key, json.dumps(question[key])))
    lines.append("novalet: %s %s %s" % (json.dumps(plain_guest(ours["topology"])), ours["reasons"],
                                        json.dumps(ours["error"])))
    for key in theirs:
        lines.append("nova, %s: %s" % (key, json.dumps(theirs[key])))
    return "".join("    %s\n" % line[:1500] for line in lines)


def main(oracle, lines, out, most_shown):
    count = collections.Counter()
    unexpected = 0
    for question_line in lines:
        question, ours = json.loads(question_line), json.loads(next(lines))
        theirs = oracle.answer(question)
        difference = compare(question, ours, theirs, count)
        count["cases"] += 1
        if difference is None:
            continue
        unexpected += 1
        if unexpected <= most_shown:
            out.write("DIFFERENCE in question %d: %s\n%s" % (
                count["cases"] - 1, difference, shown(question, ours, theirs)))
    for name in sorted(count):
        kind = "expected difference: " if name in EXPECTED else \
            "Nova against its own rules: " if name in NOVAS_OWN else ""
        out.write("%8d %s%s\n" % (count[name], kind, name))
    out.write("%8d unexpected differences\n" % unexpected)
    return 1 if unexpected else 0
