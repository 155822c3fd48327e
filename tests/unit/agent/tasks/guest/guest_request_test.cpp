// From recorded Instance documents to the hypervisor's words.
#include "agent/tasks/guest/guest_request.hpp"

#include "agent/core/file.hpp"
#include "tests/support/task_bench.hpp"

#include <gmock/gmock.h>

namespace novalet::tasks {
namespace {

using hypervisor::DiskSource;
using testing::ElementsAre;
using testing::HasSubstr;

/// First object of this class inside a document; null when there is none.
const Json& first_object(const Json& document, const std::string& name) {
    static const Json none;
    if (document["nova_object.name"].as_string() == name)
        return document;
    for (const auto& [key, value] : document.members())
        if (const auto& found = first_object(value, name); !found.is_null())
            return found;
    for (const auto& value : document.items())
        if (const auto& found = first_object(value, name); !found.is_null())
            return found;
    return none;
}

class GuestRequestTest : public ::testing::Test {
  protected:
    GuestRequestTest() {
        const auto text =
            read_file(std::string(NOVALET_SOURCE_DIR) + "/tests/contract/data/zed/boot.json");
        const auto recording = Json::parse(text.value());
        instance = objects::data_of(first_object(recording.value(), "Instance"));
        mapping = objects::data_of(first_object(recording.value(), "BlockDeviceMapping"));
    }
    Json blank(std::int64_t size, const char* format) const {
        Json out = mapping;
        return out.set("source_type", "blank")
            .set("boot_index", -1)
            .set("volume_size", size)
            .set("guest_format", format == nullptr ? Json() : Json(format))
            .set("image_id", nullptr);
    }
    Json instance;
    Json mapping;
    GuestDefaults defaults;
};

TEST_F(GuestRequestTest, ARecordedBootBecomesAGuest) {
    ASSERT_FALSE(instance.is_null());
    defaults.package_version = "26.2.2";
    const auto guest = guest_spec(instance, {mapping}, tests::one_port(false), defaults);
    ASSERT_TRUE(guest) << guest.error().text;
    EXPECT_EQ(guest->uuid.str(), "85e577bf-b9cc-42aa-8d73-00911c68bf6f");
    EXPECT_EQ(guest->name, "instance-00000002");
    EXPECT_EQ(guest->display_name, "scenario");
    EXPECT_EQ(guest->project_name, "admin");
    EXPECT_EQ(guest->flavor.name, "m1.nano");
    EXPECT_EQ(guest->flavor.memory_mib, 128U);
    EXPECT_EQ(guest->flavor.vcpus, 1U);
    EXPECT_EQ(guest->image.id, "082b9d3f-02e9-4db5-9f20-3ea3d663565c");
    EXPECT_EQ(guest->image.disk_format, "qcow2");
    EXPECT_EQ(guest->image.min_disk_gib, 1U);
    EXPECT_EQ(guest->root_device_name, "/dev/vda");
    ASSERT_EQ(guest->disks.size(), 1U);
    EXPECT_EQ(guest->disks[0].source, DiskSource::Image);
    EXPECT_EQ(guest->disks[0].file_name, "disk");
    EXPECT_EQ(guest->disks[0].size_bytes, std::uint64_t{1} << 30U);
    EXPECT_EQ(guest->disks[0].device_name, "vda");
    EXPECT_EQ(guest->disks[0].boot_index, 0);
    ASSERT_EQ(guest->interfaces.size(), 1U);
    EXPECT_EQ(guest->interfaces[0].port.str(), tests::port_uuid);
    EXPECT_EQ(guest->interfaces[0].bridge, "br-int");
    EXPECT_EQ(guest->interfaces[0].mtu, 1442U);
    EXPECT_FALSE(guest->interfaces[0].active);
    EXPECT_FALSE(guest->config_drive);
    EXPECT_EQ(guest->nova_package_version, "26.2.2");
}

TEST_F(GuestRequestTest, TheRootDiskIsNamedFirstWhateverTheOrder) {
    const auto plan =
        plan_disks(instance, {blank(2, nullptr), blank(64, "swap"), mapping}, defaults);
    ASSERT_TRUE(plan) << plan.error().text;
    ASSERT_EQ(plan->assigned.size(), 3U);
    EXPECT_EQ(plan->assigned[2].device_name, "/dev/vda");
    EXPECT_EQ(plan->assigned[0].device_name, "/dev/vdb");
    EXPECT_EQ(plan->assigned[1].device_name, "/dev/vdc");
    EXPECT_EQ(plan->disks[1].file_name, "disk.eph0");
    EXPECT_EQ(plan->disks[1].size_bytes, std::uint64_t{2} << 30U);
    EXPECT_EQ(plan->disks[1].filesystem, "vfat") << "no os_type";
    EXPECT_EQ(plan->disks[2].file_name, "disk.swap");
    EXPECT_EQ(plan->disks[2].size_bytes, std::uint64_t{64} << 20U) << "MiB for swap";
}

TEST_F(GuestRequestTest, TheFormatOfAnEphemeralDisk) {
    const auto format = [&](const Json& disk) {
        const auto plan = plan_disks(instance, {mapping, disk}, defaults);
        return plan ? plan->disks[1].filesystem : plan.error().text;
    };
    EXPECT_EQ(format(blank(1, "xfs")), "xfs") << "what the user asked for";
    instance.set("os_type", "linux");
    EXPECT_EQ(format(blank(1, nullptr)), "ext4");
    instance.set("os_type", "windows");
    EXPECT_EQ(format(blank(1, nullptr)), "ntfs");
    defaults.ephemeral_format = "ext3";
    EXPECT_EQ(format(blank(1, nullptr)), "ext3");
}

TEST_F(GuestRequestTest, TheBusFollowsMappingThenImage) {
    const auto name = [&] {
        const auto plan = plan_disks(instance, {mapping}, defaults);
        return plan ? plan->root_device_name : plan.error().text;
    };
    instance.member("system_metadata").set("image_hw_disk_bus", "scsi");
    EXPECT_EQ(name(), "/dev/sda");
    mapping.set("disk_bus", "ide");
    EXPECT_EQ(name(), "/dev/hda");
    mapping.set("disk_bus", "virtio").set("device_name", "/dev/vdc");
    EXPECT_EQ(name(), "/dev/vdc") << "a wish that fits the bus";
    mapping.set("device_name", "/dev/sdc");
    EXPECT_EQ(name(), "/dev/vda") << "a wish that does not";
}

TEST_F(GuestRequestTest, VolumesAndUnknownSourcesAreRefusedByName) {
    mapping.set("destination_type", "volume");
    auto plan = plan_disks(instance, {mapping}, defaults);
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().exception, "BuildAbortException");
    EXPECT_THAT(plan.error().text, HasSubstr(mapping["uuid"].as_string()));
    mapping.set("destination_type", "local").set("source_type", "snapshot");
    plan = plan_disks(instance, {mapping}, defaults);
    ASSERT_FALSE(plan);
    EXPECT_THAT(plan.error().text, HasSubstr("snapshot"));
}

TEST_F(GuestRequestTest, ABusHasOnlySoManyNames) {
    std::vector<Json> many{mapping};
    for (int i = 0; i < 26; ++i)
        many.push_back(blank(1, nullptr));
    const auto plan = plan_disks(instance, many, defaults);
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().exception, "TooManyDiskDevices");
}

TEST_F(GuestRequestTest, NamesFollowTheTemplate) {
    const auto name = [&](const char* pattern) {
        const auto text = instance_name(pattern, instance);
        return text ? *text : "error: " + text.error().text;
    };
    instance.set("id", 0x1a2b);
    EXPECT_EQ(name("instance-%08x"), "instance-00001a2b");
    EXPECT_EQ(name("vm-%d"), "vm-6699");
    EXPECT_EQ(name("%(uuid)s"), "85e577bf-b9cc-42aa-8d73-00911c68bf6f");
    EXPECT_EQ(name("100%%-%(id)d"), "100%-6699");
    EXPECT_EQ(name("%(hostname)s-%(id)04X"), "scenario-1A2B");
    EXPECT_THAT(name("%(nothing)s"), HasSubstr("'nothing'"));
    EXPECT_THAT(name("%(hostname)d"), HasSubstr("is no number"));
    EXPECT_THAT(name("vm-%"), HasSubstr("ends inside"));
    EXPECT_THAT(name("vm-%(id"), HasSubstr("ends inside"));
    EXPECT_THAT(name("vm-%q"), HasSubstr("not known"));
}

TEST_F(GuestRequestTest, WhoGetsAConfigDrive) {
    EXPECT_FALSE(needs_config_drive(instance, defaults));
    instance.set("config_drive", "True");
    EXPECT_TRUE(needs_config_drive(instance, defaults));
    instance.set("config_drive", "");
    instance.member("system_metadata").set("image_img_config_drive", "mandatory");
    EXPECT_TRUE(needs_config_drive(instance, defaults));
    instance.member("system_metadata").set("image_img_config_drive", "optional");
    EXPECT_FALSE(needs_config_drive(instance, defaults));
    defaults.force_config_drive = true;
    EXPECT_TRUE(needs_config_drive(instance, defaults));
    instance.set("launched_at", "2026-11-21T06:06:59Z");
    EXPECT_FALSE(needs_config_drive(instance, defaults)) << "a launched guest keeps what it has";
}

TEST_F(GuestRequestTest, HardwareThatIsNotWrittenDownYet) {
    const std::map<std::string, std::string> hardware{
        {"hw_machine_type", "virt"}, {"hw_cdrom_bus", "scsi"}, {"hw_vif_model", "virtio"}};
    EXPECT_EQ(undefined_hardware(instance, hardware),
              Json(Json::Object{{"image_hw_cdrom_bus", "scsi"},
                                {"image_hw_machine_type", "virt"},
                                {"image_hw_vif_model", "virtio"}}));
    instance.member("system_metadata").set("image_hw_vif_model", "e1000");
    EXPECT_FALSE(undefined_hardware(instance, hardware).contains("image_hw_vif_model"));
}

TEST_F(GuestRequestTest, ANamedDiskWithoutABusIsLeftToItsDomain) {
    mapping.set("device_name", "/dev/sda").set("disk_bus", nullptr);
    const auto bus = [&] {
        const auto plan = plan_disks(instance, {mapping}, defaults);
        return plan ? plan->disks[0].bus : plan.error().text;
    };
    EXPECT_EQ(bus(), "");
    instance.member("system_metadata").set("image_hw_disk_bus", "scsi");
    EXPECT_EQ(bus(), "scsi");
    mapping.set("disk_bus", "sata");
    EXPECT_EQ(bus(), "sata");
}

TEST_F(GuestRequestTest, ATapIsNamedByItsPort) {
    Json info = tests::one_port(true);
    info.elements()[0].set("devname", nullptr);
    const auto ports = interfaces_of(info);
    ASSERT_EQ(ports.size(), 1U);
    EXPECT_EQ(ports[0].device, "tapaabbccdd-00");
    EXPECT_TRUE(ports[0].active);
    EXPECT_TRUE(interfaces_of(Json()).empty());
}

TEST_F(GuestRequestTest, DocumentsWithoutTheirPartsAreNoReasonToFall) {
    const auto guest = guest_spec(Json::object().set("id", 1), {}, Json(), defaults);
    ASSERT_TRUE(guest);
    EXPECT_TRUE(guest->disks.empty());
    EXPECT_FALSE(guest_spec(Json(), {}, Json(), defaults)) << "not even an id for its name";
}

} // namespace
} // namespace novalet::tasks
