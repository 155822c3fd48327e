#include "agent/objects/image_meta.hpp"

#include <gtest/gtest.h>

namespace novalet::objects {
namespace {

Json parse(const char* text) {
    return Json::parse(text).value();
}

TEST(ImageMeta, IsRebuiltFromSystemMetadata) {
    const auto image = ImageMeta::from_system_metadata(
        parse(R"({"image_min_ram": "64", "image_min_disk": "1", "image_disk_format": "qcow2",
                  "image_container_format": "bare", "image_hw_disk_bus": "virtio",
                  "image_vm_mode": "hvm", "image_mappings": "[]", "image_os_type": null,
                  "boot_roles": "admin", "image_base_image_ref": "i-1"})"),
        "i-1");
    EXPECT_EQ(image.id, "i-1");
    EXPECT_EQ(image.disk_format, "qcow2");
    EXPECT_EQ(image.container_format, "bare");
    EXPECT_EQ(image.min_ram_mib, 64);
    EXPECT_EQ(image.min_disk_gib, 1);
    EXPECT_FALSE(image.size);
    EXPECT_EQ(image.text("hw_disk_bus"), "virtio");
    EXPECT_EQ(image.text("hw_vm_mode"), "hvm");
    EXPECT_FALSE(image.properties.contains("vm_mode"));
    EXPECT_FALSE(image.properties.contains("mappings"));
    EXPECT_FALSE(image.properties.contains("os_type"));
    EXPECT_FALSE(image.properties.contains("disk_format"));
}

TEST(ImageMeta, ThePresentNameWinsOverALegacyOne) {
    for (const char* text :
         {R"({"properties": {"architecture": "i686", "hw_architecture": "x86_64"}})",
          R"({"properties": {"vm_mode": "xen", "hw_vm_mode": "hvm"}})"}) {
        const auto image = ImageMeta::from_dict(parse(text));
        EXPECT_EQ(image.properties.size(), 1U);
        EXPECT_NE(image.text("hw_architecture") + image.text("hw_vm_mode"), "i686");
        EXPECT_NE(image.text("hw_architecture") + image.text("hw_vm_mode"), "xen");
    }
}

TEST(ImageMeta, IsReadFromTheDictOfARequest) {
    const auto image = ImageMeta::from_dict(
        parse(R"({"id": "i-1", "name": "cirros", "status": "active", "size": 12345,
                  "disk_format": "raw", "min_ram": 0, "min_disk": 2, "owner": "p",
                  "checksum": null, "properties": {"hw_rng_model": "virtio"}})"));
    EXPECT_EQ(image.id, "i-1");
    EXPECT_EQ(image.size, 12345);
    EXPECT_EQ(image.min_disk_gib, 2);
    EXPECT_EQ(image.checksum, "");
    EXPECT_EQ(image.text("hw_rng_model"), "virtio");
}

TEST(ImageMeta, IsReadFromTheObjectOfARequestSpec) {
    const auto image =
        ImageMeta::from_object(parse(R"({"id": "i-1", "disk_format": "qcow2", "properties": {
            "nova_object.name": "ImageMetaProps", "nova_object.data":
            {"hw_numa_cpus": [[0, 1], [2, 3]], "hw_numa_mem": [512, 1024], "hw_pmu": true}}})"));
    EXPECT_EQ(image.id, "i-1");
    EXPECT_EQ(image.flag("hw_pmu").value(), true);
    EXPECT_EQ(image.numa_cpus().value(), (std::vector<std::set<int>>{{0, 1}, {2, 3}}));
    EXPECT_EQ(image.numa_memory_mib().value(), (std::vector<std::int64_t>{512, 1024}));
}

TEST(ImageMeta, NumberedPropertiesAreLists) {
    const auto image = ImageMeta::from_dict(parse(
        R"({"properties": {"hw_numa_cpus.0": "0-1", "hw_numa_cpus.1": "2,3-5,^4",
            "hw_numa_cpus.3": "9", "hw_numa_mem.0": "512", "hw_numa_mem.1": 1024}})"));
    EXPECT_EQ(image.numa_cpus().value(), (std::vector<std::set<int>>{{0, 1}, {2, 3, 5}}))
        << "a gap ends the list";
    EXPECT_EQ(image.numa_memory_mib().value(), (std::vector<std::int64_t>{512, 1024}));
}

TEST(ImageMeta, WrongValuesNameThePropertyAndTheValue) {
    const auto image = ImageMeta::from_dict(parse(
        R"({"properties": {"hw_pmu": "perhaps", "hw_cpu_cores": "two", "hw_numa_cpus.0": "3-1",
            "hw_numa_mem.0": "x"}})"));
    const auto flag = image.flag("hw_pmu");
    ASSERT_FALSE(flag);
    EXPECT_EQ(flag.error().text, "image property hw_pmu='perhaps': expected true or false");
    EXPECT_FALSE(image.number("hw_cpu_cores"));
    EXPECT_FALSE(image.numa_cpus());
    EXPECT_FALSE(image.numa_memory_mib());
}

TEST(ImageMeta, HostileCpuRangesAreRefused) {
    for (const char* text : {"0-4000000000", "-1", "1--2", "", ",", "0-99999"}) {
        ImageMeta image;
        image.properties.set("hw_numa_cpus.0", text);
        const auto cpus = image.numa_cpus();
        if (cpus) {
            EXPECT_TRUE(cpus->size() == 1 && cpus->front().empty()) << text;
        }
    }
}

TEST(ImageMeta, AbsentPropertiesAreNoError) {
    const ImageMeta image;
    EXPECT_EQ(image.flag("hw_pmu").value(), std::nullopt);
    EXPECT_EQ(image.number("hw_cpu_cores").value(), std::nullopt);
    EXPECT_TRUE(image.numa_cpus().value().empty());
    EXPECT_EQ(image.text("hw_disk_bus"), "");
}

} // namespace
} // namespace novalet::objects
