#include "hypervisor/simulated/simulated_hypervisor.hpp"

#include "agent/core/file.hpp"
#include "tests/support/fake_clock.hpp"
#include "tests/support/guest_builder.hpp"
#include "tests/support/temporary_folder.hpp"

#include <future>
#include <gmock/gmock.h>

namespace novalet::hypervisor::simulated {
namespace {

using scheduler_hooks::model::CpuSet;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// Collects events; waits for them without sleeping.
class Events {
  public:
    std::function<void(const GuestEvent&)> sink() {
        return [this](const GuestEvent& event) {
            const std::lock_guard lock(mutex_);
            seen_.push_back(event.kind);
            changed_.notify_all();
        };
    }
    std::vector<GuestEvent::Kind> first(std::size_t count) {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, Seconds(10), [&] { return seen_.size() >= count; });
        return seen_;
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<GuestEvent::Kind> seen_;
};

Options options() {
    Options out;
    out.hostname = "sim-1";
    return out;
}

Error broken(const char* text) {
    return Error{Code::Unavailable, text, {}, {}, true};
}

TEST(Simulated_Spawn, TakesTheStepsInOrderAndRuns) {
    SimulatedHypervisor host(options());
    std::vector<std::string> steps;
    SpawnHooks hooks;
    hooks.step = [&](const char* step) { steps.emplace_back(step); };
    bool paused_while_waiting = false;
    hooks.wait_for_plugged = [&]() -> Result<void> {
        paused_while_waiting = host.info(tests::golden_guest().uuid)->state == PowerState::Paused;
        return {};
    };
    const auto guest = tests::golden_guest();
    ASSERT_TRUE(host.spawn(guest, hooks));
    EXPECT_THAT(steps, ElementsAre("disks", "plug", "define", "start", "wait_for_plugged"));
    EXPECT_TRUE(paused_while_waiting);
    const auto info = host.info(guest.uuid);
    ASSERT_TRUE(info);
    EXPECT_EQ(info->state, PowerState::Running);
    EXPECT_EQ(info->name, "instance-0000000a");
    EXPECT_EQ(info->memory_mib, 2048U);
    EXPECT_EQ(info->vcpus, 4U);
    EXPECT_THAT(host.plugged(guest.uuid), ElementsAre("aabbccdd-0000-1111-2222-333344445555"));
    EXPECT_THAT(*host.console_log(guest.uuid), HasSubstr("4 vCPUs, 2048 MiB, simulated on sim-1"));
}

TEST(Simulated_DetachInterface, TakesThePortOfTheGuest) {
    SimulatedHypervisor host(options());
    const auto guest = tests::golden_guest();
    const auto& interface = guest.interfaces.front();
    EXPECT_EQ(host.detach_interface(guest.uuid, interface, {}).error().exception,
              "InstanceNotFound");
    ASSERT_TRUE(host.spawn(guest, {}));
    ASSERT_TRUE(host.detach_interface(guest.uuid, interface, {}));
    EXPECT_TRUE(host.plugged(guest.uuid).empty());
    EXPECT_TRUE(host.detach_interface(guest.uuid, interface, {})) << "there is none any more";
}

TEST(Simulated_Spawn, LeavesNothingWhenAStepFails) {
    for (const char* step : {"disks", "plug", "define", "start", "wait_for_plugged"}) {
        SimulatedHypervisor host(options());
        SpawnHooks hooks;
        hooks.wait_for_plugged = [] { return Result<void>(); };
        host.fail_step(step, broken("the disk broke"));
        const auto guest = tests::golden_guest();
        const auto made = host.spawn(guest, hooks);
        ASSERT_FALSE(made) << step;
        EXPECT_EQ(made.error().text, "the disk broke");
        EXPECT_THAT(*host.list(), IsEmpty()) << step;
        EXPECT_TRUE(host.spawn(guest, hooks)) << "the failure was forced once only: " << step;
    }
}

TEST(Simulated_Spawn, FailsWithTheReasonThatNoPlugEventCame) {
    SimulatedHypervisor host(options());
    SpawnHooks hooks;
    hooks.wait_for_plugged = []() -> Result<void> {
        return fail_as("VirtualInterfaceCreateException", Code::Timeout, "no event");
    };
    const auto made = host.spawn(tests::golden_guest(), hooks);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().exception, "VirtualInterfaceCreateException");
    EXPECT_THAT(*host.list(), IsEmpty());
}

TEST(Simulated_Spawn, CarriesOnWithAGuestThatIsThere) {
    SimulatedHypervisor host(options());
    const auto guest = tests::golden_guest();
    ASSERT_TRUE(host.spawn(guest, {}));
    std::vector<std::string> steps;
    SpawnHooks hooks;
    hooks.step = [&](const char* step) { steps.emplace_back(step); };
    EXPECT_TRUE(host.spawn(guest, hooks));
    EXPECT_THAT(steps, ElementsAre("plug"));
    EXPECT_EQ(host.plugged(guest.uuid).size(), 1U);
}

TEST(Simulated_Spawn, TakesTheConfiguredTimeAndCanBeInterruptedInIt) {
    auto shape = options();
    shape.spawn_latency = Milliseconds(700);
    std::vector<Milliseconds> passed;
    std::stop_source stop;
    shape.pass_time = [&](Milliseconds span, const std::stop_token& token) {
        passed.push_back(span);
        return !token.stop_requested();
    };
    SimulatedHypervisor host(shape);
    SpawnHooks hooks;
    hooks.stop = stop.get_token();
    ASSERT_TRUE(host.spawn(tests::golden_guest(), hooks));
    EXPECT_THAT(passed, ElementsAre(Milliseconds(700)));
    ASSERT_TRUE(host.destroy(tests::golden_guest().uuid, DestroyOptions(Disks::Remove)));
    hooks.step = [&](const char* step) {
        if (std::string(step) == "start")
            stop.request_stop();
    };
    const auto made = host.spawn(tests::golden_guest(), hooks);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, Code::Cancelled);
    EXPECT_THAT(*host.list(), IsEmpty());
}

TEST(Simulated_Spawn, ReallyWaitsUntilItIsToldToStop) {
    auto shape = options();
    shape.spawn_latency = Milliseconds(3600000);
    SimulatedHypervisor host(shape);
    std::stop_source stop;
    std::promise<void> begun;
    SpawnHooks hooks;
    hooks.stop = stop.get_token();
    hooks.step = [&](const char* step) {
        if (std::string(step) == "start")
            begun.set_value();
    };
    auto made =
        std::async(std::launch::async, [&] { return host.spawn(tests::golden_guest(), hooks); });
    begun.get_future().wait();
    stop.request_stop();
    EXPECT_EQ(made.get().error().code, Code::Cancelled);
}

TEST(Simulated_Spawn, RefusesAUuidThatIsNone) {
    SimulatedHypervisor host(options());
    auto guest = tests::golden_guest();
    guest.uuid = InstanceUuid("../../etc/passwd");
    EXPECT_EQ(host.spawn(guest, {}).error().code, Code::InvalidArgument);
}

TEST(Simulated_Destroy, IsContentWhenNothingIsThere) {
    SimulatedHypervisor host(options());
    EXPECT_TRUE(host.destroy(tests::golden_guest().uuid, DestroyOptions(Disks::Remove)));
    ASSERT_TRUE(host.spawn(tests::golden_guest(), {}));
    EXPECT_TRUE(host.destroy(tests::golden_guest().uuid, DestroyOptions(Disks::Remove)));
    EXPECT_TRUE(host.destroy(tests::golden_guest().uuid, DestroyOptions(Disks::Remove)));
    EXPECT_EQ(host.info(tests::golden_guest().uuid).error().exception, "InstanceNotFound");
}

TEST(Simulated_Destroy, KeepsTheGuestWhenItsDisksAreKept) {
    SimulatedHypervisor host(options());
    const auto guest = tests::golden_guest();
    ASSERT_TRUE(host.spawn(guest, {}));
    ASSERT_TRUE(host.destroy(guest.uuid, {Disks::Keep, guest.interfaces}));
    EXPECT_EQ(host.info(guest.uuid)->state, PowerState::Shutdown);
    EXPECT_THAT(host.plugged(guest.uuid), IsEmpty());
    EXPECT_TRUE(host.power_on(guest, {}));
}

TEST(Simulated_Spawn, AFailureLeavesAGuestThatWasThereBefore) {
    SimulatedHypervisor host(options());
    const auto guest = tests::golden_guest();
    ASSERT_TRUE(host.spawn(guest, {}));
    host.fail_step("plug", broken("no bridge"));
    EXPECT_FALSE(host.spawn(guest, {}));
    EXPECT_EQ(host.info(guest.uuid)->state, PowerState::Running);
}

TEST(Simulated_Spawn, OutOfReachIsLeftToALaterDestroy) {
    SimulatedHypervisor host(options());
    const auto guest = tests::golden_guest();
    SpawnHooks hooks;
    hooks.wait_for_plugged = [&]() -> Result<void> {
        host.set_reachable(false, "libvirtd restarts");
        return {};
    };
    EXPECT_EQ(host.spawn(guest, hooks).error().code, Code::Unavailable);
    EXPECT_FALSE(host.destroy(guest.uuid, DestroyOptions(Disks::Remove)));
    host.set_reachable(true, "");
    EXPECT_EQ(host.leftovers()->size(), 1U);
    ASSERT_TRUE(host.destroy(guest.uuid, DestroyOptions(Disks::Remove)));
    EXPECT_THAT(*host.leftovers(), IsEmpty());
}

TEST(Simulated_Power, ARefusedStartLeavesTheGuestAsItWas) {
    for (const char* step : {"plug", "define", "remove"}) {
        SimulatedHypervisor host(options());
        const auto guest = tests::golden_guest();
        ASSERT_TRUE(host.spawn(guest, {}));
        host.fail_step(step, broken("refused"));
        EXPECT_FALSE(host.power_on(guest, {})) << step;
        EXPECT_EQ(host.info(guest.uuid)->state, PowerState::Running) << step;
    }
}

TEST(Simulated_Hardware, IsNovasForX86) {
    SimulatedHypervisor host(options());
    auto guest = tests::golden_guest();
    EXPECT_EQ(host.hardware(guest)->at("hw_machine_type"), "pc");
    guest.image.properties["hw_machine_type"] = "q35";
    EXPECT_EQ(host.hardware(guest)->at("hw_cdrom_bus"), "sata");
}

TEST(Simulated_Leftovers, AreListedWithTheirAgeAndSwept) {
    tests::FakeClock clock;
    SimulatedHypervisor host(options(), clock);
    const auto guest = tests::golden_guest();
    ASSERT_TRUE(host.spawn(guest, {}));
    clock.advance(Seconds(90));
    const InstanceUuid gone{"11111111-3c00-4365-b0ce-e0fb3df0c7c4"};
    host.leave_behind({Leftover::Kind::Folder, gone, "/i/" + gone.str(), Seconds(7), false, true});
    host.leave_behind({Leftover::Kind::Folder, guest.uuid, "/i/" + guest.uuid.str()});
    host.leave_behind({Leftover::Kind::Device, {}, "tapaabbccdd-00"});
    auto found = *host.leftovers();
    ASSERT_EQ(found.size(), 3U) << "a folder whose domain is there is none";
    EXPECT_EQ(found[0].kind, Leftover::Kind::Domain);
    EXPECT_EQ(found[0].uuid, guest.uuid);
    EXPECT_EQ(found[0].name, guest.name);
    EXPECT_EQ(found[0].age, Seconds(90));
    EXPECT_TRUE(found[0].running);
    EXPECT_EQ(found[1].uuid, gone);
    EXPECT_EQ(found[1].age, Seconds(7));
    EXPECT_TRUE(found[1].claimed);
    EXPECT_EQ(
        host.sweep({Leftover::Kind::Folder, guest.uuid, "/i/" + guest.uuid.str()}).error().code,
        Code::Conflict);
    host.fail_step("sweep", broken("busy"));
    EXPECT_FALSE(host.sweep(found[0]));
    for (const auto& one : found)
        EXPECT_TRUE(host.sweep(one));
    found = *host.leftovers();
    ASSERT_EQ(found.size(), 1U) << "without its domain the folder is one, too";
    EXPECT_EQ(found[0].uuid, guest.uuid);
    EXPECT_TRUE(host.destroy(guest.uuid, DestroyOptions(Disks::Keep)));
    EXPECT_EQ(host.leftovers()->size(), 1U);
    EXPECT_TRUE(host.destroy(guest.uuid, DestroyOptions(Disks::Remove)));
    EXPECT_THAT(*host.leftovers(), IsEmpty());
    EXPECT_THAT(*host.list(), IsEmpty());
}

TEST(Simulated_Power, FollowsTheVerbsAndTellsEvents) {
    SimulatedHypervisor host(options());
    Events events;
    ASSERT_TRUE(host.start(events.sink()));
    const auto guest = tests::golden_guest();
    ASSERT_TRUE(host.spawn(guest, {}));
    ASSERT_TRUE(host.pause(guest.uuid));
    ASSERT_TRUE(host.pause(guest.uuid)); // nothing happens, nothing is told
    EXPECT_EQ(host.info(guest.uuid)->state, PowerState::Paused);
    ASSERT_TRUE(host.unpause(guest.uuid));
    ASSERT_TRUE(host.suspend(guest.uuid));
    EXPECT_EQ(host.info(guest.uuid)->state, PowerState::Suspended);
    ASSERT_TRUE(host.resume(guest));
    ASSERT_TRUE(host.power_off(guest.uuid, {}));
    ASSERT_TRUE(host.power_off(guest.uuid, {}));
    EXPECT_EQ(host.info(guest.uuid)->state, PowerState::Shutdown);
    EXPECT_FALSE(host.soft_reboot(guest.uuid).value()) << "off: the caller takes the hard way";
    ASSERT_TRUE(host.power_on(guest, {}));
    EXPECT_TRUE(host.soft_reboot(guest.uuid).value());
    ASSERT_TRUE(host.destroy(guest.uuid, DestroyOptions(Disks::Remove)));
    using Kind = GuestEvent::Kind;
    EXPECT_THAT(events.first(10),
                ElementsAre(Kind::Started,
                            Kind::Paused,
                            Kind::Resumed,
                            Kind::Suspended,
                            Kind::Started,
                            Kind::Stopped,
                            Kind::Started,
                            Kind::Stopped,
                            Kind::Started,
                            Kind::Stopped));
    host.stop();
}

TEST(Simulated_Power, GuestThatDoesNotRunIsNotPaused) {
    SimulatedHypervisor host(options());
    const auto guest = tests::golden_guest();
    ASSERT_TRUE(host.spawn(guest, {}));
    ASSERT_TRUE(host.guest_becomes(guest.uuid, PowerState::Crashed));
    for (const auto& answer :
         {host.pause(guest.uuid), host.unpause(guest.uuid), host.suspend(guest.uuid)})
        EXPECT_EQ(answer.error().exception, "InstanceInvalidState");
    EXPECT_EQ(host.info(guest.uuid)->state, PowerState::Crashed);
}

TEST(Simulated_Power, AGuestThatHasVanishedIsMadeByPowerOn) {
    SimulatedHypervisor host(options());
    const auto guest = tests::golden_guest();
    ASSERT_TRUE(host.power_on(guest, {}));
    EXPECT_EQ(host.info(guest.uuid)->state, PowerState::Running);
}

TEST(Simulated_Power, UnknownGuestIsNotFound) {
    SimulatedHypervisor host(options());
    const auto guest = tests::golden_guest();
    EXPECT_EQ(host.power_off(guest.uuid, {}).error().exception, "InstanceNotFound");
    EXPECT_EQ(host.resume(guest).error().code, Code::NotFound);
    EXPECT_EQ(host.console_log(guest.uuid).error().code, Code::NotFound);
    EXPECT_EQ(host.soft_reboot(guest.uuid).error().code, Code::NotFound);
}

TEST(Simulated_Console, ForgetsTheOldestBytesOnly) {
    SimulatedHypervisor host(options());
    const auto guest = tests::golden_guest();
    ASSERT_TRUE(host.spawn(guest, {}));
    for (int i = 0; i < 1500; ++i) {
        ASSERT_TRUE(host.pause(guest.uuid));
        ASSERT_TRUE(host.unpause(guest.uuid));
    }
    const auto console = host.console_log(guest.uuid);
    ASSERT_TRUE(console);
    EXPECT_EQ(console->size(), 100U * 1024U);
    EXPECT_THAT(console->substr(console->size() - 10), HasSubstr("goes on"));
}

TEST(Simulated_State, IsFoundByTheNextProcess) {
    const tests::TemporaryFolder folder;
    auto shape = options();
    shape.state_folder = folder / "sim-1";
    const auto guest = tests::golden_guest();
    {
        SimulatedHypervisor host(shape);
        ASSERT_TRUE(host.start(nullptr));
        ASSERT_TRUE(host.spawn(guest, {}));
        ASSERT_TRUE(host.pause(guest.uuid));
    }
    SimulatedHypervisor host(shape);
    ASSERT_TRUE(host.start(nullptr));
    EXPECT_EQ(host.info(guest.uuid)->state, PowerState::Paused);
    EXPECT_EQ(host.info(guest.uuid)->vcpus, 4U);
    EXPECT_THAT(host.plugged(guest.uuid), ElementsAre("aabbccdd-0000-1111-2222-333344445555"));
    EXPECT_THAT(*host.console_log(guest.uuid), HasSubstr("paused"));
    ASSERT_TRUE(host.destroy(guest.uuid, DestroyOptions(Disks::Remove)));
    SimulatedHypervisor third(shape);
    ASSERT_TRUE(third.start(nullptr));
    EXPECT_THAT(*third.list(), IsEmpty());
}

TEST(Simulated_State, DamagedFilesAreMovedAsideAndDoNotStopTheStart) {
    const tests::TemporaryFolder folder;
    auto shape = options();
    shape.state_folder = folder.path();
    const auto guest = tests::golden_guest();
    {
        SimulatedHypervisor host(shape);
        ASSERT_TRUE(host.start(nullptr));
        ASSERT_TRUE(host.spawn(guest, {}));
    }
    const auto good = folder / (guest.uuid.str() + ".json");
    const auto bad = folder / "2f7e3d2a-3b1f-4c6c-9a55-7f7d3f8f0002.json";
    ASSERT_TRUE(write_file_atomically(bad, "{\"version\": 1"));
    const auto stranger = folder / "2f7e3d2a-3b1f-4c6c-9a55-7f7d3f8f0003.json";
    std::filesystem::copy_file(good, stranger);
    SimulatedHypervisor host(shape);
    ASSERT_TRUE(host.start(nullptr));
    EXPECT_EQ(host.list()->size(), 1U);
    EXPECT_TRUE(std::filesystem::exists(bad.string() + ".damaged"));
    EXPECT_TRUE(std::filesystem::exists(stranger.string() + ".damaged"));
    EXPECT_TRUE(std::filesystem::exists(good));
}

TEST(Simulated_Link, OutOfReachFailsEverythingAndIsTold) {
    SimulatedHypervisor host(options());
    std::vector<std::pair<bool, std::string>> told;
    host.on_link([&](bool up, const std::string& why) { told.emplace_back(up, why); });
    const auto guest = tests::golden_guest();
    ASSERT_TRUE(host.spawn(guest, {}));
    host.set_reachable(false, "cable pulled");
    host.set_reachable(false, "cable pulled");
    EXPECT_EQ(host.facts().error().code, Code::Unavailable);
    EXPECT_EQ(host.list().error().code, Code::Unavailable);
    EXPECT_EQ(host.info(guest.uuid).error().code, Code::Unavailable);
    EXPECT_EQ(host.destroy(guest.uuid, DestroyOptions(Disks::Remove)).error().code,
              Code::Unavailable);
    EXPECT_THAT(host.pause(guest.uuid).error().text, HasSubstr("cable pulled"));
    host.set_reachable(true, "");
    EXPECT_EQ(host.info(guest.uuid)->state, PowerState::Running);
    EXPECT_THAT(told,
                ElementsAre(std::pair<bool, std::string>(false, "cable pulled"),
                            std::pair<bool, std::string>(true, "")));
}

TEST(Simulated_Facts, DealOutCpusMemoryAndPages) {
    auto shape = options();
    shape.vcpus = 7;
    shape.memory_mib = 10241;
    shape.numa_cells = 2;
    shape.threads_per_core = 2;
    shape.huge_pages = {{1048576, 1}, {2048, 100}};
    SimulatedHypervisor host(shape);
    const auto facts = host.facts();
    ASSERT_TRUE(facts);
    ASSERT_EQ(facts->topology.cells.size(), 2U);
    const auto& first = facts->topology.cells[0];
    const auto& second = facts->topology.cells[1];
    EXPECT_EQ(first.cpuset.str(), "0-3");
    EXPECT_EQ(second.cpuset.str(), "4-6");
    EXPECT_EQ(first.siblings, (std::vector<CpuSet>{{0, 1}, {2, 3}}));
    EXPECT_EQ(second.siblings, (std::vector<CpuSet>{{4, 5}, {6}}));
    EXPECT_EQ(first.memory_mib + second.memory_mib, 10241);
    ASSERT_EQ(second.mempages.size(), 3U);
    EXPECT_EQ(second.mempages[0].size_kib, 4U);
    EXPECT_EQ(second.mempages[0].total, (5120 - 1024 - 200) * 256);
    EXPECT_EQ(second.mempages[1].total, 100);
    EXPECT_EQ(second.mempages[2].total, 1);
    EXPECT_EQ(facts->online_cpus, 7U);
    EXPECT_TRUE(facts->hyperthreading);
    EXPECT_EQ(facts->hostname, "sim-1");
    EXPECT_EQ(facts->cpu_info["topology"]["cells"].as_int(), 2);
}

TEST(Simulated_Facts, HonourTheCpuSetsAndCountTheDisks) {
    auto shape = options();
    shape.vcpus = 8;
    shape.shared_cpus = CpuSet{0, 4};
    shape.dedicated_cpus = CpuSet{1, 2, 3};
    SimulatedHypervisor host(shape);
    auto guest = tests::golden_guest();
    guest.flavor.ephemeral_gib = 5;
    guest.flavor.swap_mib = 1;
    ASSERT_TRUE(host.spawn(guest, {}));
    const auto facts = host.facts();
    ASSERT_TRUE(facts);
    EXPECT_EQ(facts->topology.shared_cpus().str(), "0,4");
    EXPECT_EQ(facts->topology.dedicated_cpus().str(), "1-3");
    EXPECT_EQ(facts->disk_available_least_gib, 2048 - 1 - 5 - 1);
}

TEST(Simulated_Facts, UptimeCountsFromTheMakingOfTheHost) {
    tests::FakeClock clock;
    SimulatedHypervisor host(options(), clock);
    clock.advance(std::chrono::hours(25) + std::chrono::minutes(3));
    EXPECT_EQ(*host.uptime(),
              " 09:03:00 up 1 day, 1:03,  0 users,  load average: 0.00, 0.00, 0.00\n");
}

TEST(Simulated_Hosts, OfOneProcessShareNothing) {
    auto one = options();
    auto two = options();
    two.hostname = "sim-2";
    SimulatedHypervisor first(one);
    SimulatedHypervisor second(two);
    ASSERT_TRUE(first.spawn(tests::golden_guest(), {}));
    EXPECT_THAT(*second.list(), IsEmpty());
}

TEST(EventQueue, DropsTheOldestWhenTheSinkIsTooSlow) {
    EventQueue queue;
    std::promise<void> inside;
    std::promise<void> go;
    std::promise<void> last;
    std::size_t count = 0;
    queue.start([&](const GuestEvent& event) {
        if (count++ == 0) {
            inside.set_value();
            go.get_future().wait();
        }
        if (event.kind == GuestEvent::Kind::Suspended)
            last.set_value();
    });
    queue.push({InstanceUuid("first"), GuestEvent::Kind::Started});
    inside.get_future().wait();
    for (std::size_t i = 0; i < EventQueue::capacity + 10; ++i)
        queue.push({InstanceUuid("x"), GuestEvent::Kind::Started});
    queue.push({InstanceUuid("last"), GuestEvent::Kind::Suspended});
    go.set_value();
    last.get_future().wait();
    queue.stop();
    EXPECT_EQ(count, 1 + EventQueue::capacity);
}

} // namespace
} // namespace novalet::hypervisor::simulated
