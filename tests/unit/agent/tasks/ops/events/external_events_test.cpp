#include "agent/tasks/ops/events/external_events.hpp"

#include "tests/support/task_bench.hpp"

#include <gmock/gmock.h>
#include <latch>

namespace novalet::tasks {
namespace {

using hypervisor::PowerState;
using testing::ElementsAre;
using testing::IsEmpty;
using tests::nova_object;
using tests::port_uuid;
using tests::server_in;
using tests::server_uuid;

class ExternalEventsTest : public tests::TaskTest {
  protected:
    /// Neutron's word on the port of the server, as nova-api passes it on.
    void send_event(const char* name, Json instances, const std::string& tag = port_uuid) {
        Json event = nova_object("InstanceExternalEvent",
                                 "1.5",
                                 Json::object()
                                     .set("instance_uuid", server_uuid)
                                     .set("name", name)
                                     .set("tag", tag)
                                     .set("status", "completed"));
        bench.send("external_instance_event",
                   Json::object()
                       .set("instances", std::move(instances))
                       .set("events", Json::Array{std::move(event)}));
        ASSERT_TRUE(bench.answers.take()) << "the caller does not wait for it";
    }
    [[nodiscard]] Json the_server() { return Json::Array{bench.instance_argument()}; }
    [[nodiscard]] std::vector<std::string> plugged() {
        return bench.host->plugged(InstanceUuid(server_uuid));
    }
};

TEST_F(ExternalEventsTest, WaitersAreWoken) {
    EventWaiters::Waiter waiter(bench.waiters,
                                InstanceUuid(server_uuid),
                                {{"network-vif-plugged", port_uuid},
                                 {"network-vif-unplugged", port_uuid},
                                 {"accelerator-request-bound", port_uuid}});
    for (const char* name :
         {"network-vif-plugged", "network-vif-unplugged", "accelerator-request-bound"})
        send_event(name, Json::array());
    EXPECT_TRUE(waiter.wait(Deadline::after(Seconds(50)), {}));
}

TEST_F(ExternalEventsTest, ANetworkChangeTakesItsTurnOnTheServersQueue) {
    std::latch before(1);
    bench.queues->post(server_uuid, [&](const std::stop_token&) {
        before.wait();
        bench.diary.note("the work before");
    });
    bench.bus.put_instance(server_in("active", nullptr));
    send_event("network-changed", the_server());
    before.count_down();
    ASSERT_TRUE(bench.settle());
    EXPECT_THAT(
        bench.diary.among({"the work before", "networks."}),
        ElementsAre("the work before", "networks.refresh " + server_uuid + ' ' + port_uuid));
}

TEST_F(ExternalEventsTest, ADeletedPortLeavesTheCacheAndTheGuest) {
    bench.make_guest(server_in("active", nullptr));
    ASSERT_THAT(plugged(), ElementsAre(port_uuid));
    send_event("network-vif-deleted", the_server());
    ASSERT_TRUE(bench.settle());
    EXPECT_THAT(bench.diary.of("networks."),
                ElementsAre("networks.forget " + server_uuid + ' ' + port_uuid));
    EXPECT_THAT(plugged(), IsEmpty());
    EXPECT_EQ(bench.guest_state(), PowerState::Running);
}

TEST_F(ExternalEventsTest, ADeletedPortThatTheCacheDoesNotHaveChangesNothing) {
    bench.make_guest(server_in("active", nullptr));
    bench.networks.info = Json::array();
    send_event("network-vif-deleted", the_server());
    ASSERT_TRUE(bench.settle());
    EXPECT_THAT(plugged(), ElementsAre(port_uuid));
}

TEST_F(ExternalEventsTest, ADetachThatFailsDoesNotHarmTheServer) {
    bench.make_guest(server_in("active", nullptr));
    bench.host->fail_step("detach_interface",
                          Error{Code::Timeout, "it holds on", "DeviceDetachFailed", ""});
    send_event("network-vif-deleted", the_server());
    ASSERT_TRUE(bench.settle());
    EXPECT_EQ(bench.states(), "active/None");
    EXPECT_EQ(bench.guest_state(), PowerState::Running);
    EXPECT_THAT(bench.bus.faults(), IsEmpty());
}

TEST_F(ExternalEventsTest, WhatIsNotServedChangesNothing) {
    bench.make_guest(server_in("active", nullptr));
    bench.diary.clear();
    for (const char* name : {"volume-extended", "power-update", "volume-reimaged", "brand-new"})
        send_event(name, the_server(), "POWER_OFF");
    ASSERT_TRUE(bench.settle());
    EXPECT_THAT(bench.diary.lines(), IsEmpty());
    EXPECT_EQ(bench.guest_state(), PowerState::Running);
}

TEST_F(ExternalEventsTest, AnEventWithoutItsServerChangesNothing) {
    bench.make_guest(server_in("active", nullptr));
    bench.diary.clear();
    send_event("network-vif-deleted", Json::array());
    send_event("network-changed", Json::array());
    ASSERT_TRUE(bench.settle());
    EXPECT_THAT(bench.diary.lines(), IsEmpty());
    EXPECT_THAT(plugged(), ElementsAre(port_uuid));
}

} // namespace
} // namespace novalet::tasks
