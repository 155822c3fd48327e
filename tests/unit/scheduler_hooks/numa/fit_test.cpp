// The fit cases of reference 08 §10 (31 and following).
#include "scheduler_hooks/numa/fit.hpp"

#include "agent/core/text.hpp"
#include "scheduler_hooks/numa/explain.hpp"
#include "scheduler_hooks/numa/usage.hpp"

#include <gtest/gtest.h>

namespace novalet::scheduler_hooks::numa {
namespace {

using namespace model;

HostCell threaded_cell(unsigned cores, unsigned threads) {
    HostCell cell;
    cell.memory_mib = 4096;
    for (unsigned core = 0; core < cores; ++core) {
        CpuSet siblings;
        for (unsigned thread = 0; thread < threads; ++thread)
            siblings.insert(core + thread * cores);
        cell.siblings.push_back(siblings);
        cell.pcpuset |= siblings;
    }
    return cell;
}

GuestTopology pinned_guest(unsigned vcpus, std::optional<ThreadPolicy> policy = {}) {
    GuestCell cell;
    cell.pcpuset = CpuSet::range(0, vcpus - 1);
    cell.memory_mib = 512;
    cell.cpu_policy = CpuPolicy::Dedicated;
    cell.thread_policy = policy;
    return {{cell}, {}, {}, {}};
}

GuestCell shared_cell(unsigned vcpus, std::int64_t memory) {
    GuestCell cell;
    cell.cpuset = CpuSet::range(0, vcpus - 1);
    cell.memory_mib = memory;
    return cell;
}

/// "0,4,1 r5" in the order of vCPUs, or "none".
std::string pins(const HostTopology& host, const GuestTopology& guest) {
    const auto fitted = fit_quietly({host, guest, nullptr, nullptr, nullptr, nullptr, {}});
    if (!fitted)
        return "none";
    std::vector<std::string> cpus;
    for (const CpuPin& pin : *fitted->cells[0].pins)
        cpus.push_back(cat(pin.cpu));
    const auto& reserved = fitted->cells[0].reserved;
    return join(cpus, ",") + (reserved ? " r" + reserved->str() : "");
}

TEST(Fit, PacksOntoEmptierCoresFirst) {
    HostTopology host{{threaded_cell(4, 2)}};
    EXPECT_EQ(pins(host, pinned_guest(1)), "0");
    EXPECT_EQ(pins(host, pinned_guest(3)), "0,4,1");
    EXPECT_EQ(pins(host, pinned_guest(8, ThreadPolicy::Require)), "0,4,1,5,2,6,3,7");
    EXPECT_EQ(pins(host, pinned_guest(2, ThreadPolicy::Isolate)), "none");
    host.cells[0].pinned_cpus = {0};
    EXPECT_EQ(pins(host, pinned_guest(2)), "1,5");
    host.cells[0].pinned_cpus = {0, 1, 2, 3};
    EXPECT_EQ(pins(host, pinned_guest(4)), "4,5,6,7");
    EXPECT_EQ(pins(host, pinned_guest(2, ThreadPolicy::Require)), "none");
    host.cells[0].pinned_cpus = {0, 1, 2, 4, 5};
    EXPECT_EQ(pins(host, pinned_guest(3)), "6,3,7");
    EXPECT_EQ(pins(host, pinned_guest(2, ThreadPolicy::Require)), "3,7");
    EXPECT_EQ(pins(host, pinned_guest(3, ThreadPolicy::Require)), "none");
}

TEST(Fit, IsolatedEmulatorThreads) {
    HostTopology host{{threaded_cell(4, 2)}};
    const auto guest = [](unsigned vcpus) {
        GuestTopology out = pinned_guest(vcpus);
        out.emulator_policy = EmulatorPolicy::Isolate;
        return out;
    };
    EXPECT_EQ(pins(host, guest(2)), "0,4 r1");
    EXPECT_EQ(pins(host, guest(3)), "0,4,1 r5");
    EXPECT_EQ(pins(host, guest(7)), "0,4,1,5,2,6,3 r7");
    EXPECT_EQ(pins(host, guest(8)), "none");
}

TEST(Fit, IsolateOnLegacyHost_BlocksSiblings) {
    HostTopology host{{threaded_cell(4, 2)}};
    host.cells[0].cpuset = host.cells[0].pcpuset;
    GuestTopology guest = pinned_guest(3, ThreadPolicy::Isolate);
    EXPECT_EQ(pins(host, guest), "0,1,2");
    guest.emulator_policy = EmulatorPolicy::Isolate;
    EXPECT_EQ(pins(host, guest), "0,1,2 r3");
    const auto fitted = fit_quietly({host, guest, nullptr, nullptr, nullptr, nullptr, {}});
    ASSERT_TRUE(add_usage(host, *fitted));
    EXPECT_EQ(host.cells[0].pinned_cpus.str(), "0-7");
}

TEST(Fit, FourThreadsACore) {
    HostCell cell = threaded_cell(0, 1);
    for (unsigned core = 0; core < 4; ++core) {
        cell.siblings.push_back(CpuSet::range(core * 4, core * 4 + 3));
        cell.pcpuset |= cell.siblings.back();
    }
    cell.pinned_cpus = {0, 1, 4};
    HostTopology host{{cell}};
    EXPECT_EQ(pins(host, pinned_guest(6)), "8,9,10,11,12,13");
    EXPECT_EQ(pins(host, pinned_guest(9)), "5,6,7,8,9,10,12,13,14");
    EXPECT_EQ(pins(host, pinned_guest(12, ThreadPolicy::Require)), "none");
    EXPECT_EQ(pins(host, pinned_guest(13)), "2,3,5,6,7,8,9,10,11,12,13,14,15");
}

TEST(Fit, FindsWhatTheReferenceMisses) {
    const auto cell = [](int id, unsigned cpus, std::int64_t memory) {
        HostCell out;
        out.id = id;
        const auto first = static_cast<unsigned>(id) * 10;
        out.cpuset = CpuSet::range(first, first + cpus - 1);
        out.memory_mib = memory;
        return out;
    };
    const HostTopology host{{cell(0, 1, 4096), cell(1, 3, 4096), cell(2, 3, 1024)}};
    const GuestTopology guest{{shared_cell(2, 1024), shared_cell(3, 4096)}, {}, {}, {}};
    const auto fitted = fit_quietly({host, guest, nullptr, nullptr, nullptr, nullptr, {}});
    ASSERT_TRUE(fitted);
    EXPECT_EQ(fitted->cells[0].id, 2);
    EXPECT_EQ(fitted->cells[1].id, 1);
    const HostTopology narrow{{cell(0, 3, 1024), cell(1, 1, 1024), cell(2, 1, 2048)}};
    const GuestTopology wide{
        {shared_cell(1, 1024), shared_cell(1, 512), shared_cell(4, 4096)}, {}, {}, {}};
    const FitResult refused = fit({narrow, wide, nullptr, nullptr, nullptr, nullptr, {}});
    ASSERT_FALSE(refused.topology);
    EXPECT_NE(join(refused.refusal->lines(), "\n")
                  .find("guest cell 2 on host cell 0: needs 4096 MiB, 1024 of 1024 there; needs 4 "
                        "shared CPUs, has 3"),
              std::string::npos)
        << join(refused.refusal->lines(), "\n");
}

TEST(Fit, PagesAreTheLargestThatDivideAndAreFree) {
    HostCell cell = threaded_cell(4, 1);
    cell.cpuset = CpuSet::range(8, 15);
    cell.memory_mib = 8192;
    cell.mempages = {{4, 262144, 0, 0}, {2048, 512, 0, 0}, {1048576, 2, 0, 0}};
    const HostTopology host{{cell}};
    const auto size = [&](std::int64_t request,
                          std::int64_t memory,
                          const std::vector<KernelPages>* kernel = nullptr) -> std::int64_t {
        GuestTopology guest{{shared_cell(1, memory)}, {}, {}, {}};
        guest.cells[0].page_size_kib = request;
        const auto fitted = fit_quietly({host, guest, nullptr, nullptr, nullptr, kernel, {}});
        return fitted ? fitted->cells[0].page_size_kib : -99;
    };
    EXPECT_EQ(size(page_size_large, 1024), 1048576);
    EXPECT_EQ(size(page_size_large, 512), 2048);
    EXPECT_EQ(size(page_size_large, 3072), -99);
    EXPECT_EQ(size(page_size_large, 513), -99);
    EXPECT_EQ(size(page_size_any, 513), 4);
    EXPECT_EQ(size(page_size_any, 512), 2048);
    EXPECT_EQ(size(16384, 512), -99);
    EXPECT_EQ(size(1048576, 1536), -99);
    // The kernel's own count is believed when it is lower than the books.
    const std::vector<KernelPages> kernel{{0, 2048, 100}};
    EXPECT_EQ(size(2048, 512, &kernel), -99);
    EXPECT_EQ(size(2048, 200, &kernel), 2048);
}

TEST(Fit, RefusalSaysNumbers) {
    HostCell cell = threaded_cell(4, 1);
    cell.pinned_cpus = {0};
    cell.mempages = {{4, 1048576, 0, 0}, {2048, 1024, 512, 0}};
    GuestTopology guest = pinned_guest(4);
    guest.cells[0].memory_mib = 1200;
    guest.cells[0].page_size_kib = 2048;
    const HostTopology host{{cell}};
    const FitResult result = fit({host, guest, nullptr, nullptr, nullptr, nullptr, {}});
    ASSERT_TRUE(result.refusal);
    EXPECT_EQ(result.refusal->summary,
              "guest cell 0 on host cell 0: needs 600 2 MiB pages, 512 of 1024 free; needs 4 "
              "dedicated CPUs, 3 of 4 free");
}

TEST(Fit, RefusalNamesTheHostCellsThatAreTooFew) {
    const auto shortage = [](std::vector<std::int64_t> host_mib, std::size_t guest_cells) {
        HostTopology host;
        for (const std::int64_t memory : host_mib) {
            HostCell cell;
            cell.id = static_cast<int>(host.cells.size());
            cell.cpuset = CpuSet::range(0, 3);
            cell.memory_mib = memory;
            host.cells.push_back(cell);
        }
        GuestTopology guest;
        guest.cells.assign(guest_cells, shared_cell(1, 1024));
        const FitResult result = fit({host, guest, nullptr, nullptr, nullptr, nullptr, {}});
        return result.refusal ? join(result.refusal->general, "\n") : "fits";
    };
    EXPECT_EQ(shortage({512, 512, 4096}, 2),
              "guest cells 0, 1 fit only host cell 2, which takes one");
    EXPECT_EQ(shortage({4096, 512, 4096}, 3),
              "guest cells 0, 1, 2 fit only host cells 0, 2, one each");
    EXPECT_EQ(shortage({4096, 512, 4096}, 2), "fits");
}

TEST(Fit, RefusalNamesPagesThatAreNotThere) {
    const auto reason = [](std::vector<PagePool> pools, std::int64_t page_size) {
        HostCell cell = threaded_cell(4, 1);
        cell.mempages = std::move(pools);
        GuestTopology guest = pinned_guest(1);
        guest.cells[0].page_size_kib = page_size;
        const HostTopology host{{cell}};
        const FitResult result = fit({host, guest, nullptr, nullptr, nullptr, nullptr, {}});
        return result.refusal ? result.refusal->cells.at(0).text : "fits";
    };
    EXPECT_EQ(reason({{4, 1048576, 0, 0}}, 2048), "has no 2 MiB pages");
    EXPECT_EQ(reason({{4, 1048576, 0, 0}}, page_size_large), "has no large pages");
    EXPECT_EQ(reason({{4, 1048576, 0, 0}}, page_size_any), "fits");
    EXPECT_EQ(reason({}, page_size_any), "has no page pools");
}

TEST(Fit, LimitsCountOnlyForSharedGuests) {
    HostCell cell;
    cell.cpuset = {0, 1};
    cell.memory_mib = 4096;
    cell.cpu_usage = 30;
    HostTopology host{{cell}};
    const GuestTopology guest{{shared_cell(2, 512)}, {}, {}, {}};
    NumaLimits limits;
    limits.cpu_allocation_ratio = 16.0;
    limits.ram_allocation_ratio = 1.5;
    const auto fits = [&](const NumaLimits* given) {
        return fit_quietly({host, guest, given, nullptr, nullptr, nullptr, {}}).has_value();
    };
    EXPECT_TRUE(fits(&limits));
    host.cells[0].cpu_usage = 31;
    EXPECT_FALSE(fits(&limits));
    EXPECT_TRUE(fits(nullptr));
    host.cells[0].cpu_usage = 0;
    host.cells[0].memory_usage = 5800;
    EXPECT_FALSE(fits(&limits));
}

TEST(Explain, AnswersOneLineForEachLine) {
    const std::string host = to_json(HostTopology{{threaded_cell(4, 2)}}).dump();
    const std::string yes = explain_line(
        cat("{\"host_topology\":",
            host,
            ",\"flavor\":{\"vcpus\":2,\"memory_mb\":512,\"extra_specs\":{\"hw:cpu_policy\":"
            "\"dedicated\"}},\"image\":{\"properties\":{}},\"limits\":null,\"pci\":null,"
            "\"options\":{\"packing\":false}}"));
    const auto fitted = Json::parse(yes);
    ASSERT_TRUE(fitted);
    EXPECT_TRUE((*fitted)["fits"].as_bool());
    const auto topology = guest_topology_from_json((*fitted)["topology"]);
    ASSERT_TRUE(topology && *topology);
    EXPECT_EQ((*topology)->cells[0].taken_cpus().str(), "0,4");
    const auto usage = host_topology_from_json((*fitted)["usage"]);
    ASSERT_TRUE(usage);
    EXPECT_EQ(usage->cells[0].pinned_cpus.str(), "0,4");
    const auto refused = Json::parse(explain_line(
        cat("{\"host_topology\":",
            host,
            ",\"flavor\":{\"vcpus\":9,\"memory_mb\":900,\"extra_specs\":{\"hw:cpu_policy\":"
            "\"dedicated\"}},\"options\":{\"largest\":true}}")));
    ASSERT_TRUE(refused);
    EXPECT_FALSE((*refused)["fits"].as_bool(true));
    EXPECT_EQ((*refused)["error"]["class"].as_string(), "ComputeResourcesUnavailable");
    EXPECT_EQ((*refused)["largest"]["vcpus"].as_int(), 8);
    EXPECT_EQ((*refused)["largest"]["memory_mb"].as_int(), 800);
    const auto rubbish = Json::parse(explain_line("{"));
    ASSERT_TRUE(rubbish);
    EXPECT_EQ((*rubbish)["error"]["class"].as_string(), "InvalidInput");
}

} // namespace
} // namespace novalet::scheduler_hooks::numa
