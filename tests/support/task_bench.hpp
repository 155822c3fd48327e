#pragma once
// A compute host without libvirt and OpenStack around the real router, journal and operations.
#include "agent/objects/conductor.hpp"
#include "agent/tasks/catalogue/router.hpp"
#include "hypervisor/simulated/simulated_hypervisor.hpp"
#include "tests/support/fake_conductor.hpp"
#include "tests/support/mailbox.hpp"
#include "tests/support/task_fakes.hpp"
#include "tests/support/temporary_folder.hpp"

#include <gtest/gtest.h>

namespace novalet::tests {

inline const std::string server_uuid = "11111111-2222-4333-8444-555555555555";
inline const std::string port_uuid = "aabbccdd-0000-4111-8222-333344445555";
inline const std::string host_name = "c1";

inline Json nova_object(const std::string& name, const std::string& version, Json data) {
    return Json::object()
        .set("nova_object.name", name)
        .set("nova_object.namespace", "nova")
        .set("nova_object.version", version)
        .set("nova_object.data", std::move(data));
}

/// Record of a server as nova-api makes it: building/scheduling, no host.
inline Json new_server(const std::string& uuid = server_uuid) {
    Json data = *Json::parse(R"({
        "id": 10, "display_name": "vm1", "hostname": "vm1", "vm_state": "building",
        "task_state": "scheduling", "power_state": 0, "host": null, "node": null,
        "launched_on": null, "launched_at": null, "availability_zone": "nova", "config_drive": "",
        "deleted": false, "deleted_at": null, "cleaned": false, "terminated_at": null,
        "image_ref": "155d900f-4e14-4e4c-a73d-069cbf4541e6", "kernel_id": "", "ramdisk_id": "",
        "project_id": "p1", "user_id": "u1", "os_type": null, "root_device_name": null,
        "progress": 0, "user_data": null, "metadata": {},
        "system_metadata": {"image_disk_format": "qcow2", "image_container_format": "bare",
                            "image_min_disk": "1", "image_min_ram": "0",
                            "owner_project_name": "admin"},
        "numa_topology": null})");
    data.set("uuid", uuid);
    data.set("flavor", nova_object("Flavor", "1.2", *Json::parse(R"({"id": 1, "flavorid": "42",
                 "name": "m1.nano", "memory_mb": 128, "vcpus": 1, "root_gb": 1,
                 "ephemeral_gb": 0, "swap": 0, "extra_specs": {}})")));
    data.set("pci_requests",
             nova_object("InstancePCIRequests",
                         "1.1",
                         Json::object().set("instance_uuid", uuid).set("requests", Json::array())));
    data.set("info_cache",
             nova_object("InstanceInfoCache",
                         "1.5",
                         Json::object().set("instance_uuid", uuid).set("network_info", "[]")));
    return data;
}

/// The same on our host, in these states.
inline Json server_in(const std::string& vm_state,
                      Json task_state,
                      hypervisor::PowerState power = hypervisor::PowerState::Running,
                      const std::string& uuid = server_uuid) {
    Json data = new_server(uuid);
    data.set("vm_state", vm_state)
        .set("task_state", std::move(task_state))
        .set("power_state", static_cast<int>(power))
        .set("launched_at", "2026-11-21T04:28:56Z")
        .set("root_device_name", "/dev/vda");
    for (const char* field : {"host", "node", "launched_on"})
        data.set(field, host_name);
    return data;
}

inline Json root_disk(const std::string& uuid = server_uuid) {
    Json data = *Json::parse(R"({"id": 2, "uuid": "1e9996cb-69d0-49b9-aba9-783311fb490a",
        "boot_index": 0, "source_type": "image", "destination_type": "local",
        "device_type": "disk", "device_name": null, "disk_bus": null, "guest_format": null,
        "no_device": false, "volume_size": null})");
    data.set("instance_uuid", uuid);
    return nova_object("BlockDeviceMapping", "1.21", std::move(data));
}

/// NetworkInfo with one port. Inactive: a plug event is awaited.
inline Json one_port(bool active) {
    Json vif = *Json::parse(R"({"id": "", "address": "fa:16:3e:00:00:01", "type": "ovs",
        "vnic_type": "normal", "devname": "tapaabbccdd-00", "details": {},
        "network": {"id": "net", "bridge": "br-int", "label": "private",
                    "subnets": [], "meta": {"mtu": 1442}}})");
    vif.set("id", port_uuid).set("active", active);
    return Json::Array{std::move(vif)};
}

class TaskBench {
  public:
    TaskBench() {
        options.host = host_name;
        options.vif_plugging_timeout = Seconds(60);
        options.shutdown_timeout = Seconds(0);
        options.retry_pause = Milliseconds(1);
        networks.info = one_port(true);
        start();
    }
    ~TaskBench() { stop(); }
    TaskBench(const TaskBench&) = delete;
    TaskBench& operator=(const TaskBench&) = delete;

    void start() {
        hypervisor::simulated::Options simulated;
        simulated.hostname = host_name;
        simulated.state_folder = folder / "guests";
        host = std::make_unique<hypervisor::simulated::SimulatedHypervisor>(simulated);
        EXPECT_TRUE(host->start([](const hypervisor::GuestEvent&) {}));
        journal::Options places;
        places.path = folder / "novalet" / "journal.sqlite";
        places.max_bytes = journal_bytes;
        auto opened = journal::Journal::open(places);
        ASSERT_TRUE(opened) << opened.error().text;
        journal = std::move(*opened);
        pool = std::make_unique<TaskPool>(pool_threads);
        network_pool = std::make_unique<TaskPool>(4);
        question_pool = std::make_unique<TaskPool>(2);
        queues = std::make_unique<tasks::InstanceQueues>(*pool);
        services = std::make_unique<tasks::Services>(
            tasks::Services{{conductor, notifier, bus, options},
                            {*host, images},
                            {volumes},
                            {networks, waiters, *network_pool},
                            {resources, allocations},
                            {*journal, *queues, *pool, *question_pool}});
        router = std::make_unique<tasks::Router>(*services, "6.5");
    }
    void stop() {
        if (queues)
            queues->stop(); // parked work is left for the next start
        pool.reset();       // runs what is queued
        question_pool.reset();
        network_pool.reset();
        router.reset();
        services.reset();
        queues.reset();
        journal.reset();
        host.reset();
    }
    /// Another process: journal and guests are what the first one left.
    void restart() {
        stop();
        start();
    }

    /// All work has come to its end, also what waited; false when a test's patience is over.
    [[nodiscard]] bool settle() {
        const auto patience = Deadline::after(Seconds(50));
        do {
            if (!pool->wait_idle(patience) || !question_pool->wait_idle(patience))
                return false;
        } while (queues->size() > 0 && !patience.passed());
        return queues->size() == 0;
    }

    /// With null for each argument of Nova's method that the test does not care about.
    rpc::Request request(const std::string& method, Json args) {
        if (const auto* facts = tasks::find_method(method))
            for (const auto& argument : facts->arguments)
                if (argument.required && !args.contains(argument.name))
                    args.set(argument.name, nullptr);
        rpc::Request out;
        out.method = method;
        out.version = "6.0";
        out.args = std::move(args);
        out.context = context;
        out.unique_id = new_uuid_hex();
        return out;
    }
    /// As rpc::Server does it: admitted, acknowledged, dispatched. False for a duplicate.
    bool deliver(const rpc::Request& message) {
        const auto admitted = router->accept(message);
        EXPECT_TRUE(admitted) << admitted.error().text;
        if (!admitted || !admitted->fresh)
            return false;
        router->dispatch(
            message, rpc::Responder([this](const Result<Json>& answer) { answers.put(answer); }));
        return true;
    }
    void send(const std::string& method, Json args) { deliver(request(method, std::move(args))); }

    [[nodiscard]] Json instance_argument(const std::string& uuid = server_uuid) {
        return nova_object("Instance", "2.7", bus.instance(uuid));
    }
    [[nodiscard]] Json arguments(const std::string& uuid = server_uuid) {
        return Json::object().set("instance", instance_argument(uuid));
    }
    /// Arguments of build_and_run_instance; with `alternates` the scheduler may be asked again.
    [[nodiscard]] Json build_arguments(bool alternates = true,
                                       const std::string& uuid = server_uuid) {
        Json properties = Json::object();
        if (alternates)
            properties.set("retry",
                           Json::object().set("num_attempts", 1).set("hosts", Json::array()));
        Json hosts = Json::array();
        if (alternates)
            hosts.push_back(nova_object("Selection", "1.1", Json::object()));
        Json mappings = nova_object(
            "BlockDeviceMappingList", "1.18", Json::object().set("objects", Json::array()));
        mappings.member("nova_object.data").member("objects").push_back(root_disk(uuid));
        return arguments(uuid)
            .set("image", Json::object())
            .set("request_spec", Json::object())
            .set("filter_properties", std::move(properties))
            .set("injected_files", Json::array())
            .set("requested_networks", Json())
            .set("security_groups", Json::Array{"default"})
            .set("block_device_mapping", std::move(mappings))
            .set("node", host_name)
            .set("limits", Json::object())
            .set("host_list", std::move(hosts));
    }
    /// A guest that runs on the simulated host, with its record.
    void make_guest(const Json& record) {
        const std::string uuid = record["uuid"].as_string();
        bus.put_instance(record);
        bus.put_mappings(uuid, Json::Array{root_disk(uuid)});
        auto spec = tasks::guest_spec(
            record, {root_disk(uuid)["nova_object.data"]}, one_port(true), options.guest);
        ASSERT_TRUE(spec) << spec.error().text;
        ASSERT_TRUE(host->spawn(*spec, {}));
    }
    [[nodiscard]] hypervisor::PowerState guest_state(const std::string& uuid = server_uuid) {
        const auto info = host->info(InstanceUuid(uuid));
        return info ? info->state : hypervisor::PowerState::NoState;
    }
    [[nodiscard]] bool guest_exists(const std::string& uuid = server_uuid) {
        return host->info(InstanceUuid(uuid)).has_value();
    }
    /// "active/None": what a user sees.
    [[nodiscard]] std::string states(const std::string& uuid = server_uuid) {
        const auto record = bus.instance(uuid);
        return record["vm_state"].as_string() + '/' + record["task_state"].as_string("None");
    }
    [[nodiscard]] std::size_t open_entries() {
        const auto entries = journal->open_entries();
        EXPECT_TRUE(entries);
        return entries ? entries->size() : 999;
    }

    TemporaryFolder folder;
    Diary diary;
    FakeConductor bus{diary};
    objects::Conductor conductor{bus, objects::release_by_name("zed").value(), Milliseconds(1000)};
    FakeNetworks networks{diary, conductor};
    FakeResources resources{diary, conductor, host_name};
    FakeAllocations allocations{diary, host_name};
    FakeImagesOfRequests images{diary};
    FakeVolumes volumes{diary};
    FakeNotifier notifier{diary};
    tasks::EventWaiters waiters;
    tasks::TaskOptions options;
    std::uint64_t journal_bytes = 1U << 30U;
    std::size_t pool_threads = 8;
    rpc::Context context{*Json::parse(R"({"request_id": "req-1", "user_id": "u1",
        "project_id": "p1", "roles": ["member", "reader"]})")};
    Mailbox<Result<Json>> answers;

    std::unique_ptr<hypervisor::simulated::SimulatedHypervisor> host;
    std::unique_ptr<journal::Journal> journal;
    std::unique_ptr<TaskPool> pool;
    std::unique_ptr<TaskPool> network_pool;
    std::unique_ptr<TaskPool> question_pool;
    std::unique_ptr<tasks::InstanceQueues> queues;
    std::unique_ptr<tasks::Services> services;
    std::unique_ptr<tasks::Router> router;
};

/// Base of test fixtures.
class TaskTest : public ::testing::Test {
  protected:
    void TearDown() override {
        bench.stop();
        EXPECT_EQ(bench.bus.unknown(), std::vector<std::string>())
            << "the fake conductor has no answer for these";
    }
    TaskBench bench;
};

} // namespace novalet::tests
