#pragma once
// A host whose agent may be killed at any call: what it had in memory is gone, what was on disk and
// in the control plane at that moment is what the next process finds.
#include "agent/tasks/start/repair.hpp"
#include "tests/support/owned_things.hpp"
#include "tests/support/task_bench.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace novalet::tests {

/// While it lives, writes to the log of the journal that is open below `folder` fail, as on a disk
/// with errors; reads go on.
class UnwritableJournal {
  public:
    explicit UnwritableJournal(const std::filesystem::path& folder) {
        for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
            std::error_code gone;
            const auto file = std::filesystem::read_symlink(entry.path(), gone);
            if (gone || file.filename() != "journal.sqlite-wal" ||
                !file.string().starts_with(folder.string()))
                continue;
            fd_ = std::stoi(entry.path().filename().string());
            saved_ = ::fcntl(fd_, F_DUPFD_CLOEXEC, 0);
            const int reader = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
            ::dup3(reader, fd_, O_CLOEXEC);
            ::close(reader);
        }
        EXPECT_GE(fd_, 0) << "no journal is open below " << folder;
    }
    ~UnwritableJournal() {
        ::dup3(saved_, fd_, O_CLOEXEC);
        ::close(saved_);
    }
    UnwritableJournal(const UnwritableJournal&) = delete;
    UnwritableJournal& operator=(const UnwritableJournal&) = delete;

  private:
    int fd_ = -1;
    int saved_ = -1;
};

class MortalHost {
  public:
    MortalHost() {
        interference.on_kill = [this] { keep_what_is_on_disk(); };
        bench.options.track_instance_changes = true;
        bench.bus.answer("ConsoleAuthToken.clean_console_auths_for_instance", Json());
        compose();
    }
    ~MortalHost() { stop(); }
    MortalHost(const MortalHost&) = delete;
    MortalHost& operator=(const MortalHost&) = delete;

    /// The agent starts after a kill, or after a stop, and carries on.
    void start_again() {
        stop();
        if (kept_) {
            for (const char* part : {"guests", "novalet"}) {
                std::filesystem::remove_all(bench.folder / part);
                std::filesystem::copy(
                    *kept_ / part, bench.folder / part, std::filesystem::copy_options::recursive);
            }
            kept_.reset();
        }
        interference.revive();
        bench.start();
        compose();
        things.forget_claims(); // the first audit makes them from the records
        for (const auto& uuid : bench.bus.uuids())
            if (is_here(uuid))
                things.claim(uuid);
        ASSERT_TRUE(bench.router->recover());
        tasks::repair_instances(*bench.services, *bench.router);
    }
    /// Everything has come to its end, also after kills.
    [[nodiscard]] bool settle() {
        const auto patience = Deadline::after(Seconds(50));
        while (!patience.passed()) {
            if (interference.dead()) {
                start_again();
                continue;
            }
            static_cast<void>(bench.pool->wait_idle(Deadline::after(Milliseconds(1))));
            if (!interference.dead() && bench.queues->size() == 0)
                return bench.network_pool->wait_idle(patience) && !interference.dead();
        }
        return false;
    }
    [[nodiscard]] bool is_here(const std::string& uuid) {
        const auto record = bench.bus.instance(uuid);
        return record.is_object() && !record["deleted"].as_bool() &&
               record["host"].as_string() == host_name;
    }

    TaskBench bench;
    Interference interference;
    OwnedThings things;

  private:
    void stop() {
        if (bench.queues)
            bench.queues->stop();
        bench.pool.reset();
        bench.network_pool.reset();
        bench.stop();
    }
    /// The bench's agent with peers that mishaps may befall.
    void compose() {
        bus_ = std::make_unique<InterferedBus>(bench.bus, interference);
        conductor_ = std::make_unique<objects::Conductor>(
            *bus_, objects::release_by_name("zed").value(), Milliseconds(1000));
        networks_ =
            std::make_unique<OwnedNetworks>(things, interference, *conductor_, one_port(true));
        resources_ = std::make_unique<OwnedResources>(things, interference, *conductor_, host_name);
        allocations_ = std::make_unique<OwnedAllocations>(things, interference);
        hypervisor_ = std::make_unique<InterferedHypervisor>(
            *bench.host, interference, [this](const std::string& step, const Error& error) {
                bench.host->fail_step(step, error);
            });
        bench.router.reset();
        bench.services = std::make_unique<tasks::Services>(
            tasks::Services{{*conductor_, bench.notifier, *bus_, bench.options},
                            {*hypervisor_, bench.images},
                            {bench.volumes},
                            {*networks_, bench.waiters, *bench.network_pool},
                            {*resources_, *allocations_},
                            {*bench.journal, *bench.queues, *bench.pool, *bench.question_pool}});
        bench.router = std::make_unique<tasks::Router>(*bench.services, "6.5");
    }
    void keep_what_is_on_disk() {
        kept_ = std::make_unique<TemporaryFolder>();
        std::filesystem::copy(
            bench.folder.path(), kept_->path(), std::filesystem::copy_options::recursive);
    }

    std::unique_ptr<TemporaryFolder> kept_;
    std::unique_ptr<InterferedBus> bus_;
    std::unique_ptr<objects::Conductor> conductor_;
    std::unique_ptr<OwnedNetworks> networks_;
    std::unique_ptr<OwnedResources> resources_;
    std::unique_ptr<OwnedAllocations> allocations_;
    std::unique_ptr<InterferedHypervisor> hypervisor_;
};

} // namespace novalet::tests
