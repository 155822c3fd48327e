"""Time of nova.virt.hardware.numa_fit_instance_to_host for the questions of bench_numa, beside the
times of bench_numa itself. Objects are made before the clock starts. A question that takes longer
than the limit ends its kind."""
import json
import signal
import sys
import time


class TimeUp(Exception):
    pass


def time_up(_signal, _frame):
    raise TimeUp()


def microseconds(oracle, question, limit):
    arguments = {"limits": oracle.limits(question["limits"])}
    host, guest = oracle.host(question["host_topology"]), oracle.constraints(question)
    arguments["pci_requests"], arguments["pci_stats"] = oracle.pci(question["pci"])
    arguments["pci_stats"].numa_topology = host
    if oracle.has_mapping:
        arguments["provider_mapping"] = None
    signal.setitimer(signal.ITIMER_REAL, limit)
    begin = time.thread_time()
    try:
        oracle.hw.numa_fit_instance_to_host(host, guest, **arguments)
        return (time.thread_time() - begin) * 1e6
    except TimeUp:
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def main(oracle, lines, ours, limit):
    signal.signal(signal.SIGALRM, time_up)
    times, given_up = {}, set()
    for line in lines:
        line = json.loads(line)
        label = line["label"]
        if label in given_up:
            continue
        spent = microseconds(oracle, line["question"], limit)
        if spent is None:
            given_up.add(label)
        else:
            times.setdefault(label, []).append(spent)
    print("%-20s %14s %14s %10s" % ("p50", "novalet us", "nova us", "ratio"))
    for label in list(dict.fromkeys(list(times) + sorted(given_up))):
        if label in given_up:
            print("%-20s %14.2f %14s %10s" % (label, ours[label], "> %d" % (limit * 1e6),
                                              "> %d" % (limit * 1e6 / ours[label])))
            continue
        spent = sorted(times[label])[len(times[label]) // 2]
        print("%-20s %14.2f %14.0f %10.0f" % (label, ours[label], spent, spent / ours[label]))
