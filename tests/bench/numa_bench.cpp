// Time of one fit, p50 and p99, feasible and not, for several shapes of host and guest with 64 CPUs
// (32 cores of two threads) a cell, everything on: pinning, huge pages, limits, PCI, networks. The
// same by brute force (every selection of host cells in turn, each pair checked anew), and the
// ledger with 500 guests.
// usage: bench_numa [ROUNDS]           the table
//        bench_numa --questions COUNT  COUNT questions a kind, a line of JSON each, for
//        tests/bench/numa
#include "agent/core/text.hpp"
#include "scheduler_hooks/claims/ledger.hpp"
#include "scheduler_hooks/numa/fit.hpp"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <map>
#include <random>

namespace {

using namespace novalet;
using namespace novalet::scheduler_hooks;

struct Setting {
    model::HostTopology host;
    model::GuestTopology guest;
    model::NumaLimits limits;
    std::vector<model::PciRequest> requests;
    std::vector<model::PciPool> pools;
};

enum class Kind { Feasible, NoRoom, NoDevice, NoNetwork };

model::HostCell host_cell(unsigned index, std::mt19937& engine) {
    model::HostCell cell;
    cell.id = static_cast<int>(index);
    cell.socket = static_cast<int>(index / 4);
    const unsigned base = index * 64;
    for (unsigned core = 0; core < 32; ++core) {
        cell.siblings.push_back({base + core, base + core + 32});
        cell.pcpuset |= cell.siblings.back();
    }
    for (int taken = 0; taken < 24; ++taken)
        cell.pinned_cpus.insert(base + static_cast<unsigned>(engine() % 64U));
    cell.memory_mib = 262144;
    cell.memory_usage = static_cast<std::int64_t>(engine() % 65536);
    cell.mempages = {{4, 33554432, 0, 0}, {2048, 65536, 1024, 0}, {1048576, 64, 3, 0}};
    cell.network.physnets.insert(cat("net", index));
    return cell;
}

Setting make(unsigned hosts, unsigned guests, Kind kind, std::mt19937& engine) {
    Setting out;
    for (unsigned i = 0; i < hosts; ++i) {
        out.host.cells.push_back(host_cell(i, engine));
        out.pools.push_back({1, static_cast<int>(i), {{"vendor_id", "8086"}}});
    }
    for (unsigned i = 0; i < guests; ++i) {
        model::GuestCell cell;
        cell.id = static_cast<int>(i);
        cell.pcpuset = model::CpuSet::range(i * 16, i * 16 + 15);
        cell.memory_mib = 16384;
        cell.page_size_kib = model::page_size_large;
        cell.cpu_policy = model::CpuPolicy::Dedicated;
        cell.thread_policy = model::ThreadPolicy::Prefer;
        if (kind == Kind::NoRoom && i + 1 == guests)
            cell.pcpuset = model::CpuSet::range(i * 16, i * 16 + 63);
        out.guest.cells.push_back(cell);
    }
    out.guest.emulator_policy = model::EmulatorPolicy::Isolate;
    // More devices than the guest's cells can have near them, or just one.
    const std::int64_t devices = kind == Kind::NoDevice ? guests + 1 : 1;
    out.requests.push_back(
        {devices, {{{"vendor_id", "8086"}}}, model::PciNumaPolicy::Required, "dev", ""});
    out.limits.network.emplace();
    out.limits.network->physnets.insert("net0");
    if (kind == Kind::NoNetwork)
        for (unsigned i = 0; i <= guests && i < hosts; ++i)
            out.limits.network->physnets.insert(cat("net", i));
    return out;
}

/// CPU time of this thread: what others do on the machine does not count.
std::int64_t own_nanoseconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * std::int64_t{1000000000} + now.tv_nsec;
}

struct Shape {
    unsigned hosts;
    unsigned guests;
};
constexpr Shape shapes[] = {{2, 1}, {2, 2}, {8, 4}, {16, 6}, {16, 8}};
constexpr unsigned variants = 20;

std::vector<std::pair<Kind, const char*>> kinds_of(Shape shape) {
    std::vector<std::pair<Kind, const char*>> out{
        {Kind::Feasible, "feasible"}, {Kind::NoRoom, "no CPUs"}, {Kind::NoDevice, "no devices"}};
    if (shape.hosts > shape.guests)
        out.emplace_back(Kind::NoNetwork, "no network");
    return out;
}

std::string label(Shape shape, const char* kind) {
    return cat(shape.hosts, '/', shape.guests, ' ', kind);
}

struct Times {
    std::vector<std::int64_t> nanoseconds;

    [[nodiscard]] double microseconds(std::size_t percent) {
        std::sort(nanoseconds.begin(), nanoseconds.end());
        return static_cast<double>(nanoseconds[(nanoseconds.size() - 1) * percent / 100]) / 1000.0;
    }
    void print(const std::string& name, const char* remark) {
        std::printf("%-20s %-8s p50 %9.2f us  p99 %9.2f us  max %9.2f us\n",
                    name.c_str(),
                    remark,
                    microseconds(50),
                    microseconds(99),
                    microseconds(100));
    }
};

numa::FitInput input_of(const Setting& setting, const numa::HostCounts& counts) {
    return {setting.host,
            setting.guest,
            &setting.limits,
            &setting.requests,
            &setting.pools,
            nullptr,
            {},
            &counts};
}

void run_fit(Shape shape, Kind kind, const char* name, unsigned rounds) {
    std::mt19937 engine(shape.hosts * 100 + shape.guests);
    Times times;
    std::size_t fitted = 0;
    for (unsigned variant = 0; variant < variants; ++variant) {
        const Setting setting = make(shape.hosts, shape.guests, kind, engine);
        const auto counts = numa::count_host(setting.host);
        for (unsigned i = 0; i < rounds / variants; ++i) {
            const std::int64_t begin = own_nanoseconds();
            const auto result = numa::fit_quietly(input_of(setting, counts));
            times.nanoseconds.push_back(own_nanoseconds() - begin);
            fitted += result ? 1U : 0U;
        }
    }
    times.print(label(shape, name),
                fitted == times.nanoseconds.size() ? "fits"
                : fitted == 0                      ? "refused"
                                                   : "both");
}

/// Is one guest cell possible on one host cell, by itself?
bool pair_alone(const Setting& setting, std::size_t host, std::size_t guest) {
    model::HostTopology one;
    one.cells.push_back(setting.host.cells[host]);
    model::GuestTopology cell;
    cell.cells.push_back(setting.guest.cells[guest]);
    if (guest == 0)
        cell.emulator_policy = setting.guest.emulator_policy;
    model::NumaLimits limits = setting.limits;
    limits.network.reset();
    return numa::fit_quietly({one, cell, &limits, nullptr, nullptr, nullptr, {}, nullptr})
        .has_value();
}

/// Every ordered selection of host cells, no memory of verdicts; PCI and networks are left out, so
/// this is a lower bound. False: the time was up.
bool brute(const Setting& setting,
           std::int64_t until,
           std::vector<std::size_t>& chosen,
           bool& found) {
    const std::size_t guest = chosen.size();
    if (guest == setting.guest.cells.size())
        return found = true;
    for (std::size_t host = 0; host < setting.host.cells.size() && !found; ++host) {
        if (own_nanoseconds() > until)
            return false;
        if (std::find(chosen.begin(), chosen.end(), host) != chosen.end() ||
            !pair_alone(setting, host, guest))
            continue;
        chosen.push_back(host);
        if (!brute(setting, until, chosen, found))
            return false;
        chosen.pop_back();
    }
    return true;
}

void run_brute(Shape shape) {
    constexpr std::int64_t limit = 2'000'000'000;
    std::mt19937 engine(shape.hosts * 100 + shape.guests);
    const Setting setting = make(shape.hosts, shape.guests, Kind::NoRoom, engine);
    std::vector<std::size_t> chosen;
    bool found = false;
    const std::int64_t begin = own_nanoseconds();
    const bool done = brute(setting, begin + limit, chosen, found);
    const double spent = static_cast<double>(own_nanoseconds() - begin) / 1000.0;
    std::printf("%-20s brute force, no CPUs: %s%.0f us\n",
                cat(shape.hosts, '/', shape.guests).c_str(),
                done ? "" : "more than ",
                spent);
}

InstanceUuid instance_of(unsigned number) {
    char text[40];
    std::snprintf(text, sizeof text, "00000000-0000-4000-8000-%012u", number);
    return InstanceUuid(text);
}

void run_ledger(unsigned rounds) {
    std::mt19937 engine(7);
    claims::HostCapacity capacity;
    capacity.topology = make(16, 1, Kind::Feasible, engine).host;
    claims::Ledger ledger(capacity);
    claims::ClaimRequest request;
    request.amounts = {1, 256, 1, 0, 0};
    request.topology.emplace();
    model::GuestCell cell;
    cell.pcpuset = {0};
    cell.memory_mib = 256;
    cell.page_size_kib = 2048;
    cell.cpu_policy = model::CpuPolicy::Dedicated;
    request.topology->cells.push_back(cell);
    std::vector<claims::Record> records;
    for (unsigned i = 0; i < 500; ++i) {
        request.instance = instance_of(i);
        const auto claim = ledger.claim(request);
        if (!claim) {
            std::printf("guest %u does not fit: %s\n", i, claim.error().text.c_str());
            return;
        }
        ledger.mark_started(request.instance);
        records.push_back({claim->instance, {}, claim->amounts, claim->state, claim->topology});
    }
    std::map<const char*, Times> times;
    const auto timed = [&](const char* name, auto&& verb) {
        const std::int64_t begin = own_nanoseconds();
        verb();
        times[name].nanoseconds.push_back(own_nanoseconds() - begin);
    };
    request.instance = instance_of(1000);
    for (unsigned i = 0; i < rounds; ++i) {
        timed("test", [&] { (void)ledger.test(request); });
        timed("claim", [&] { (void)ledger.claim(request); });
        timed("drop", [&] { ledger.drop(request.instance); });
        if (i % 50 != 0)
            continue;
        timed("snapshot", [&] { const claims::Ledger copy = ledger; });
        timed("usage", [&] { (void)ledger.usage(); });
        timed("reconcile", [&] { ledger.reconcile(records, ledger.revision()); });
    }
    for (auto& [name, series] : times)
        series.print(cat("ledger ", name), "500");
}

Json question_of(const Setting& setting) {
    Json extra = Json::object();
    std::int64_t memory = 0;
    unsigned vcpus = 0;
    for (std::size_t i = 0; i < setting.guest.cells.size(); ++i) {
        const model::GuestCell& cell = setting.guest.cells[i];
        extra.set(cat("hw:numa_cpus.", i), cell.pcpuset.str());
        extra.set(cat("hw:numa_mem.", i), cat(cell.memory_mib));
        memory += cell.memory_mib;
        vcpus += static_cast<unsigned>(cell.pcpuset.size());
    }
    extra.set("hw:numa_nodes", cat(setting.guest.cells.size()));
    extra.set("hw:cpu_policy", "dedicated");
    extra.set("hw:cpu_thread_policy", "prefer");
    extra.set("hw:mem_page_size", "large");
    extra.set("hw:emulator_threads_policy", "isolate");
    Json flavor = Json::object();
    flavor.set("vcpus", vcpus);
    flavor.set("memory_mb", memory);
    flavor.set("extra_specs", std::move(extra));
    Json limits = Json::object();
    limits.set("cpu_allocation_ratio", setting.limits.cpu_allocation_ratio);
    limits.set("ram_allocation_ratio", setting.limits.ram_allocation_ratio);
    limits.set("network_metadata", model::to_json(*setting.limits.network)["nova_object.data"]);
    Json request = Json::object();
    request.set("count", setting.requests[0].count);
    request.set("alias_name", "dev");
    request.set("numa_policy", "required");
    Json spec = Json::object();
    spec.set("vendor_id", "8086");
    request.set("spec", Json::Array{spec});
    Json pools = Json::array();
    for (const model::PciPool& pool : setting.pools) {
        Json one = Json::object();
        one.set("count", pool.count);
        one.set("numa_node", *pool.numa_node);
        one.set("vendor_id", "8086");
        one.set("product_id", "1");
        one.set("dev_type", "type-PCI");
        pools.push_back(std::move(one));
    }
    Json pci = Json::object();
    pci.set("requests", Json::Array{request});
    pci.set("pools", std::move(pools));
    Json image = Json::object();
    image.set("properties", Json::object());
    Json options = Json::object();
    options.set("packing", false);
    Json out = Json::object();
    out.set("host_topology", model::to_json(setting.host));
    out.set("flavor", std::move(flavor));
    out.set("image", std::move(image));
    out.set("limits", std::move(limits));
    out.set("pci", std::move(pci));
    out.set("options", std::move(options));
    return out;
}

void print_questions(unsigned count) {
    for (const Shape shape : shapes)
        for (const auto& [kind, name] : kinds_of(shape)) {
            std::mt19937 engine(shape.hosts * 100 + shape.guests);
            for (unsigned i = 0; i < count; ++i) {
                Json line = Json::object();
                line.set("label", label(shape, name));
                line.set("question", question_of(make(shape.hosts, shape.guests, kind, engine)));
                std::printf("%s\n", line.dump().c_str());
            }
        }
}

} // namespace

int main(int argc, char** argv) {
    if (argc == 3 && std::string_view(argv[1]) == "--questions") {
        print_questions(to_number<unsigned>(argv[2]).value_or(variants));
        return 0;
    }
    const unsigned rounds =
        std::max(variants, argc > 1 ? to_number<unsigned>(argv[1]).value_or(0) : 10000U);
    for (const Shape shape : shapes)
        for (const auto& [kind, name] : kinds_of(shape))
            run_fit(shape, kind, name, rounds);
    for (const Shape shape : shapes)
        run_brute(shape);
    run_ledger(rounds);
    return 0;
}
