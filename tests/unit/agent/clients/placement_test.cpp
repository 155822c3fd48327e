#include "agent/clients/placement.hpp"

#include "tests/support/fake_http.hpp"

#include <future>
#include <gmock/gmock.h>

namespace novalet::clients {
namespace {

using scheduler_hooks::model::Inventories;
using scheduler_hooks::model::Inventory;
using scheduler_hooks::model::Traits;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using tests::FakeHttp;
using tests::json;

constexpr const char* provider = "20283090-181e-4618-ada2-57a8a70b61e3";
const std::string of_provider = std::string("/resource_providers/") + provider;
const std::string in_tree = std::string("/resource_providers?in_tree=") + provider;

Inventory inventory(std::int64_t total) {
    Inventory out;
    out.total = total;
    out.max_unit = total;
    return out;
}

class PlacementTest : public testing::Test {
  protected:
    PlacementTest() { http.give_token(); }
    ServiceClient service() {
        ServiceOptions options;
        options.types = {"placement"};
        options.endpoint_override = "http://placement";
        options.pause = [this](Milliseconds) { ++pauses; };
        return {http, account, options, nullptr};
    }
    static std::string version_of(const HttpRequest& request) {
        const auto found = request.headers.find("OpenStack-API-Version");
        return found == request.headers.end() ? "" : found->second;
    }

    /// A provider with VCPU 8 and one trait, at generation 5.
    void provider_exists() {
        http.on("GET",
                in_tree,
                200,
                R"({"resource_providers":[{"uuid":"20283090-181e-4618-ada2-57a8a70b61e3",
                    "name":"vm","generation":5}]})");
        http.on("GET",
                of_provider + "/inventories",
                200,
                R"({"resource_provider_generation":5,"inventories":{"VCPU":{"total":8,
                    "reserved":0,"min_unit":1,"max_unit":8,"step_size":1,
                    "allocation_ratio":1.0}}})");
        http.on("GET",
                of_provider + "/traits",
                200,
                R"({"resource_provider_generation":5,"traits":["COMPUTE_NODE"]})");
    }

    FakeHttp http;
    int pauses = 0;
    Keystone account{http, tests::test_account()};
    Placement placement{service()};
    rpc::Context context{json(R"({"request_id":"req-1"})")};
};

TEST_F(PlacementTest, AProviderIsMadeWhenMissing) {
    http.on("GET", in_tree, 200, R"({"resource_providers":[]})");
    http.on("POST", "/resource_providers", 200, R"({"uuid":"u","name":"vm","generation":0})");
    const auto made = placement.ensure_provider(context, provider, "vm");
    ASSERT_TRUE(made) << made.error().text;
    EXPECT_EQ(made->generation, 0);
    EXPECT_EQ(version_of(http.only("GET", in_tree)), "placement 1.14");
    EXPECT_EQ(version_of(http.only("POST", "/resource_providers")), "placement 1.20");
}

TEST_F(PlacementTest, AnotherProviderOfTheNameIsToldToTheOperator) {
    http.on("GET", in_tree, 200, R"({"resource_providers":[]})");
    http.on("POST",
            "/resource_providers",
            409,
            R"({"errors":[{"detail":"Conflicting resource provider name: vm already exists."}]})");
    const auto made = placement.ensure_provider(context, provider, "vm");
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().exception, "ResourceProviderCreationFailed");
    EXPECT_THAT(made.error().text, HasSubstr("'vm'"));
}

TEST_F(PlacementTest, AProviderMadeByAnotherMeanwhileIsTaken) {
    http.on("GET", in_tree, 200, R"({"resource_providers":[]})");
    http.on("GET",
            in_tree,
            200,
            R"({"resource_providers":[{"uuid":"20283090-181e-4618-ada2-57a8a70b61e3",
                "name":"vm","generation":3}]})");
    http.on("POST", "/resource_providers", 409, R"({"errors":[{"detail":"duplicate uuid"}]})");
    EXPECT_EQ(placement.ensure_provider(context, provider, "vm")->generation, 3);
}

TEST_F(PlacementTest, CustomClassesAreMadeOnceBeforeTheirInventory) {
    http.on("PUT", "/resource_classes/CUSTOM_GPU", 201);
    http.on("PUT", of_provider + "/inventories", 200, R"({"resource_provider_generation":6})");
    const Inventories wanted{{"CUSTOM_GPU", inventory(2)}, {"VCPU", inventory(8)}};
    EXPECT_EQ(*placement.put_inventories(context, provider, wanted, 5), 6);
    EXPECT_EQ(*placement.put_inventories(context, provider, wanted, 6), 6);
    EXPECT_THAT(http.calls(),
                ElementsAre("PUT /resource_classes/CUSTOM_GPU",
                            "PUT " + of_provider + "/inventories",
                            "PUT " + of_provider + "/inventories"));
    EXPECT_EQ(version_of(http.only("PUT", "/resource_classes/CUSTOM_GPU")), "placement 1.7");
    EXPECT_EQ(http.only("PUT", "/resource_classes/CUSTOM_GPU").body, "");
}

TEST_F(PlacementTest, AClassInUseIsNoGenerationConflict) {
    http.on("PUT",
            of_provider + "/inventories",
            409,
            R"({"errors":[{"status":409,"code":"placement.inventory.inuse",
                "detail":"Inventory for 'PCPU' on resource provider 'x' in use."}]})");
    const auto refused = placement.put_inventories(context, provider, {}, 5);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().exception, "InventoryInUse");
    EXPECT_NE(refused.error().code, Code::Conflict);
    EXPECT_THAT(refused.error().text, HasSubstr("'PCPU'"));

    http.forget("PUT", of_provider + "/inventories");
    http.on("PUT",
            of_provider + "/inventories",
            409,
            R"({"errors":[{"code":"placement.concurrent_update","detail":"generation"}]})");
    EXPECT_EQ(placement.put_inventories(context, provider, {}, 5).error().code, Code::Conflict);
}

TEST_F(PlacementTest, CustomTraitsAreMadeAndUnknownStandardOnesLeftOut) {
    http.on("GET",
            "/traits?name=in:COMPUTE_NODE,CUSTOM_GOLD,HW_NEW",
            200,
            R"({"traits":["COMPUTE_NODE"]})");
    http.on("PUT", "/traits/CUSTOM_GOLD", 201);
    const auto allowed =
        placement.ensure_traits(context, {"COMPUTE_NODE", "CUSTOM_GOLD", "HW_NEW"});
    ASSERT_TRUE(allowed) << allowed.error().text;
    EXPECT_EQ(*allowed, (Traits{"COMPUTE_NODE", "CUSTOM_GOLD"}));
    EXPECT_TRUE(placement.ensure_traits(context, {})->empty());
}

TEST_F(PlacementTest, Aggregates) {
    http.on("GET",
            of_provider + "/aggregates",
            200,
            R"({"aggregates":["a","b"],"resource_provider_generation":7})");
    const auto found = placement.aggregates(context, provider);
    ASSERT_TRUE(found);
    EXPECT_THAT(found->value, ElementsAre("a", "b"));
    EXPECT_EQ(found->generation, 7);
    EXPECT_EQ(version_of(http.requests().back()), "placement 1.19");
}

TEST_F(PlacementTest, AllocationsOfAConsumer) {
    http.on("GET",
            "/allocations/i",
            200,
            R"({"allocations":{"rp":{"resources":{"VCPU":1},"generation":4}},
                "project_id":"p","user_id":"u","consumer_generation":1})");
    auto held = placement.allocations(context, "i");
    ASSERT_TRUE(held) << held.error().text;
    EXPECT_EQ(held->generation, 1);
    held->by_provider = Json::object();
    http.on("PUT", "/allocations/i", 204);
    ASSERT_TRUE(placement.put_allocations(context, "i", *held));
    EXPECT_EQ(http.body_of("PUT", "/allocations/i"),
              json(R"({"allocations":{},"project_id":"p","user_id":"u","consumer_generation":1})"));
    EXPECT_EQ(version_of(http.requests().back()), "placement 1.28");

    http.on("GET", "/allocations/nobody", 200, R"({"allocations":{}})");
    const auto none = placement.allocations(context, "nobody");
    EXPECT_TRUE(none->empty());
    EXPECT_FALSE(none->generation);
}

class MoveTest : public PlacementTest {
  protected:
    void source_holds() {
        http.on("GET",
                "/allocations/s",
                200,
                R"({"allocations":{"rp":{"resources":{"VCPU":1},"generation":4}},
                    "project_id":"p","user_id":"u","consumer_generation":1})");
    }
    void target_is_new() { http.on("GET", "/allocations/t", 200, R"({"allocations":{}})"); }
};

TEST_F(MoveTest, BothConsumersInOneRequest) {
    source_holds();
    target_is_new();
    http.on("POST", "/allocations", 204);
    ASSERT_TRUE(placement.move_allocations(context, "s", "t"));
    EXPECT_EQ(http.body_of("POST", "/allocations"), json(R"({
        "s":{"allocations":{},"project_id":"p","user_id":"u","consumer_generation":1},
        "t":{"allocations":{"rp":{"resources":{"VCPU":1},"generation":4}},
             "project_id":"p","user_id":"u","consumer_generation":null}})"));
}

TEST_F(MoveTest, DoneBefore) {
    http.on("GET", "/allocations/s", 200, R"({"allocations":{}})");
    http.on("GET", "/allocations/t", 200, R"({"allocations":{"rp":{"resources":{"VCPU":1}}}})");
    EXPECT_TRUE(placement.move_allocations(context, "s", "t"));
    EXPECT_THAT(http.calls(), Not(Contains("POST /allocations")));
}

TEST_F(MoveTest, NothingToMoveIsAnError) {
    http.on("GET", "/allocations/s", 200, R"({"allocations":{}})");
    target_is_new();
    EXPECT_EQ(placement.move_allocations(context, "s", "t").error().exception,
              "AllocationMoveFailed");
}

TEST_F(MoveTest, AChangedConsumerEndsIt) {
    source_holds();
    target_is_new();
    http.on("POST",
            "/allocations",
            409,
            R"({"errors":[{"code":"placement.concurrent_update",
                "detail":"consumer generation conflict - expected 1 but got 2"}]})");
    const auto refused = placement.move_allocations(context, "s", "t");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().exception, "AllocationMoveFailed");
    EXPECT_EQ(refused.error().code, Code::Conflict);
    EXPECT_EQ(pauses, 0);
}

TEST_F(MoveTest, OtherWritersOfTheProviderAreWaitedFor) {
    source_holds();
    target_is_new();
    const Json busy = json(R"({"errors":[{"code":"placement.concurrent_update",
                              "detail":"resource provider generation"}]})");
    http.on("POST", "/allocations", 409, busy).on("POST", "/allocations", 204);
    EXPECT_TRUE(placement.move_allocations(context, "s", "t"));
    EXPECT_EQ(pauses, 1);
    http.forget("POST", "/allocations");
    http.on("POST", "/allocations", 409, busy);
    EXPECT_EQ(placement.move_allocations(context, "s", "t").error().code, Code::Conflict);
    EXPECT_EQ(pauses, 4);
}

class LeaveTest : public PlacementTest {
  protected:
    LeaveTest() {
        http.on("GET",
                "/resource_providers?in_tree=here",
                200,
                R"({"resource_providers":[{"uuid":"here"},{"uuid":"child"}]})");
    }
    void holds(const std::string& allocations) {
        const std::string body = R"({"allocations":)" + allocations +
                                 R"(,"project_id":"p","user_id":"u","consumer_generation":3})";
        http.on("GET", "/allocations/i", 200, body.c_str());
    }
};

TEST_F(LeaveTest, WhatIsHeldElsewhereStays) {
    holds(
        R"({"here":{"resources":{"VCPU":1}},"child":{"resources":{"NET_BW_EGR_KILOBIT_PER_SEC":1}},
             "there":{"resources":{"VCPU":1}}})");
    http.on("PUT", "/allocations/i", 204);
    ASSERT_TRUE(placement.remove_from_allocation(context, "i", "here"));
    EXPECT_EQ(http.body_of("PUT", "/allocations/i"),
              json(R"({"allocations":{"there":{"resources":{"VCPU":1}}},
                       "project_id":"p","user_id":"u","consumer_generation":3})"));
}

TEST_F(LeaveTest, NothingHeldHereIsNothingWritten) {
    holds(R"({"there":{"resources":{"VCPU":1}}})");
    EXPECT_TRUE(placement.remove_from_allocation(context, "i", "here"));
    EXPECT_THAT(http.calls(), Not(Contains("PUT /allocations/i")));
}

TEST_F(LeaveTest, AnotherWriterIsWaitedFor) {
    holds(R"({"here":{"resources":{"VCPU":1}},"there":{"resources":{"VCPU":1}}})");
    const Json busy = json(R"({"errors":[{"code":"placement.concurrent_update",
                              "detail":"consumer generation conflict"}]})");
    http.on("PUT", "/allocations/i", 409, busy).on("PUT", "/allocations/i", 204);
    EXPECT_TRUE(placement.remove_from_allocation(context, "i", "here"));
    EXPECT_EQ(pauses, 1);
}

TEST_F(PlacementTest, ForcedRemoval) {
    http.on("DELETE", "/allocations/i", 404).on("DELETE", "/allocations/i", 500);
    EXPECT_TRUE(placement.delete_allocation(context, "i"));
    EXPECT_EQ(version_of(http.requests().back()), "");
    EXPECT_FALSE(placement.delete_allocation(context, "i"));
}

class ProviderSyncTest : public PlacementTest {
  protected:
    ProviderSync::Wish wants(std::int64_t vcpus) {
        return [vcpus](const Inventories&, const Traits& traits) {
            return ProviderWish{{{"VCPU", inventory(vcpus)}}, traits};
        };
    }
    ProviderSync sync{placement, provider, "vm", Seconds(0)};
};

TEST_F(ProviderSyncTest, WritesOnlyWhatDiffers) {
    provider_exists();
    http.on("PUT", of_provider + "/inventories", 200, R"({"resource_provider_generation":6})");
    ASSERT_TRUE(sync.sync(context, wants(8)));
    EXPECT_EQ(http.calls().size(), 3U) << "read only";
    ASSERT_TRUE(sync.sync(context, wants(8)));
    EXPECT_EQ(http.calls().size(), 3U) << "known";
    ASSERT_TRUE(sync.sync(context, wants(16)));
    EXPECT_EQ(http.body_of("PUT", of_provider + "/inventories")["resource_provider_generation"],
              Json(5));
    ASSERT_TRUE(sync.sync(context, wants(16)));
    EXPECT_EQ(http.calls().size(), 4U);
}

TEST_F(ProviderSyncTest, AConflictIsReadAndTriedAgain) {
    provider_exists();
    http.on("PUT", of_provider + "/inventories", 409)
        .on("PUT",
            of_provider + "/inventories",
            200,
            json(R"({"resource_provider_generation":6})"));
    ASSERT_TRUE(sync.sync(context, wants(16)));
    EXPECT_EQ(http.calls().size(), 8U);
}

TEST_F(ProviderSyncTest, ConflictsHaveAnEnd) {
    provider_exists();
    http.on("PUT", of_provider + "/inventories", 409);
    EXPECT_EQ(sync.sync(context, wants(16)).error().code, Code::Conflict);
    EXPECT_EQ(http.calls().size(), 16U) << "four attempts";
}

TEST_F(ProviderSyncTest, AFailureIsNotRemembered) {
    provider_exists();
    http.on("PUT", of_provider + "/inventories", 500)
        .on("PUT",
            of_provider + "/inventories",
            200,
            json(R"({"resource_provider_generation":6})"));
    EXPECT_EQ(sync.sync(context, wants(16)).error().code, Code::Unavailable);
    ASSERT_TRUE(sync.sync(context, wants(16)));
    EXPECT_EQ(http.calls().size(), 8U);
}

TEST_F(ProviderSyncTest, TraitsThatCannotBeSetAreNotTriedEachTime) {
    provider_exists();
    http.on("GET", "/traits?name=in:COMPUTE_NODE,HW_NEW", 200, R"({"traits":["COMPUTE_NODE"]})");
    const auto wish = [](const Inventories& inventories, const Traits&) {
        return ProviderWish{inventories, {"COMPUTE_NODE", "HW_NEW"}};
    };
    ASSERT_TRUE(sync.sync(context, wish));
    ASSERT_TRUE(sync.sync(context, wish));
    EXPECT_EQ(http.calls().size(), 4U);
}

TEST_F(ProviderSyncTest, ForgetDuringASyncIsNotLost) {
    provider_exists();
    std::promise<void> reading;
    std::promise<void> go;
    http.forget("GET", in_tree);
    http.on("GET", in_tree, [&](const HttpRequest&) {
        reading.set_value();
        go.get_future().wait();
        return HttpResponse{
            200,
            {},
            R"({"resource_providers":[{"uuid":"20283090-181e-4618-ada2-57a8a70b61e3",
                                "name":"vm","generation":5}]})"};
    });
    http.on("GET",
            in_tree,
            200,
            R"({"resource_providers":[{"uuid":"20283090-181e-4618-ada2-57a8a70b61e3",
                "name":"vm","generation":5}]})");
    auto running = std::async(std::launch::async, [&] { return sync.sync(context, wants(8)); });
    reading.get_future().wait();
    sync.forget(); // would hang if a lock were held over the request
    go.set_value();
    ASSERT_TRUE(running.get());
    ASSERT_TRUE(sync.sync(context, wants(8)));
    EXPECT_EQ(http.calls().size(), 6U) << "read again";
}

} // namespace
} // namespace novalet::clients
