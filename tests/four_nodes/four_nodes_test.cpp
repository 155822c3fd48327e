// A pinned guest on huge pages in a host with four NUMA nodes: read, fitted, claimed, started,
// checked against the kernel, refused when full, given back. The host is the one that
// tests/four_nodes/run and inside make; on any other the first test says so.
#include "agent/app/options.hpp"
#include "agent/core/file.hpp"
#include "agent/core/process.hpp"
#include "agent/core/text.hpp"
#include "agent/tasks/books/host_books.hpp"
#include "config/load/load.hpp"
#include "hypervisor/libvirt/libvirt_hypervisor.hpp"
#include "hypervisor/topology/page_pools.hpp"
#include "hypervisor/topology/placement_check.hpp"
#include "hypervisor/topology/sysfs_cells.hpp"
#include "scheduler_hooks/claims/ledger.hpp"
#include "scheduler_hooks/numa/constraints.hpp"
#include "tests/support/guest_builder.hpp"

#include <condition_variable>
#include <cstdlib>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <iostream>
#include <linux/mempolicy.h>
#include <mutex>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace novalet {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;
namespace fs = std::filesystem;
namespace claims = scheduler_hooks::claims;
namespace model = scheduler_hooks::model;
namespace numa = scheduler_hooks::numa;
namespace topology = hypervisor::topology;
using model::CpuSet;

constexpr std::uint64_t huge_kib = 2048;
constexpr std::int64_t pools[] = {80, 80, 20, 80}; // by node, as `inside` fills them
constexpr std::int64_t pages_of_a_guest_cell = 64;
constexpr const char* config_file = "/etc/novalet/novalet.yaml";
// Two levels of emulation on a busy machine: only a guest that does not come at all is a failure.
constexpr Seconds patience{1800};

constexpr const char* disk_id = "00000000-0000-4000-8000-000000000001";
constexpr const char* kernel_id = "00000000-0000-4000-8000-000000000002";
constexpr const char* ramdisk_id = "00000000-0000-4000-8000-000000000003";

/// Folder with what `run` brought along; empty where somebody else started this program.
fs::path brought() {
    const char* const folder = std::getenv("NOVALET_FOUR_NODES");
    return folder == nullptr ? fs::path() : fs::path(folder);
}

template <class T> T must(Result<T> result, const char* what) {
    if (!result)
        throw std::runtime_error(cat(what, ": ", result.error().text));
    return std::move(*result);
}

/// Glance with an empty disk, a kernel and a ramdisk.
class BroughtImages : public hypervisor::ImageSource {
  public:
    Result<void> fetch(const ImageId& image, int fd) override {
        std::string content(1U << 20U, '\0');
        if (image.str() != disk_id) {
            NOVALET_ASSIGN(
                content,
                read_file(brought() / (image.str() == kernel_id ? "inner-vmlinuz" : "inner-initrd"),
                          256U << 20U));
        }
        for (std::size_t at = 0; at < content.size();) {
            const ssize_t written = write(fd, content.data() + at, content.size() - at);
            if (written <= 0)
                return fail(Code::ResourceExhausted, cat("image ", image.str(), ": disk full"));
            at += static_cast<std::size_t>(written);
        }
        return {};
    }
    Result<std::string> disk_format(const ImageId& /*image*/) override {
        return std::string("raw");
    }
};

hypervisor::GuestSpec pinned_guest() {
    auto guest = tests::golden_guest();
    guest.uuid = InstanceUuid(new_uuid());
    guest.name = "pinned-" + guest.uuid.str().substr(0, 8);
    guest.flavor.name = "pinned";
    guest.flavor.vcpus = 4;
    guest.flavor.memory_mib = 256;
    guest.flavor.extra_specs = {
        {"hw:numa_nodes", "2"}, {"hw:cpu_policy", "dedicated"}, {"hw:mem_page_size", "2MB"}};
    guest.image.id = disk_id;
    guest.image.disk_format = "raw";
    guest.image.properties["os_command_line"] =
        "console=ttyS0 quiet mitigations=off nowatchdog no_timer_check panic=-1";
    guest.kernel_id = kernel_id;
    guest.ramdisk_id = ramdisk_id;
    guest.disks[0].size_bytes = 2U << 20U;
    guest.interfaces.clear();
    guest.config_drive.reset();
    return guest;
}

/// The same guest as `novalet explain --flavor` reads it.
std::string flavor_document(const hypervisor::GuestSpec& guest) {
    Json extra = Json::object();
    for (const auto& [key, value] : guest.flavor.extra_specs)
        extra.set(key, value);
    Json flavor = Json::object();
    flavor.set("vcpus", guest.flavor.vcpus);
    flavor.set("memory_mb", guest.flavor.memory_mib);
    flavor.set("extra_specs", std::move(extra));
    return flavor.dump();
}

claims::ClaimRequest request_of(const hypervisor::GuestSpec& guest) {
    model::FlavorSpec flavor;
    flavor.name = guest.flavor.name;
    flavor.vcpus = guest.flavor.vcpus;
    flavor.memory_mib = static_cast<std::int64_t>(guest.flavor.memory_mib);
    for (const auto& [key, value] : guest.flavor.extra_specs)
        flavor.extra_specs[key] = value;
    claims::ClaimRequest request;
    request.instance = guest.uuid;
    request.amounts.vcpus = guest.flavor.vcpus;
    request.amounts.memory_mib = flavor.memory_mib;
    request.topology = must(numa::constraints(flavor, {}), "constraints");
    request.limits = model::NumaLimits();
    request.kernel_pages =
        topology::free_pages_of(must(topology::read_kernel_state(), "kernel state"));
    return request;
}

std::vector<std::int64_t> free_huge_pages() {
    std::vector<std::int64_t> out;
    for (const auto& pages :
         topology::free_pages_of(must(topology::read_kernel_state(), "kernel state")))
        if (pages.size_kib == huge_kib)
            out.push_back(pages.free);
    return out;
}

std::vector<int> host_cells_of(const model::GuestTopology& guest) {
    std::vector<int> out;
    for (const auto& cell : guest.cells)
        out.push_back(cell.id);
    return out;
}

/// Huge pages of one node, taken by a process that is no guest.
class HeldPages {
  public:
    HeldPages(unsigned node, std::size_t pages) : bytes_(pages * huge_kib * 1024) {
        // by the system calls: libnuma is not needed for anything else
        const unsigned long nodes = 1UL << node;
        constexpr unsigned long max_node = 64;
        set_policy(MPOL_BIND, &nodes, max_node);
        at_ = mmap(nullptr,
                   bytes_,
                   PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE,
                   -1,
                   0);
        const int error = errno;
        set_policy(MPOL_DEFAULT, nullptr, 0);
        if (at_ == MAP_FAILED)
            throw std::runtime_error(cat("mmap of huge pages: ", errno_text(error)));
    }
    HeldPages(const HeldPages&) = delete;
    HeldPages& operator=(const HeldPages&) = delete;
    ~HeldPages() { munmap(at_, bytes_); }

  private:
    static void set_policy(int policy, const unsigned long* nodes, unsigned long max_node) {
        if (syscall(SYS_set_mempolicy, policy, nodes, max_node) != 0)
            throw std::runtime_error(cat("set_mempolicy: ", errno_text(errno)));
    }

    std::size_t bytes_;
    void* at_ = nullptr;
};

class FourNodes : public ::testing::Test {
  protected:
    void SetUp() override {
        ASSERT_FALSE(brought().empty()) << "this program is started by tests/four_nodes/run";
        const auto loaded = config::load(config_file, {}, config::host_identity());
        ASSERT_TRUE(loaded.ok()) << config::check_report(loaded).text;
        books_ = tasks::host_books_path(loaded.config.state_path);
        options_ = app::libvirt_options(loaded.config, "zed");
        hypervisor_ =
            std::make_unique<hypervisor::libvirt::LibvirtHypervisor>(options_, system_processes());
        const auto started = hypervisor_->start([](const hypervisor::GuestEvent&) {});
        ASSERT_TRUE(started) << started.error().text;
        facts_ = must(hypervisor_->facts(), "facts");
        claims::HostCapacity capacity;
        capacity.vcpus = static_cast<std::int64_t>(facts_.topology.shared_cpus().size());
        capacity.memory_mib = static_cast<std::int64_t>(facts_.memory_mib);
        capacity.local_gib = static_cast<std::int64_t>(facts_.disk_total_gib);
        capacity.topology = facts_.topology;
        ledger_ = std::make_unique<claims::Ledger>(capacity);
    }
    void TearDown() override {
        if (hypervisor_) {
            EXPECT_TRUE(hypervisor_->destroy(
                guest_.uuid, hypervisor::DestroyOptions(hypervisor::Disks::Remove)));
        }
    }

    void claim() {
        claimed_ = must(ledger_->claim(request_of(guest_)), "claim");
        ASSERT_TRUE(claimed_.topology);
        guest_.numa = claimed_.topology;
        // Node 0 is for shared guests, node 2 has too few pages.
        EXPECT_THAT(host_cells_of(*guest_.numa), UnorderedElementsAre(1, 3));
        for (const auto& cell : guest_.numa->cells) {
            EXPECT_EQ(cell.page_size_kib, static_cast<std::int64_t>(huge_kib));
            ASSERT_TRUE(cell.pins);
            CpuSet cpus;
            for (const auto& pin : *cell.pins) {
                cpus.insert(pin.cpu);
                std::cout << "claimed: vCPU " << pin.vcpu << " on CPU " << pin.cpu << " of node "
                          << cell.id << '\n';
            }
            EXPECT_EQ(cpus, facts_.topology.cell(cell.id)->pcpuset);
        }
    }
    void spawn() {
        hypervisor::SpawnHooks hooks;
        hooks.images = &images_;
        hooks.step = [](const char* name) { std::cout << "spawn: " << name << std::endl; };
        const auto spawned = hypervisor_->spawn(guest_, hooks);
        ASSERT_TRUE(spawned) << spawned.error().text;
        ledger_->mark_started(guest_.uuid);
        const auto pid = must(read_file(cat("/run/libvirt/qemu/", guest_.name, ".pid")), "pid");
        process_ = to_number<pid_t>(trim(pid)).value_or(0);
        ASSERT_GT(process_, 0);
    }
    /// What the kernel says about threads and memory, besides the verdict of the check itself.
    void expect_given() {
        const auto threads = must(topology::threads_of(process_), "threads");
        std::map<unsigned, CpuSet> allowed;
        for (const auto& thread : threads)
            if (const auto vcpu = thread.vcpu()) {
                allowed[*vcpu] = thread.allowed;
                std::cout << "kernel: thread " << thread.id << " '" << thread.name
                          << "' may run on CPU " << thread.allowed.str() << '\n';
            }
        std::map<unsigned, CpuSet> granted;
        for (const auto& cell : guest_.numa->cells)
            for (const auto& pin : *cell.pins)
                granted[pin.vcpu] = {pin.cpu};
        EXPECT_EQ(allowed, granted);

        auto memory = must(topology::memory_of(process_), "numa_maps");
        for (const int node : {0, 1, 2, 3}) {
            const std::int64_t bound = memory.bound[node][huge_kib];
            std::cout << "kernel: " << bound << " bound pages of 2 MiB on node " << node << '\n';
            EXPECT_EQ(bound, node % 2 == 1 ? pages_of_a_guest_cell : 0) << "node " << node;
        }
        EXPECT_THAT(free_huge_pages(), ElementsAre(80, 16, 20, 16));

        const topology::Granted as_claimed{*guest_.numa, facts_.topology, {}};
        EXPECT_THAT(must(topology::check_placement(as_claimed, process_), "check"), IsEmpty());
        for (const auto& drift : ledger_->page_drift(request_of(guest_).kernel_pages))
            EXPECT_EQ(drift.free, 0) << "node " << drift.cell << ", " << drift.size_kib << " KiB";
    }
    /// The check is no formality: the same process against another grant.
    void expect_noticed_when_granted_elsewhere() {
        auto elsewhere = *guest_.numa;
        auto& cell = elsewhere.cells[0];
        const CpuSet others = facts_.topology.cell(2)->pcpuset;
        cell.id = 2;
        unsigned next = others.front();
        for (auto& pin : *cell.pins)
            pin.cpu = next++;
        const topology::Granted granted{elsewhere, facts_.topology, {}};
        const auto found = must(topology::check_placement(granted, process_), "check");
        for (const auto& text : found)
            std::cout << "against another grant: " << text << '\n';
        EXPECT_THAT(found, ::testing::Contains(HasSubstr("vCPU 0 may run on CPUs ")));
        EXPECT_THAT(found,
                    ::testing::Contains(HasSubstr("host cell 2 gave 0 of 64 pages of 2 MiB")));
    }
    void expect_alive() {
        const auto deadline = Deadline::after(patience);
        std::mutex mutex;
        std::unique_lock lock(mutex);
        std::condition_variable never;
        std::string text;
        while (text.find(" end") == std::string::npos && !deadline.passed()) {
            never.wait_until(lock, Deadline::after(Seconds(2)).time());
            text = must(hypervisor_->console_log(guest_.uuid), "console");
        }
        std::cout << "guest: " << trim(text) << std::endl;
        EXPECT_THAT(text, HasSubstr("INNER-GUEST-READY nodes=0-1 node0=0-1 node1=2-3 end"));
    }
    void expect_second_refused() {
        const auto second = request_of(pinned_guest());
        const auto refused = ledger_->claim(second);
        ASSERT_FALSE(refused);
        std::cout << "second guest: " << refused.error().text << '\n';
        EXPECT_EQ(refused.error().exception, "ComputeResourcesUnavailable");
        const auto reasons = ledger_->reasons(second);
        for (const auto& reason : reasons)
            std::cout << "second guest: " << reason << '\n';
        const std::string all = join(reasons, "\n");
        EXPECT_THAT(all, HasSubstr("host cell 0: needs 2 dedicated CPUs, 0 of 0 free"));
        EXPECT_THAT(all,
                    HasSubstr("host cell 1: needs 64 2 MiB pages, 16 of 80 free; "
                              "needs 2 dedicated CPUs, 0 of 2 free"));
        EXPECT_THAT(all, HasSubstr("host cell 2: needs 64 2 MiB pages, 20 of 20 free"));
        EXPECT_THAT(all,
                    HasSubstr("host cell 3: needs 64 2 MiB pages, 16 of 80 free; "
                              "needs 2 dedicated CPUs, 0 of 2 free"));
    }
    /// The program that an operator asks, on what the agent would have written.
    std::string explained(int expected_exit) {
        tasks::HostBooks books;
        books.written_at = std::chrono::duration_cast<std::chrono::seconds>(
                               system_clock().wall().time_since_epoch())
                               .count();
        books.numa_topology = ledger_->usage().numa_topology;
        if (const auto written = tasks::write_host_books(books_, books); !written)
            ADD_FAILURE() << written.error().text;
        ProcessRequest request;
        request.argv = {(brought() / "novalet").string(),
                        "explain",
                        "--flavor",
                        flavor_document(guest_),
                        "--config",
                        config_file};
        request.timeout = Seconds(300);
        const auto outcome = must(system_processes().run(request), "novalet explain");
        std::cout << "novalet explain:\n" << outcome.out << outcome.err;
        EXPECT_EQ(outcome.exit_status, expected_exit);
        return outcome.out;
    }

    hypervisor::libvirt::Options options_;
    hypervisor::HostFacts facts_;
    std::unique_ptr<hypervisor::libvirt::LibvirtHypervisor> hypervisor_;
    std::unique_ptr<claims::Ledger> ledger_;
    BroughtImages images_;
    hypervisor::GuestSpec guest_ = pinned_guest();
    claims::Claim claimed_;
    pid_t process_ = 0;
    fs::path books_;
};

TEST_F(FourNodes, Host_IsReadAsItWasBuilt) {
    const std::vector<unsigned> distances[] = {
        {10, 15, 20, 30}, {15, 10, 25, 21}, {20, 25, 10, 16}, {30, 21, 16, 10}};
    ASSERT_EQ(facts_.topology.cells.size(), 4U);
    EXPECT_EQ(facts_.online_cpus, 8U);
    for (unsigned node = 0; node < 4; ++node) {
        SCOPED_TRACE(cat("node ", node));
        const auto& cell = facts_.topology.cells[node];
        EXPECT_EQ(cell.id, static_cast<int>(node));
        const auto cpus = CpuSet::range(2 * node, 2 * node + 1);
        EXPECT_EQ(cell.cpuset, node == 0 ? cpus : CpuSet());
        EXPECT_EQ(cell.pcpuset, node == 0 ? CpuSet() : cpus);
        EXPECT_EQ(cell.socket, static_cast<int>(node));
        EXPECT_EQ(cell.distances, distances[node]);
        EXPECT_GT(cell.memory_mib, 800);
        EXPECT_LE(cell.memory_mib, 1024);
        ASSERT_NE(cell.pool(huge_kib), nullptr);
        EXPECT_EQ(cell.pool(huge_kib)->total, pools[node]);
    }
}

TEST_F(FourNodes, LibvirtAndSysfs_TellTheSameHost) {
    hypervisor::domain::HostCapabilities capabilities;
    capabilities.arch = facts_.arch;
    capabilities.topology = must(topology::cells_from_sysfs(), "cells");
    const auto kernel = must(topology::read_kernel_state(), "kernel state");
    const auto host =
        must(topology::host_topology(capabilities, kernel, options_.topology), "host topology");
    EXPECT_EQ(to_json(host).dump(), to_json(facts_.topology).dump());
}

TEST_F(FourNodes, PagesThatOthersHold_AreNotPromised) {
    ASSERT_TRUE(ledger_->test(request_of(guest_)));
    {
        const HeldPages held(1, 20);
        ASSERT_THAT(free_huge_pages(), ElementsAre(80, 60, 20, 80));
        const auto reasons = ledger_->reasons(request_of(guest_));
        std::cout << "with 20 pages of node 1 held: " << join(reasons, "; ") << '\n';
        EXPECT_THAT(join(reasons, "\n"),
                    HasSubstr("host cell 1: needs 64 2 MiB pages, 60 of 80 free in the kernel"));
    }
    EXPECT_TRUE(ledger_->test(request_of(guest_)));
}

TEST_F(FourNodes, PinnedGuestOnHugePages_GetsThemAndGivesThemBack) {
    ASSERT_THAT(free_huge_pages(), ElementsAre(80, 80, 20, 80));
    EXPECT_THAT(explained(0), HasSubstr("in pages of 2 MiB; vCPU 0 on CPU "));
    claim();
    spawn();
    ASSERT_FALSE(HasFatalFailure());
    expect_given();
    expect_noticed_when_granted_elsewhere();
    expect_second_refused();
    EXPECT_THAT(explained(1), HasSubstr("does not fit: ComputeResourcesUnavailable"));
    expect_alive();
    expect_given(); // still so, after all of its memory was there to be used

    const auto destroyed =
        hypervisor_->destroy(guest_.uuid, hypervisor::DestroyOptions(hypervisor::Disks::Remove));
    ASSERT_TRUE(destroyed) << destroyed.error().text;
    EXPECT_TRUE(ledger_->drop(guest_.uuid));
    EXPECT_THAT(free_huge_pages(), ElementsAre(80, 80, 20, 80));
    EXPECT_TRUE(ledger_->test(request_of(pinned_guest())));
    EXPECT_EQ(to_json(ledger_->topology()).dump(), to_json(facts_.topology).dump());
}

} // namespace
} // namespace novalet
