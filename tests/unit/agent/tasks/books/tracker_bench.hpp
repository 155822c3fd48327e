#pragma once
// A tracker over the fake conductor and a simulated host of four CPUs; Placement is whoever sits
// behind `http`.
#include "agent/tasks/books/resource_tracker.hpp"
#include "tests/support/fake_http.hpp"
#include "tests/support/task_bench.hpp"

namespace novalet::tests {

inline std::string uuid_number(int number) {
    std::string digits = std::to_string(number);
    return "33333333-0000-4000-8000-" + std::string(12 - digits.size(), '0') + digits;
}

class TrackerTest : public TaskTest {
  protected:
    explicit TrackerTest(clients::HttpClient& http)
        : account(http, test_account()),
          placement(clients::ServiceClient(http, account, quiet(), nullptr)) {
        bench.bus.answer("ComputeNode.get_by_host_and_nodename", Json()); // unknown so far
        bench.bus.answer("Service.get_by_compute_host",
                         nova_object("Service", "1.22", Json::object().set("disabled", false)));
        options.host = host_name;
        options.my_ip = "192.0.2.1";
        options.state_path = bench.folder.path();
        options.virt_type = "qemu";
        options.records_refresh = Seconds(0); // every audit reads
        hypervisor::simulated::Options small;
        small.hostname = "node1";
        small.vcpus = 4;
        small.memory_mib = 1024;
        small.disk_gib = 20;
        small.numa_cells = 1;
        host = std::make_unique<hypervisor::simulated::SimulatedHypervisor>(small);
        make_tracker();
    }
    /// Another process.
    void make_tracker() {
        tracker = std::make_unique<tasks::ResourceTracker>(
            options, bench.conductor, *host, placement, *bench.pool, nullptr);
    }
    void TearDown() override {
        ASSERT_TRUE(bench.settle());
        tracker.reset();
        TaskTest::TearDown();
    }

    /// Deeds of the conductor for a host that is new.
    void start() {
        bench.bus.fail("ComputeNode.get_by_host_and_nodename",
                       FakeConductor::remote("ComputeHostNotFound", Code::NotFound));
        ASSERT_TRUE(tracker->start());
    }
    /// Another process on a host that the conductor knows.
    void restart() {
        ASSERT_TRUE(bench.settle());
        bench.bus.answer("ComputeNode.get_by_host_and_nodename",
                         nova_object("ComputeNode", "1.19", bench.bus.written("ComputeNode")));
        make_tracker();
        ASSERT_TRUE(tracker->start());
    }
    [[nodiscard]] objects::Object server(const std::string& uuid) {
        return objects::Object::from_primitive(bench.instance_argument(uuid));
    }
    Result<void> claim(const std::string& uuid, std::int64_t memory_mib, std::int64_t vcpus = 1) {
        auto record = new_server(uuid);
        record.member("flavor")
            .member("nova_object.data")
            .set("memory_mb", memory_mib)
            .set("vcpus", vcpus);
        bench.bus.put_instance(record);
        auto instance = server(uuid);
        return tracker->claim(bench.context, instance, Json::object());
    }
    void drop(const std::string& uuid) {
        auto instance = server(uuid);
        tracker->drop(bench.context, instance, false);
    }
    /// The ComputeNode record as it was last written.
    Json node() {
        EXPECT_TRUE(bench.settle());
        tracker->audit();
        return bench.bus.written("ComputeNode");
    }

    static clients::ServiceOptions quiet() {
        clients::ServiceOptions out;
        out.endpoint_override = "http://placement";
        out.pause = [](Milliseconds) {};
        return out;
    }
    tasks::TrackerOptions options;
    clients::Keystone account;
    clients::Placement placement;
    std::unique_ptr<hypervisor::simulated::SimulatedHypervisor> host;
    std::unique_ptr<tasks::ResourceTracker> tracker;
};

} // namespace novalet::tests
