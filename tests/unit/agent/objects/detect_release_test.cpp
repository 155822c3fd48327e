#include "agent/objects/detect_release.hpp"
#include "tests/support/fake_caller.hpp"

#include <gtest/gtest.h>

namespace novalet::objects {
namespace {

using tests::FakeCaller;

class DetectRelease : public ::testing::Test {
  protected:
    static Json record(int version, const char* seen, bool forced_down = false) {
        Object service("Service", "1.22");
        service.set_unchanged("version", version);
        service.set_unchanged("last_seen_up", seen == nullptr ? Json() : Json(seen));
        service.set_unchanged("forced_down", forced_down);
        return service.to_primitive();
    }
    static Json list(Json::Array records) {
        Object out("ServiceList", "1.19");
        out.set_unchanged("objects", std::move(records));
        return out.to_primitive();
    }
    void refuse_probe(const std::string& known) {
        bus.answer_exception("IncompatibleObjectVersion",
                             Code::Remote,
                             "Version 1.999 of ImageMetaProps is not supported, supported version "
                             "is " +
                                 known);
    }
    Result<DetectedRelease> detect(const ReleaseWish& wish = {}) {
        return detect_release(conductor, wish, Seconds(60));
    }

    FakeCaller bus;
    Conductor conductor{bus, release_by_name("zed").value(), Milliseconds(1000)};
};

TEST_F(DetectRelease, TheLowestLiveConductorDecides) {
    bus.answer(list({record(72, "2026-01-01T00:00:59Z"), record(68, "2026-01-01T00:00:00Z")}));
    const auto found = detect();
    ASSERT_TRUE(found);
    EXPECT_EQ(found->release.name, "epoxy");
    EXPECT_EQ(found->source, "conductor records");
    EXPECT_TRUE(found->mixed());
    EXPECT_EQ(found->maximum, 72);
    const auto& args = bus.sent.front().args;
    EXPECT_EQ(args["args"].dump(), R"(["nova-conductor"])");
    EXPECT_EQ(args["kwargs"].dump(), R"({"include_disabled":true})");
    EXPECT_EQ(args["object_versions"]["ServiceList"].as_string(), "1.19");
}

TEST_F(DetectRelease, StaleForcedDownAndUnseenRecordsDoNotCount) {
    bus.answer(list({record(74, "2026-01-01T00:10:00Z"),
                     record(64, "2026-01-01T00:08:59Z"),
                     record(64, "2026-01-01T00:10:00Z", true),
                     record(64, nullptr)}));
    const auto found = detect();
    ASSERT_TRUE(found);
    EXPECT_EQ(found->release.name, "hibiscus");
    EXPECT_FALSE(found->mixed());
}

TEST_F(DetectRelease, TheOnlyRecordSpeaksHoweverOldItIs) {
    bus.answer(list({record(64, "2020-01-01T00:00:00Z")}));
    EXPECT_EQ(detect().value().release.name, "zed");
}

TEST_F(DetectRelease, WithoutRecordsTheProbeDecides) {
    bus.answer(list({}));
    refuse_probe("1.42");
    const auto found = detect();
    ASSERT_TRUE(found) << found.error().text;
    EXPECT_EQ(found->release.name, "gazpacho");
    EXPECT_EQ(found->source, "version probe");
    EXPECT_EQ(bus.last().args.dump(),
              R"({"args":[],"kwargs":{},"object_versions":{"ImageMetaProps":"1.999"},)"
              R"("objmethod":"obj_name","objname":"ImageMetaProps"})");
}

TEST_F(DetectRelease, WithoutAnswersItRefusesAndSaysWhatToDo) {
    bus.answer_exception("MessagingTimeout", Code::Timeout, "no answer in 60 s");
    bus.answer_exception("MessagingTimeout", Code::Timeout, "no answer in 60 s");
    const auto found = detect();
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, Code::Timeout);
    EXPECT_EQ(found.error().text,
              "the control plane's release cannot be found: reading the nova-conductor records "
              "failed (no answer in 60 s), and the version probe failed too; set compat.release: "
              "no answer in 60 s");
}

TEST_F(DetectRelease, AnAcceptedProbeIsNoAnswer) {
    bus.answer(list({}));
    bus.answer("ImageMetaProps");
    EXPECT_FALSE(detect());
}

TEST_F(DetectRelease, ATooOldControlPlaneIsRefused) {
    bus.answer(list({record(57, "2026-01-01T00:00:00Z")}));
    const auto found = detect();
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, Code::Unsupported);
}

TEST_F(DetectRelease, TheConfigurationWins) {
    bus.answer(list({record(64, "2026-01-01T00:00:00Z")}));
    const auto found = detect({"epoxy", 0});
    ASSERT_TRUE(found);
    EXPECT_EQ(found->release.name, "epoxy");
    EXPECT_EQ(found->release.service_version, 68);
    EXPECT_EQ(found->source, "configuration");
    EXPECT_EQ(found->minimum, 64);
}

TEST_F(DetectRelease, TheConfigurationWinsWithoutAnAnswer) {
    bus.answer_exception("MessagingTimeout", Code::Timeout);
    const auto found = detect({"zed", 66});
    ASSERT_TRUE(found);
    EXPECT_EQ(found->release.name, "zed");
    EXPECT_EQ(found->release.service_version, 66);
}

TEST_F(DetectRelease, ANumberAloneKeepsTheRulesThatWereFound) {
    bus.answer(list({record(68, "2026-01-01T00:00:00Z")}));
    const auto found = detect({"auto", 66});
    ASSERT_TRUE(found);
    EXPECT_EQ(found->release.name, "epoxy");
    EXPECT_EQ(found->release.service_version, 66);
}

TEST_F(DetectRelease, AnUnknownNameNamesTheOption) {
    bus.answer(list({}));
    const auto found = detect({"zedd", 0});
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, Code::NotFound);
    EXPECT_TRUE(found.error().text.starts_with("compat.release: release 'zedd'"));
}

TEST_F(DetectRelease, TheStoredNumberIsNotLoweredByItself) {
    DetectedRelease found;
    found.release = release_by_name("epoxy").value();
    found.source = "conductor records";
    Object stored("Service", "1.22");
    stored.set_unchanged("version", 72);
    EXPECT_EQ(version_to_report(found, stored), 72);
    EXPECT_EQ(version_to_report(found, Object()), 68);
    stored.set_unchanged("version", 64);
    EXPECT_EQ(version_to_report(found, stored), 68);
    found.source = "configuration";
    stored.set_unchanged("version", 72);
    EXPECT_EQ(version_to_report(found, stored), 68);
}

} // namespace
} // namespace novalet::objects
