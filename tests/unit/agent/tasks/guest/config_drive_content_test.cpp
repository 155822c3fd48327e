#include "agent/tasks/guest/config_drive_content.hpp"

#include "agent/core/text.hpp"
#include "agent/tasks/guest/config_drive_network.hpp"
#include "agent/tasks/services.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace novalet::tasks {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

Json parsed(const std::string& text) {
    auto document = Json::parse(text);
    EXPECT_TRUE(document) << document.error().text << "\n" << text;
    return document ? *document : Json();
}

/// The record that a Zed API sends with a build (trimmed), as a recording has it.
Json recorded_instance() {
    return parsed(R"({
        "uuid": "87c8a4c6-c059-466c-966f-f61b0316c04c", "display_name": "cd", "hostname": "cd",
        "launch_index": 0, "availability_zone": "nova", "metadata": {}, "user_data": null,
        "project_id": "bef1f23e2ad2427193a1e203b3b09da4", "reservation_id": "r-e6nq5sus",
        "key_name": "lab-key", "key_data": "ssh-ed25519 AAAA lab@test",
        "root_device_name": "/dev/vda", "default_ephemeral_device": null,
        "default_swap_device": null, "device_metadata": null, "numa_topology": null,
        "flavor": {"nova_object.data": {"name": "m1.tiny"}},
        "ec2_ids": {"nova_object.name": "EC2Ids", "nova_object.data": {
            "instance_id": "i-00000013", "ami_id": "ami-00000002",
            "kernel_id": null, "ramdisk_id": null}},
        "keypairs": {"nova_object.name": "KeyPairList", "nova_object.data": {"objects": [
            {"nova_object.name": "KeyPair", "nova_object.data": {"name": "lab-key",
             "public_key": "ssh-ed25519 AAAA lab@test", "type": "ssh"}}]}}
    })");
}

ConfigDriveSource recorded() {
    ConfigDriveSource source;
    source.instance = recorded_instance();
    return source;
}

std::map<std::string, std::string> files_of(const ConfigDriveSource& source,
                                            const TaskOptions& options = {}) {
    const auto drive = config_drive_content(source, options);
    EXPECT_TRUE(drive) << drive.error().text;
    return drive ? drive->files : std::map<std::string, std::string>();
}

Json meta_of(const std::map<std::string, std::string>& files, const std::string& version) {
    return parsed(files.at("openstack/" + version + "/meta_data.json"));
}

std::vector<std::string> names_of(const Json& document) {
    std::vector<std::string> names;
    for (const auto& [name, value] : document.members())
        names.push_back(name);
    return names;
}

std::vector<std::string> folder_names(const std::map<std::string, std::string>& files,
                                      const std::string& folder) {
    std::vector<std::string> names;
    for (const auto& [path, content] : files)
        if (path.starts_with(folder + "/"))
            names.push_back(path.substr(folder.size() + 1));
    return names;
}

/// One VIF with one IPv4 subnet; `meta` and further members of the subnet as JSON text.
Json vif(const std::string& type, const std::string& subnets, const std::string& network_meta) {
    return parsed(cat(R"({"id": "b9c8f0a0-0000-4000-8000-000000000001", "type": ")",
                      type,
                      R"(", "devname": "tapb9c8f0a0-00", "address": "fa:16:3e:00:00:01",
                          "network": {"id": "a1574477-c552-4d25-b3cd-e9d6f33adf9d", "meta": )",
                      network_meta,
                      R"(, "subnets": )",
                      subnets,
                      "}}"));
}

const std::string static_v4 =
    R"({"version": 4, "cidr": "192.0.2.0/25", "meta": {}, "routes": [],
        "gateway": {"address": "192.0.2.1"}, "dns": [{"address": "198.51.100.53"}],
        "ips": [{"address": "192.0.2.17", "version": 4, "floating_ips": []}]})";

Json network_of_one(const std::string& subnet) {
    const auto data = network_data(Json::Array{vif("ovs", "[" + subnet + "]", R"({"mtu": 1450})")});
    EXPECT_TRUE(data) << data.error().text;
    return data ? (*data)["networks"].at(0) : Json();
}

// --- meta_data.json

TEST(ConfigDriveMetaData, EachVersionHasTheKeysThatWereAddedUntilThen) {
    const auto files = files_of(recorded());
    const std::vector<std::string> first{
        "availability_zone", "hostname", "keys", "launch_index", "name", "public_keys", "uuid"};
    EXPECT_EQ(names_of(meta_of(files, "2012-08-10")), first);
    EXPECT_THAT(names_of(meta_of(files, "2013-04-04")),
                ElementsAre("availability_zone",
                            "hostname",
                            "keys",
                            "launch_index",
                            "name",
                            "public_keys",
                            "random_seed",
                            "uuid"));
    EXPECT_EQ(names_of(meta_of(files, "2013-10-17")), names_of(meta_of(files, "2013-04-04")));
    EXPECT_THAT(names_of(meta_of(files, "2015-10-15")),
                ElementsAre("availability_zone",
                            "hostname",
                            "keys",
                            "launch_index",
                            "name",
                            "project_id",
                            "public_keys",
                            "random_seed",
                            "uuid"));
    const std::vector<std::string> with_devices{"availability_zone",
                                                "devices",
                                                "hostname",
                                                "keys",
                                                "launch_index",
                                                "name",
                                                "project_id",
                                                "public_keys",
                                                "random_seed",
                                                "uuid"};
    for (const char* version : {"2016-06-30", "2016-10-06", "2017-02-22", "2018-08-27"})
        EXPECT_EQ(names_of(meta_of(files, version)), with_devices) << version;
    for (const char* version : {"2020-10-14", "latest"})
        EXPECT_TRUE(meta_of(files, version).contains("dedicated_cpus")) << version;
}

TEST(ConfigDriveMetaData, TellsTheValuesOfTheRecord) {
    const Json meta = meta_of(files_of(recorded()), "latest");
    EXPECT_EQ(meta["uuid"].as_string(), "87c8a4c6-c059-466c-966f-f61b0316c04c");
    EXPECT_EQ(meta["hostname"].as_string(), "cd.novalocal");
    EXPECT_EQ(meta["launch_index"], Json(0));
    EXPECT_EQ(meta["project_id"].as_string(), "bef1f23e2ad2427193a1e203b3b09da4");
    EXPECT_EQ(meta["public_keys"], parsed(R"({"lab-key": "ssh-ed25519 AAAA lab@test"})"));
    EXPECT_EQ(
        meta["keys"],
        parsed(R"([{"name": "lab-key", "type": "ssh", "data": "ssh-ed25519 AAAA lab@test"}])"));
    EXPECT_EQ(from_base64(meta["random_seed"].as_string()).value_or("").size(), 512U);
    EXPECT_FALSE(meta.contains("meta"));
    EXPECT_FALSE(meta.contains("admin_pass"));
    EXPECT_FALSE(meta.contains("files"));
}

TEST(ConfigDriveMetaData, NoDomainGivesTheBareHostName) {
    TaskOptions options;
    options.dhcp_domain.clear();
    EXPECT_EQ(meta_of(files_of(recorded(), options), "latest")["hostname"].as_string(), "cd");
}

TEST(ConfigDriveMetaData, TheTypeOfAKeyIsTheKeypairs) {
    auto source = recorded();
    source.instance.set("keypairs", parsed(R"({"nova_object.data": {"objects": [
        {"nova_object.data": {"name": "win", "public_key": "-----BEGIN", "type": "x509"}}]}})"));
    EXPECT_EQ(meta_of(files_of(source), "latest")["keys"].at(0)["type"].as_string(), "x509");
}

TEST(ConfigDriveMetaData, AKeyThatWasDeletedMeanwhileIsNotTold) {
    auto source = recorded();
    source.instance.set("keypairs", parsed(R"({"nova_object.data": {"objects": []}})"));
    const Json meta = meta_of(files_of(source), "latest");
    EXPECT_FALSE(meta.contains("keys"));
    EXPECT_FALSE(meta.contains("public_keys"));
}

TEST(ConfigDriveMetaData, ARecordWithoutKeypairsStillTellsItsKey) {
    auto source = recorded();
    source.instance.erase("keypairs");
    EXPECT_EQ(meta_of(files_of(source), "latest")["public_keys"]["lab-key"].as_string(),
              "ssh-ed25519 AAAA lab@test");
}

TEST(ConfigDriveMetaData, DedicatedCpusAreThePinnedOnesOfAllCells) {
    auto source = recorded();
    source.instance.set("numa_topology", parsed(R"({"nova_object.data": {"cells": [
        {"nova_object.data": {"cpuset": [4], "pcpuset": [3, 2]}},
        {"nova_object.data": {"cpuset": [], "pcpuset": [0]}}]}})"));
    EXPECT_EQ(meta_of(files_of(source), "2020-10-14")["dedicated_cpus"], parsed("[0, 2, 3]"));
}

TEST(ConfigDriveMetaData, AdminPasswordAndMetadata) {
    auto source = recorded();
    source.admin_password = Secret("8CS3ReJdPJWm");
    source.instance.set("metadata", parsed(R"({"role": "web"})"));
    const Json meta = meta_of(files_of(source), "2012-08-10");
    EXPECT_EQ(meta["admin_pass"].as_string(), "8CS3ReJdPJWm");
    EXPECT_EQ(meta["meta"]["role"].as_string(), "web");
}

TEST(ConfigDriveMetaData, DevicesTellMoreInLaterVersions) {
    auto source = recorded();
    source.instance.set("device_metadata", parsed(R"({"nova_object.data": {"devices": [
        {"nova_object.name": "NetworkInterfaceMetadata", "nova_object.data": {
         "mac": "fa:16:3e:00:00:01", "vlan": 7, "vf_trusted": true,
         "bus": {"nova_object.name": "PCIDeviceBus",
                 "nova_object.data": {"address": "0000:00:03.0"}}}},
        {"nova_object.name": "DiskMetadata", "nova_object.data": {
         "serial": "s1", "tags": ["db"],
         "bus": {"nova_object.name": "SCSIDeviceBus", "nova_object.data": {}}}},
        {"nova_object.name": "ShareMetadata", "nova_object.data": {
         "share_id": "sh", "tag": "shared"}},
        {"nova_object.name": "DiskMetadata", "nova_object.data": {
         "bus": {"nova_object.name": "DeviceBus", "nova_object.data": {}}}}]}})"));
    TaskOptions options;
    options.newest_metadata = "2025-04-04";
    const auto files = files_of(source, options);
    const std::string disk =
        R"({"type": "disk", "serial": "s1", "bus": "scsi", "address": "none", "tags": ["db"]})";
    // Before VLANs were told, an interface without tags is none.
    EXPECT_EQ(meta_of(files, "2016-06-30")["devices"], parsed("[" + disk + "]"));
    EXPECT_EQ(meta_of(files, "2017-02-22")["devices"],
              parsed(R"([{"type": "nic", "mac": "fa:16:3e:00:00:01", "vlan": 7, "bus": "pci",
                          "address": "0000:00:03.0"}, )" +
                     disk + "]"));
    EXPECT_EQ(meta_of(files, "2018-08-27")["devices"].at(0)["vf_trusted"], Json(true));
    EXPECT_EQ(meta_of(files, "2020-10-14")["devices"].size(), 2U);
    for (const char* version : {"2025-04-04", "latest"})
        EXPECT_EQ(meta_of(files, version)["devices"].at(2),
                  parsed(R"({"type": "share", "share_id": "sh", "tag": "shared", "bus": "none",
                             "address": "none"})"))
            << version;
}

// --- the files of each version

TEST(ConfigDriveFiles, EachVersionHasItsFiles) {
    auto source = recorded();
    source.instance.set("user_data", base64("#!/bin/sh\n"));
    const auto files = files_of(source);
    for (const char* version : {"2012-08-10", "2013-04-04"})
        EXPECT_THAT(folder_names(files, cat("openstack/", version)),
                    UnorderedElementsAre("meta_data.json", "user_data"))
            << version;
    EXPECT_THAT(folder_names(files, "openstack/2013-10-17"),
                UnorderedElementsAre("meta_data.json", "user_data", "vendor_data.json"));
    for (const char* version : {"2015-10-15", "2016-06-30"})
        EXPECT_THAT(folder_names(files, cat("openstack/", version)),
                    UnorderedElementsAre(
                        "meta_data.json", "user_data", "vendor_data.json", "network_data.json"))
            << version;
    for (const char* version : {"2016-10-06", "2017-02-22", "2018-08-27", "2020-10-14", "latest"})
        EXPECT_THAT(folder_names(files, cat("openstack/", version)),
                    UnorderedElementsAre("meta_data.json",
                                         "user_data",
                                         "vendor_data.json",
                                         "network_data.json",
                                         "vendor_data2.json"))
            << version;
    for (const char* version : {"2009-04-04", "latest"})
        EXPECT_THAT(folder_names(files, cat("ec2/", version)),
                    UnorderedElementsAre("meta-data.json", "user-data"))
            << version;
    EXPECT_EQ(files.at("openstack/latest/user_data"), "#!/bin/sh\n");
}

TEST(ConfigDriveFiles, AVersionThatTheReleaseDoesNotKnowIsNotThere) {
    TaskOptions options;
    EXPECT_THAT(folder_names(files_of(recorded(), options), "openstack/2025-04-04"), IsEmpty());
    options.newest_metadata = "2025-04-04";
    EXPECT_EQ(folder_names(files_of(recorded(), options), "openstack/2025-04-04").size(), 4U);
}

TEST(ConfigDriveFiles, WithoutUserDataThereIsNoFileButEmptyUserDataIsOne) {
    auto source = recorded();
    EXPECT_FALSE(files_of(source).contains("openstack/latest/user_data"));
    source.instance.set("user_data", "");
    EXPECT_EQ(files_of(source).at("openstack/latest/user_data"), "");
}

TEST(ConfigDriveFiles, VendorDataIsTheOperatorsDocument) {
    auto source = recorded();
    EXPECT_EQ(files_of(source).at("openstack/latest/vendor_data.json"), "{}");
    source.vendor_data = parsed(R"({"cloud-init": "x"})");
    const auto files = files_of(source);
    EXPECT_EQ(parsed(files.at("openstack/latest/vendor_data.json")), source.vendor_data);
    EXPECT_EQ(parsed(files.at("openstack/latest/vendor_data2.json"))["static"], source.vendor_data);
}

TEST(ConfigDriveFiles, InjectedFilesAreNumbered) {
    auto source = recorded();
    source.injected_files = parsed(cat(R"([["/etc/motd", ")",
                                       base64("hello"),
                                       R"("], ["/etc/issue", ")",
                                       base64("world"),
                                       R"("]])"));
    const auto files = files_of(source);
    EXPECT_EQ(files.at("openstack/content/0000"), "hello");
    EXPECT_EQ(files.at("openstack/content/0001"), "world");
    EXPECT_EQ(meta_of(files, "2012-08-10")["files"],
              parsed(R"([{"path": "/etc/motd", "content_path": "/content/0000"},
                         {"path": "/etc/issue", "content_path": "/content/0001"}])"));
}

TEST(ConfigDriveFiles, WhatIsNotBase64IsRefusedByName) {
    auto source = recorded();
    source.injected_files = parsed(R"([["/etc/motd", "%%%"]])");
    const auto refused = config_drive_content(source, {});
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().text, testing::HasSubstr("/etc/motd"));
    source = recorded();
    source.instance.set("user_data", "%%%");
    EXPECT_FALSE(config_drive_content(source, {}));
}

TEST(ConfigDriveFiles, InterfacesToInjectComeFirst) {
    auto source = recorded();
    source.network_info =
        Json::Array{vif("bridge", "[" + static_v4 + "]", R"({"injected": true})")};
    source.injected_files = parsed(cat(R"([["/etc/motd", ")", base64("hello"), R"("]])"));
    const auto files = files_of(source);
    EXPECT_EQ(files.at("openstack/content/0001"), "hello");
    EXPECT_EQ(meta_of(files, "latest")["network_config"],
              parsed(R"({"name": "network_config", "content_path": "/content/0000"})"));
    const auto& text = files.at("openstack/content/0000");
    for (const char* line : {"auto eth0\n",
                             "iface eth0 inet static\n",
                             "    hwaddress ether fa:16:3e:00:00:01\n",
                             "    address 192.0.2.17\n",
                             "    netmask 255.255.255.128\n",
                             "    broadcast 192.0.2.127\n",
                             "    gateway 192.0.2.1\n",
                             "    dns-nameservers 198.51.100.53\n"})
        EXPECT_THAT(text, testing::HasSubstr(line));
}

// --- EC2

TEST(ConfigDriveEc2, TellsTheValuesOfTheRecord) {
    auto source = recorded();
    source.security_groups = {"default", "web"};
    source.network_info = Json::Array{vif("ovs",
                                          R"([{"version": 4, "cidr": "192.0.2.0/24",
        "meta": {"dhcp_server": "192.0.2.2"}, "ips": [{"address": "192.0.2.17", "version": 4,
        "floating_ips": [{"address": "203.0.113.9"}]}]}])",
                                          "{}")};
    source.block_device_mappings = {
        parsed(R"({"source_type": "image", "destination_type": "local",
                   "device_name": "/dev/vda"})"),
        parsed(R"({"source_type": "volume", "destination_type": "volume",
                   "device_name": "/dev/vdd"})"),
        parsed(R"({"source_type": "blank", "destination_type": "local",
                   "device_name": "/dev/vdb"})"),
        parsed(R"({"source_type": "blank", "destination_type": "local", "guest_format": "swap",
                   "device_name": "/dev/vdc"})")};
    const auto files = files_of(source);
    EXPECT_EQ(parsed(files.at("ec2/2009-04-04/meta-data.json")), parsed(R"({
        "ami-id": "ami-00000002", "ami-launch-index": 0, "ami-manifest-path": "FIXME",
        "instance-id": "i-00000013", "hostname": "cd.novalocal", "local-ipv4": "192.0.2.17",
        "reservation-id": "r-e6nq5sus", "security-groups": ["default", "web"],
        "public-keys": {"0": {"_name": "0=lab-key", "openssh-key": "ssh-ed25519 AAAA lab@test"}},
        "local-hostname": "cd.novalocal", "public-hostname": "cd.novalocal",
        "public-ipv4": "203.0.113.9", "instance-type": "m1.tiny",
        "block-device-mapping": {"ami": "vda", "root": "/dev/vda", "ephemeral0": "/dev/vdb",
                                 "swap": "/dev/vdc", "ebs0": "/dev/vdd"},
        "placement": {"availability-zone": "nova"}, "instance-action": "none"})"));
    EXPECT_EQ(files.at("ec2/latest/meta-data.json"), files.at("ec2/2009-04-04/meta-data.json"));
}

TEST(ConfigDriveEc2, WithoutAddressesKeyAndRootDevice) {
    auto source = recorded();
    source.instance.set("key_name", nullptr);
    source.instance.set("root_device_name", nullptr);
    const Json meta = parsed(files_of(source).at("ec2/latest/meta-data.json"));
    EXPECT_TRUE(meta["local-ipv4"].is_null());
    EXPECT_EQ(meta["public-ipv4"].as_string("missing"), "");
    EXPECT_FALSE(meta.contains("public-keys"));
    EXPECT_FALSE(meta.contains("kernel-id"));
    EXPECT_EQ(meta["block-device-mapping"],
              parsed(R"({"ami": "sda1", "root": "/dev/sda1", "ephemeral0": "sda2",
                         "swap": "sda3"})"));
}

// --- network_data.json

TEST(NetworkData, NoInterfacesAreAnEmptyDocument) {
    EXPECT_EQ(network_data(Json::array()), Json::object());
    EXPECT_EQ(files_of(recorded()).at("openstack/latest/network_data.json"), "{}");
}

TEST(NetworkData, AnInterfaceWithoutSubnetsIsLeftOut) {
    const auto data = network_data(Json::Array{vif("ovs", "[]", R"({"mtu": 1450})")});
    EXPECT_EQ(data, parsed(R"({"links": [], "networks": [], "services": []})"));
}

TEST(NetworkData, AStaticNetworkTellsEverything) {
    const auto data =
        network_data(Json::Array{vif("bridge", "[" + static_v4 + "]", R"({"mtu": 1450})")});
    EXPECT_EQ(data, parsed(R"({
        "links": [{"id": "tapb9c8f0a0-00", "vif_id": "b9c8f0a0-0000-4000-8000-000000000001",
                   "type": "bridge", "mtu": 1450, "ethernet_mac_address": "fa:16:3e:00:00:01"}],
        "networks": [{"id": "network0", "type": "ipv4", "link": "tapb9c8f0a0-00",
                      "ip_address": "192.0.2.17", "netmask": "255.255.255.128",
                      "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0",
                                  "gateway": "192.0.2.1"}],
                      "network_id": "a1574477-c552-4d25-b3cd-e9d6f33adf9d",
                      "services": [{"type": "dns", "address": "198.51.100.53"}]}],
        "services": [{"type": "dns", "address": "198.51.100.53"}]})"));
}

TEST(NetworkData, OnlyTypesThatGuestsKnowAreTold) {
    for (const char* type :
         {"bridge", "dvs", "hw_veb", "hyperv", "ovs", "tap", "vhostuser", "vif"}) {
        const auto data = network_data(Json::Array{vif(type, "[" + static_v4 + "]", "{}")});
        ASSERT_TRUE(data);
        EXPECT_EQ((*data)["links"].at(0)["type"].as_string(), type);
    }
    for (const char* type : {"hostdev_physical", "macvtap", "vrouter", "vdpa"}) {
        const auto data = network_data(Json::Array{vif(type, "[" + static_v4 + "]", "{}")});
        ASSERT_TRUE(data);
        EXPECT_EQ((*data)["links"].at(0)["type"].as_string(), "phy") << type;
    }
}

TEST(NetworkData, UnderDhcpTheGuestAsksForAddressAndMtu) {
    const auto data = network_data(Json::Array{vif("ovs",
                                                   R"([{"version": 4, "cidr": "192.0.2.0/24",
        "meta": {"dhcp_server": "192.0.2.2"}, "dns": [{"address": "198.51.100.53"}],
        "gateway": {"address": "192.0.2.1"}, "routes": [],
        "ips": [{"address": "192.0.2.17", "version": 4}]}])",
                                                   R"({"mtu": 1450})")});
    ASSERT_TRUE(data);
    EXPECT_TRUE((*data)["links"].at(0)["mtu"].is_null());
    EXPECT_EQ((*data)["networks"].at(0),
              parsed(R"({"id": "network0", "type": "ipv4_dhcp", "link": "tapb9c8f0a0-00",
                         "network_id": "a1574477-c552-4d25-b3cd-e9d6f33adf9d"})"));
    EXPECT_EQ((*data)["services"].size(), 1U);
}

TEST(NetworkData, DhcpOfAnOutsideServerIsDhcp) {
    EXPECT_EQ(network_of_one(R"({"version": 4, "cidr": "192.0.2.0/24",
                  "meta": {"enable_dhcp": true}, "ips": [{"address": "192.0.2.17"}]})")["type"]
                  .as_string(),
              "ipv4_dhcp");
}

TEST(NetworkData, AnIpv6ModeTellsAddressAndModeEvenUnderDhcp) {
    for (const char* mode : {"slaac", "dhcpv6-stateful", "dhcpv6-stateless"}) {
        const Json network = network_of_one(cat(R"({"version": 6, "cidr": "2001:db8:1::/64",
            "meta": {"ipv6_address_mode": ")",
                                                mode,
                                                R"(", "dhcp_server": "2001:db8:1::2"},
            "gateway": {"address": "fe80::1"}, "dns": [], "routes": [],
            "ips": [{"address": "2001:db8:1::17", "version": 6}]})"));
        EXPECT_EQ(network["type"].as_string(), cat("ipv6_", mode));
        EXPECT_EQ(network["ip_address"].as_string(), "2001:db8:1::17");
        EXPECT_EQ(network["netmask"].as_string(), "ffff:ffff:ffff:ffff::");
        EXPECT_EQ(network["routes"],
                  parsed(R"([{"network": "::", "netmask": "::", "gateway": "fe80::1"}])"));
    }
}

TEST(NetworkData, RoutesOfTheSubnetFollowTheDefaultRoute) {
    const Json network = network_of_one(R"({"version": 4, "cidr": "192.0.2.0/24", "meta": {},
        "gateway": {"address": null}, "dns": [],
        "routes": [{"cidr": "10.1.2.3/12", "gateway": {"address": "192.0.2.9"}},
                   {"cidr": "198.51.100.7/32", "gateway": {"address": "192.0.2.8"}}],
        "ips": [{"address": "192.0.2.17", "version": 4}]})");
    EXPECT_EQ(network["routes"], parsed(R"([
        {"network": "10.0.0.0", "netmask": "255.240.0.0", "gateway": "192.0.2.9"},
        {"network": "198.51.100.7", "netmask": "255.255.255.255", "gateway": "192.0.2.8"}])"));
    EXPECT_EQ(network["services"], Json::array());
}

TEST(NetworkData, OfEachFamilyOnlyTheFirstSubnetIsTold) {
    const std::string second_v4 = R"({"version": 4, "cidr": "198.51.100.0/24", "meta": {},
        "ips": [{"address": "198.51.100.4"}]})";
    const std::string v6 = R"({"version": 6, "cidr": "2001:db8::/64", "meta": {},
        "dns": [{"address": "198.51.100.53"}, {"address": "2001:db8::53"}],
        "ips": [{"address": "2001:db8::4"}]})";
    const auto data = network_data(Json::Array{
        vif("ovs", "[" + static_v4 + "," + second_v4 + "," + v6 + "]", R"({"mtu": 9000})")});
    ASSERT_TRUE(data);
    const Json& networks = (*data)["networks"];
    ASSERT_EQ(networks.size(), 2U);
    EXPECT_EQ(networks.at(0)["ip_address"].as_string(), "192.0.2.17");
    EXPECT_EQ(networks.at(1)["ip_address"].as_string(), "2001:db8::4");
    EXPECT_EQ(networks.at(1)["id"].as_string(), "network1");
    EXPECT_EQ((*data)["links"].size(), 1U);
    EXPECT_EQ((*data)["services"], parsed(R"([{"type": "dns", "address": "198.51.100.53"},
                                              {"type": "dns", "address": "2001:db8::53"}])"));
}

TEST(NetworkData, ASubnetWithoutAddressesIsALinkOnly) {
    const auto data = network_data(
        Json::Array{vif("ovs",
                        R"([{"version": 4, "cidr": "192.0.2.0/24", "meta": {}, "ips": []}])",
                        R"({"mtu": 1450})")});
    ASSERT_TRUE(data);
    EXPECT_EQ((*data)["links"].size(), 1U);
    EXPECT_EQ((*data)["networks"].size(), 0U);
}

TEST(NetworkData, AnUnnamedDeviceIsNumbered) {
    Json nameless = vif("ovs", "[" + static_v4 + "]", "{}");
    nameless.set("devname", nullptr);
    const auto data = network_data(Json::Array{vif("ovs", "[" + static_v4 + "]", "{}"), nameless});
    ASSERT_TRUE(data);
    EXPECT_EQ((*data)["links"].at(1)["id"].as_string(), "interface1");
    EXPECT_EQ((*data)["networks"].at(1)["link"].as_string(), "interface1");
}

TEST(NetworkData, ABrokenSubnetIsNamed) {
    for (const char* cidr : {"192.0.2.0/33", "192.0.2/24", "2001:db8::/129", "", "x/8"}) {
        const auto data = network_data(
            Json::Array{vif("ovs",
                            cat(R"([{"version": 4, "cidr": ")",
                                cidr,
                                R"(", "meta": {}, "ips": [{"address": "192.0.2.17"}]}])"),
                            "{}")});
        ASSERT_FALSE(data) << cidr;
        EXPECT_THAT(data.error().text, testing::HasSubstr(cidr));
    }
}

TEST(InjectedInterfaces, NetworksWithDhcpOrWithoutTheMarkAreLeftAlone) {
    EXPECT_EQ(*injected_interfaces(
                  Json::Array{vif("ovs", "[" + static_v4 + "]", R"({"injected": false})")}),
              std::nullopt);
    EXPECT_EQ(*injected_interfaces(Json::Array{
                  vif("ovs",
                      R"([{"version": 4, "cidr": "192.0.2.0/24", "ips": [{"address": "192.0.2.17"}],
                           "meta": {"dhcp_server": "192.0.2.2"}}])",
                      R"({"injected": true})")}),
              std::nullopt);
}

} // namespace
} // namespace novalet::tasks
