#include "agent/objects/release.hpp"

#include <gtest/gtest.h>

namespace novalet::objects {
namespace {

TEST(Release, AllOfTheReferenceAreKnown) {
    std::vector<std::string> names;
    for (const auto& release : releases())
        names.push_back(release.name);
    EXPECT_EQ(names, (std::vector<std::string>{"zed", "epoxy", "gazpacho", "hibiscus"}));
}

TEST(Release, ProfilesAgreeWithTheirOwnNumber) {
    for (const auto& release : releases()) {
        SCOPED_TRACE(release.name);
        const auto found = release_by_service_version(release.service_version).value();
        EXPECT_EQ(found.name, release.name);
        EXPECT_EQ(found.rpc_minor, release.rpc_minor);
        EXPECT_EQ(found.identity_file, release.identity_file);
        EXPECT_EQ(found.rebuild_target_state, release.rebuild_target_state);
        EXPECT_EQ(found.delete_attachment_argument, release.delete_attachment_argument);
        EXPECT_EQ(found.shares, release.shares);
        EXPECT_EQ(found.sound_traits, release.sound_traits);
        EXPECT_EQ(found.usb_traits, release.usb_traits);
        EXPECT_EQ(found.second_server, release.second_server);
        EXPECT_EQ(found.vtpm_live_migration, release.vtpm_live_migration);
        EXPECT_EQ(found.owner_trait, release.owner_trait);
        EXPECT_EQ(found.shares_in_cold_migration, release.shares_in_cold_migration);
        EXPECT_EQ(release.version_of("ImageMetaProps"), release.image_meta_props);
        EXPECT_EQ(release_by_fingerprint(release.image_meta_props).value().name, release.name);
        EXPECT_LE(release.oldest_compute, release.service_version);
    }
}

TEST(Release, NumbersOfTheReferenceGiveTheirRulesAndReportThemselves) {
    struct Case {
        int version;
        const char* rules;
        const char* rpc;
        bool second_server;
    };
    for (const auto& wanted : std::vector<Case>{{61, "zed", "6.0", false},
                                                {64, "zed", "6.1", false},
                                                {66, "zed", "6.2", false},
                                                {67, "zed", "6.3", false},
                                                {68, "epoxy", "6.4", false},
                                                {70, "epoxy", "6.4", false},
                                                {71, "gazpacho", "6.5", true},
                                                {72, "gazpacho", "6.5", true},
                                                {73, "hibiscus", "6.5", true},
                                                {74, "hibiscus", "6.5", true}}) {
        SCOPED_TRACE(wanted.version);
        const auto release = release_by_service_version(wanted.version);
        ASSERT_TRUE(release);
        EXPECT_EQ(release->name, wanted.rules);
        EXPECT_EQ(release->rpc_version(), wanted.rpc);
        EXPECT_EQ(release->service_version, wanted.version);
        EXPECT_EQ(release->second_server, wanted.second_server);
    }
}

TEST(Release, NodesAreNamedByTheirIdWhereTheObjectsHaveTheField) {
    for (const auto& release : releases()) {
        SCOPED_TRACE(release.name);
        EXPECT_EQ(release.node_ids, release.version_of("Instance") == "2.8");
        EXPECT_EQ(release.node_ids, release.version_of("Migration") == "1.8");
    }
}

TEST(Release, ANumberBetweenReleasesKeepsItsPromises) {
    const auto antelope = release_by_service_version(66).value();
    EXPECT_TRUE(antelope.identity_file);
    EXPECT_TRUE(antelope.rebuild_target_state);
    EXPECT_FALSE(antelope.delete_attachment_argument);
    EXPECT_FALSE(antelope.node_ids) << "its objects are not known to have the fields";
    const auto flamingo = release_by_service_version(70).value();
    EXPECT_TRUE(flamingo.sound_traits);
    EXPECT_TRUE(flamingo.usb_traits);
    EXPECT_FALSE(flamingo.owner_trait);
}

TEST(Release, ANewerControlPlaneGetsTheNewestKnownProfile) {
    const auto release = release_by_service_version(99).value();
    EXPECT_EQ(release.name, "hibiscus");
    EXPECT_EQ(release.service_version, 74);
}

TEST(Release, ATooOldControlPlaneIsRefusedWithItsNumber) {
    const auto release = release_by_service_version(60);
    ASSERT_FALSE(release);
    EXPECT_EQ(release.error().code, Code::Unsupported);
    EXPECT_EQ(release.error().text,
              "the control plane reports service version 60; the oldest supported is 61 (Yoga)");
}

TEST(Release, AnUnknownNameListsTheKnown) {
    const auto release = release_by_name("zedd");
    ASSERT_FALSE(release);
    EXPECT_EQ(release.error().code, Code::NotFound);
    EXPECT_EQ(release.error().text,
              "release 'zedd' is not known; known are zed, epoxy, gazpacho, hibiscus");
}

TEST(Release, FingerprintsBetweenReleasesGiveTheOldestOfTheirs) {
    EXPECT_EQ(release_by_fingerprint("1.37").value().service_version, 66);
    EXPECT_EQ(release_by_fingerprint("1.41").value().service_version, 70);
    EXPECT_EQ(release_by_fingerprint("1.41").value().name, "epoxy");
    EXPECT_EQ(release_by_fingerprint("1.60").value().name, "hibiscus");
    for (const char* wrong : {"1.33", "2.44", "", "1", "1.x", "x.44"})
        EXPECT_FALSE(release_by_fingerprint(wrong)) << wrong;
}

TEST(Release, ObjectsHaveTheVersionOfTheirRelease) {
    const auto zed = release_by_name("zed").value();
    const auto epoxy = release_by_name("epoxy").value();
    EXPECT_EQ(zed.version_of("Instance"), "2.7");
    EXPECT_EQ(epoxy.version_of("Instance"), "2.8");
    EXPECT_EQ(zed.version_of("ComputeNode"), epoxy.version_of("ComputeNode"));
    EXPECT_EQ(zed.version_of("ShareMapping"), "");
    EXPECT_EQ(epoxy.version_of("ShareMapping"), "1.2");
    EXPECT_EQ(zed.version_of("NoSuchObject"), "");
}

TEST(Release, AManifestNamesTheRootAndWhatItContains) {
    const auto zed = release_by_name("zed").value();
    EXPECT_EQ(zed.manifest("ServiceList"),
              (std::map<std::string, std::string>{{"ServiceList", "1.19"},
                                                  {"Service", "1.22"},
                                                  {"ComputeNode", "1.19"},
                                                  {"HVSpec", "1.2"},
                                                  {"PciDevicePool", "1.1"},
                                                  {"PciDevicePoolList", "1.1"}}));
    EXPECT_EQ(zed.manifest("InstanceActionEvent"),
              (std::map<std::string, std::string>{{"InstanceActionEvent", "1.4"}}));
    const auto list = zed.manifest("BlockDeviceMappingList");
    EXPECT_EQ(list.at("BlockDeviceMapping"), "1.21");
    EXPECT_EQ(list.at("Instance"), "2.7");
    EXPECT_EQ(zed.manifest("MigrationList").at("Migration"), "1.7");
}

TEST(Release, NoManifestHasAnEmptyVersion) {
    for (const auto& release : releases())
        for (const char* root : {"Instance", "InstanceList", "ShareMappingList", "ComputeNodeList"})
            for (const auto& [object, version] : release.manifest(root))
                EXPECT_FALSE(version.empty()) << release.name << ' ' << root << ' ' << object;
}

} // namespace
} // namespace novalet::objects
