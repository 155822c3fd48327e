// Against bodies that Nova Zed's own code made of the same instances (data/notifications_zed.json).
#include "agent/telemetry/notifications.hpp"

#include "agent/core/file.hpp"
#include "tests/support/fake_clock.hpp"

#include <gmock/gmock.h>

namespace novalet::telemetry {
namespace {

const Json& samples() {
    static const Json all =
        Json::parse(
            read_file(NOVALET_SOURCE_DIR "/tests/contract/data/notifications_zed.json").value())
            .value();
    return all;
}

InstanceNews news(const char* instance, const char* action, const char* phase) {
    InstanceNews out;
    out.action = action;
    out.phase = phase;
    out.instance = samples()["instances"][instance]["nova_object.data"];
    out.image_url = "http://glance:9292/images/155d900f-4e14-4e4c-a73d-069cbf4541e6";
    out.instance_name = "instance-0000000a";
    return out;
}

Error too_small() {
    return Result<int>(
               fail_as("FlavorDiskSmallerThanImage",
                       Code::InvalidArgument,
                       "Flavor's disk is too small for requested image. Flavor disk is 1 bytes, "
                       "image is 2 bytes."))
        .error();
}

const Actor user{"req-1", "u1", "p1"};

/// Priority and payload that Nova sent under this event type.
void expect_as_nova(const Notification& sent, const Json& expected_payload) {
    const auto& sample = samples()["notifications"][sent.body["event_type"].as_string()];
    ASSERT_TRUE(sample.is_array()) << sent.body["event_type"].as_string();
    std::string priority = sample.at(0).as_string();
    for (char& c : priority)
        c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    EXPECT_EQ(sent.priority, priority);
    EXPECT_EQ(sent.body["priority"].as_string(), priority);
    EXPECT_EQ(sent.body["payload"].dump(), expected_payload.dump());
    if (sample.size() > 2) {
        EXPECT_EQ(sent.body["publisher_id"], sample.at(2));
    }
}

void expect_as_nova(const Notification& sent) {
    expect_as_nova(sent, samples()["notifications"][sent.body["event_type"].as_string()].at(1));
}

TEST(UnversionedNotification, EndOfACreation) {
    auto one = news("active", "create", "end");
    one.network_info = samples()["network_info"];
    one.extra.set("message", "Success");
    expect_as_nova(unversioned(one, "compute", "INFO"));
}

TEST(UnversionedNotification, StartOfADeletionHasNoAddresses) {
    expect_as_nova(unversioned(news("active", "delete", "start"), "compute", "INFO"));
}

TEST(UnversionedNotification, AFailedCreationIsAnError) {
    auto one = news("building", "create", "error");
    one.error = too_small();
    const auto sent = unversioned(one, "compute", "INFO");
    Json expected = samples()["notifications"]["compute.instance.create.error"].at(1);
    // Nova has Python's rendering of the exception object in it.
    EXPECT_THAT(expected["exception"].as_string(),
                testing::HasSubstr("FlavorDiskSmallerThanImage"));
    EXPECT_THAT(sent.body["payload"]["exception"].as_string(),
                testing::StartsWith("FlavorDiskSmallerThanImage: Flavor's disk"));
    expected.set("exception", sent.body["payload"]["exception"]);
    expect_as_nova(sent, expected);
}

TEST(UnversionedNotification, NamesThatDifferAndTheLevel) {
    auto one = news("active", "live_migration_post", "start");
    one.legacy_action = "live_migration._post";
    const auto sent = unversioned(one, "h", "DEBUG");
    EXPECT_EQ(sent.body["event_type"].as_string(), "compute.instance.live_migration._post.start");
    EXPECT_EQ(sent.body["publisher_id"].as_string(), "compute.h");
    EXPECT_EQ(sent.priority, "DEBUG");
}

TEST(VersionedNotification, EndOfACreation) {
    auto one = news("active", "create", "end");
    one.block_devices = Json::array();
    expect_as_nova(versioned(one, user, "compute"));
}

TEST(VersionedNotification, StartOfADeletion) {
    expect_as_nova(versioned(news("active", "delete", "start"), user, "compute"));
}

TEST(VersionedNotification, PeriodicWorkHasNoRequest) {
    expect_as_nova(versioned(news("active", "power_off", "end"), {"req-2", "", ""}, "compute"));
}

TEST(VersionedNotification, AFailedCreationSaysWhy) {
    auto one = news("building", "create", "error");
    one.block_devices = Json::array();
    one.error = too_small();
    one.where = "nova.virt.libvirt.driver.spawn";
    const auto sent = versioned(one, user, "compute");
    Json expected = samples()["notifications"]["instance.create.error"].at(1);
    expected.member("nova_object.data")
        .member("fault")
        .member("nova_object.data")
        .set("traceback",
             sent.body["payload"]["nova_object.data"]["fault"]["nova_object.data"]["traceback"]);
    expect_as_nova(sent, expected);
}

TEST(VersionedNotification, TellsVolumesOnly) {
    auto one = news("active", "delete", "start");
    one.block_devices = Json::parse(R"([{"volume_id":null,"device_name":"/dev/vda"},
                        {"volume_id":"v1","device_name":"/dev/vdb","boot_index":null,
                         "delete_on_termination":true,"tag":null}])")
                            .value();
    const auto sent = versioned(one, user, "compute");
    const auto& told = sent.body["payload"]["nova_object.data"]["block_devices"];
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told.at(0)["nova_object.name"].as_string(), "BlockDevicePayload");
    EXPECT_EQ(told.at(0)["nova_object.data"]["volume_id"].as_string(), "v1");
}

TEST(Notification, TheEnvelopeIsOsloMessagings) {
    const tests::FakeClock clock;
    const auto sent = versioned(news("active", "delete", "start"), user, "compute", clock);
    EXPECT_EQ(sent.body["timestamp"].as_string(), "2027-01-15 08:00:00.000000");
    EXPECT_EQ(sent.body["message_id"].as_string().size(), 36U);
    EXPECT_EQ(sent.body.size(), 6U);
}

TEST(Notification, AnEmptyOrBrokenInstanceDoesNoHarm) {
    InstanceNews nothing;
    nothing.action = "create";
    nothing.phase = "start";
    EXPECT_EQ(unversioned(nothing, "h", "INFO").body["payload"]["created_at"].as_string(), "None");
    nothing.instance = Json::parse(R"({"info_cache":{"nova_object.data":{"network_info":"[{"}},
        "flavor":7,"keypairs":[],"metadata":null})")
                           .value();
    EXPECT_TRUE(
        versioned(nothing, user, "h").body["payload"]["nova_object.data"]["ip_addresses"].empty());
}

} // namespace
} // namespace novalet::telemetry
