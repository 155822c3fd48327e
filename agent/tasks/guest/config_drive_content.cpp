#include "agent/tasks/guest/config_drive_content.hpp"

#include "agent/core/text.hpp"
#include "agent/objects/object.hpp"
#include "agent/tasks/guest/config_drive_network.hpp"
#include "agent/tasks/guest/task_options.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

namespace novalet::tasks {
namespace {

constexpr std::array openstack_versions{"2012-08-10",
                                        "2013-04-04",
                                        "2013-10-17",
                                        "2015-10-15",
                                        "2016-06-30",
                                        "2016-10-06",
                                        "2017-02-22",
                                        "2018-08-27",
                                        "2020-10-14",
                                        "2025-04-04"};
constexpr std::array ec2_versions{"2009-04-04", "latest"};
// First version of what was added to the documents over the years.
constexpr std::string_view random_seed_since = "2013-04-04";
constexpr std::string_view vendor_data_since = "2013-10-17";
constexpr std::string_view project_id_since = "2015-10-15";
constexpr std::string_view network_data_since = "2015-10-15";
constexpr std::string_view devices_since = "2016-06-30";
constexpr std::string_view vendor_data2_since = "2016-10-06";
constexpr std::string_view vlan_since = "2017-02-22";
constexpr std::string_view trusted_since = "2018-08-27";
constexpr std::string_view dedicated_cpus_since = "2020-10-14";
constexpr std::string_view shares_since = "2025-04-04";
constexpr std::size_t seed_bytes = 512;

using objects::data_of;

std::string_view class_of(const Json& primitive) {
    return primitive["nova_object.name"].as_string();
}

std::string host_name(const Json& instance, const TaskOptions& options) {
    const auto& name = instance["hostname"].as_string();
    return options.dhcp_domain.empty() ? name : cat(name, '.', options.dhcp_domain);
}

/// Everything of one drive that its files share.
class Drive {
  public:
    Drive(const ConfigDriveSource& source, const TaskOptions& options)
        : source_(source), instance_(source.instance), options_(options) {}

    Result<hypervisor::ConfigDrive> files();

  private:
    Result<void> decode_user_data();
    Result<void> add_content();
    void add_openstack(const std::string& folder, std::string_view version);
    void add_ec2();
    [[nodiscard]] Json meta_data(std::string_view version) const;
    void add_keys(Json& meta) const;
    [[nodiscard]] Json devices(std::string_view version) const;
    [[nodiscard]] Json ec2_meta_data() const;
    [[nodiscard]] Json ec2_block_devices() const;

    const ConfigDriveSource& source_;
    const Json& instance_;
    const TaskOptions& options_;
    std::optional<std::string> user_data_;
    std::string network_text_;
    Json injected_files_ = Json::array();
    Json network_config_;
    hypervisor::ConfigDrive out_;
};

/// The document of the instance's key; null without one. A record that was loaded without its
/// keypairs still tells the key itself.
Json key_document(const Json& instance) {
    const auto& name = instance["key_name"].as_string();
    if (name.empty())
        return nullptr;
    Json key = Json::object();
    if (data_of(instance["keypairs"]).is_object()) {
        const auto& pair = data_of(data_of(instance["keypairs"])["objects"].at(0));
        if (!pair.is_object())
            return nullptr; // the user deleted it before the instance was made
        key.set("name", pair["name"]);
        key.set("type", pair["type"]);
        key.set("data", pair["public_key"]);
        return key;
    }
    key.set("name", name);
    key.set("type", "ssh");
    key.set("data", instance["key_data"]);
    return key;
}

void Drive::add_keys(Json& meta) const {
    const Json key = key_document(instance_);
    if (key.is_null())
        return;
    Json keys = Json::object();
    keys.set(key["name"].as_string(), key["data"]);
    meta.set("public_keys", std::move(keys));
    meta.set("keys", Json::Array{key});
}

/// Word for the bus of a device; empty when it is one that guests are not told about.
std::string_view bus_word(std::string_view bus_class) {
    constexpr std::array<std::pair<std::string_view, std::string_view>, 5> words{
        {{"PCIDeviceBus", "pci"},
         {"USBDeviceBus", "usb"},
         {"SCSIDeviceBus", "scsi"},
         {"IDEDeviceBus", "ide"},
         {"XenDeviceBus", "xen"}}};
    for (const auto& [name, word] : words)
        if (name == bus_class)
            return word;
    return {};
}

/// The members of one kind of device; null when it is not told in this version.
Json device_kind(const Json& device, std::string_view version) {
    const Json& data = data_of(device);
    const std::string_view kind = class_of(device);
    Json out = Json::object();
    if (kind == "NetworkInterfaceMetadata") {
        if (version >= vlan_since && !data["vlan"].is_null())
            out.set("vlan", data["vlan"]);
        if (version >= trusted_since)
            out.set("vf_trusted", data["vf_trusted"].as_bool());
        // Without a tag there is nothing to tell of it, unless it was given something above.
        if (!data.contains("tags") && out.empty())
            return nullptr;
        out.set("type", "nic");
        out.set("mac", data["mac"]);
    } else if (kind == "DiskMetadata") {
        out.set("type", "disk");
        for (const char* key : {"serial", "path"})
            if (data.contains(key))
                out.set(key, data[key]);
    } else if (kind == "ShareMetadata" && version >= shares_since) {
        out.set("type", "share");
        out.set("share_id", data["share_id"]);
        out.set("tag", data["tag"]);
    } else {
        return nullptr;
    }
    return out;
}

Json Drive::devices(std::string_view version) const {
    Json out = Json::array();
    for (const auto& device : data_of(instance_["device_metadata"])["devices"].items()) {
        const Json& data = data_of(device);
        std::string_view bus = "none";
        Json address = "none";
        if (data.contains("bus")) {
            bus = bus_word(class_of(data["bus"]));
            if (bus.empty())
                continue;
            if (data_of(data["bus"]).contains("address"))
                address = data_of(data["bus"])["address"];
        }
        Json told = device_kind(device, version);
        if (told.is_null())
            continue;
        told.set("bus", bus);
        told.set("address", std::move(address));
        if (data.contains("tags"))
            told.set("tags", data["tags"]);
        out.push_back(std::move(told));
    }
    return out;
}

/// Guest cells' CPUs that are pinned, as the guest numbers them.
Json dedicated_cpus(const Json& instance) {
    std::vector<std::int64_t> cpus;
    for (const auto& cell : data_of(instance["numa_topology"])["cells"].items())
        for (const auto& cpu : data_of(cell)["pcpuset"].items())
            cpus.push_back(cpu.as_int());
    std::sort(cpus.begin(), cpus.end());
    return Json::Array(cpus.begin(), cpus.end());
}

Json Drive::meta_data(std::string_view version) const {
    Json out = Json::object();
    out.set("uuid", instance_["uuid"]);
    out.set("name", instance_["display_name"]);
    out.set("hostname", host_name(instance_, options_));
    out.set("availability_zone", instance_["availability_zone"]);
    out.set("launch_index", instance_["launch_index"]);
    if (!instance_["metadata"].empty())
        out.set("meta", instance_["metadata"]);
    if (!injected_files_.empty())
        out.set("files", injected_files_);
    if (!source_.admin_password.empty())
        out.set("admin_pass", source_.admin_password.reveal());
    if (!network_config_.is_null())
        out.set("network_config", network_config_);
    add_keys(out);
    if (version >= random_seed_since)
        out.set("random_seed", base64(random_bytes(seed_bytes)));
    if (version >= project_id_since)
        out.set("project_id", instance_["project_id"]);
    if (version >= devices_since)
        out.set("devices", devices(version));
    if (version >= dedicated_cpus_since)
        out.set("dedicated_cpus", dedicated_cpus(instance_));
    return out;
}

std::string without_dev(const std::string& device) {
    return device.starts_with("/dev/") ? device.substr(5) : device;
}

/// nova.block_device: before devices have names, old defaults stand in for them.
Json Drive::ec2_block_devices() const {
    Json out = Json::object();
    const auto& root = instance_["root_device_name"];
    if (root.is_null()) {
        out.set("ami", "sda1");
        out.set("root", "/dev/sda1");
        out.set("ephemeral0", "sda2");
        out.set("swap", "sda3");
        return out;
    }
    out.set("ami", without_dev(root.as_string()));
    out.set("root", root);
    if (!instance_["default_ephemeral_device"].as_string().empty())
        out.set("ephemeral0", instance_["default_ephemeral_device"]);
    if (!instance_["default_swap_device"].as_string().empty())
        out.set("swap", instance_["default_swap_device"]);
    std::vector<std::string> volumes;
    std::size_t ephemerals = 0;
    for (const auto& mapping : source_.block_device_mappings) {
        if (mapping["destination_type"].as_string() == "volume")
            volumes.push_back(mapping["device_name"].as_string());
        else if (mapping["source_type"].as_string() != "blank")
            continue;
        else if (mapping["guest_format"].as_string() == "swap")
            out.set("swap", mapping["device_name"]);
        else
            out.set(cat("ephemeral", ephemerals++), mapping["device_name"]);
    }
    std::sort(volumes.begin(), volumes.end());
    for (std::size_t i = 0; i < volumes.size(); ++i)
        out.set(cat("ebs", i), volumes[i].empty() ? Json() : Json(volumes[i]));
    return out;
}

Json Drive::ec2_meta_data() const {
    const auto addresses = ec2_addresses(source_.network_info);
    const std::string name = host_name(instance_, options_);
    const Json& ids = data_of(instance_["ec2_ids"]);
    Json out = Json::object();
    out.set("ami-id", ids["ami_id"]);
    out.set("ami-launch-index", instance_["launch_index"]);
    out.set("ami-manifest-path", "FIXME"); // nova/api/metadata/base.py writes this very word
    out.set("block-device-mapping", ec2_block_devices());
    out.set("hostname", name);
    out.set("instance-action", "none");
    out.set("instance-id", ids["instance_id"]);
    out.set("instance-type", data_of(instance_["flavor"])["name"]);
    out.set("local-hostname", name);
    out.set("local-ipv4", addresses.fixed.empty() ? Json() : Json(addresses.fixed.front()));
    Json placement = Json::object();
    placement.set("availability-zone", instance_["availability_zone"]);
    out.set("placement", std::move(placement));
    out.set("public-hostname", name);
    out.set("public-ipv4", addresses.floating.empty() ? "" : addresses.floating.front());
    out.set("reservation-id", instance_["reservation_id"]);
    out.set("security-groups",
            Json::Array(source_.security_groups.begin(), source_.security_groups.end()));
    if (const auto& key_name = instance_["key_name"].as_string(); !key_name.empty()) {
        Json key = Json::object();
        key.set("_name", "0=" + key_name);
        key.set("openssh-key", instance_["key_data"]);
        out.member("public-keys").set("0", std::move(key));
    }
    for (const auto& [key, id] :
         {std::pair{"kernel-id", &ids["kernel_id"]}, std::pair{"ramdisk-id", &ids["ramdisk_id"]}})
        if (!id->as_string().empty())
            out.set(key, *id);
    return out;
}

Result<void> Drive::decode_user_data() {
    const auto& coded = instance_["user_data"];
    if (coded.is_null())
        return {};
    user_data_ = from_base64(coded.as_string());
    if (!user_data_)
        return fail(Code::InvalidArgument,
                    cat("user_data of instance ",
                        instance_["uuid"].as_string(),
                        " is not base64; the server must be made anew with proper user data"));
    return {};
}

/// Files below openstack/content, numbered: the network's configuration and what the user injects.
Result<void> Drive::add_content() {
    std::size_t count = 0;
    const auto keep = [&](const std::string& content) {
        std::string number = std::to_string(count++);
        number.insert(0, number.size() < 4 ? 4 - number.size() : 0, '0');
        out_.files["openstack/content/" + number] = content;
        return "/content/" + number;
    };
    NOVALET_ASSIGN(const auto interfaces, injected_interfaces(source_.network_info));
    if (interfaces) {
        network_config_.set("name", "network_config");
        network_config_.set("content_path", keep(*interfaces));
    }
    for (const auto& file : source_.injected_files.items()) {
        const auto content = from_base64(file.at(1).as_string());
        if (!content)
            return fail(Code::InvalidArgument,
                        cat("injected file '",
                            cut_utf8(file.at(0).as_string(), 200),
                            "' of instance ",
                            instance_["uuid"].as_string(),
                            " is not base64"));
        Json entry = Json::object();
        entry.set("path", file.at(0));
        entry.set("content_path", keep(*content));
        injected_files_.push_back(std::move(entry));
    }
    return {};
}

void Drive::add_openstack(const std::string& name, std::string_view version) {
    const std::string folder = cat("openstack/", name, '/');
    out_.files[folder + "meta_data.json"] = meta_data(version).dump();
    if (user_data_)
        out_.files[folder + "user_data"] = *user_data_;
    if (version >= vendor_data_since)
        out_.files[folder + "vendor_data.json"] = source_.vendor_data.dump();
    if (version >= network_data_since)
        out_.files[folder + "network_data.json"] = network_text_;
    if (version >= vendor_data2_since) {
        Json vendor = Json::object();
        vendor.set("static", source_.vendor_data);
        out_.files[folder + "vendor_data2.json"] = vendor.dump();
    }
}

void Drive::add_ec2() {
    const std::string text = ec2_meta_data().dump();
    for (const char* version : ec2_versions) {
        out_.files[cat("ec2/", version, "/meta-data.json")] = text;
        if (user_data_)
            out_.files[cat("ec2/", version, "/user-data")] = *user_data_;
    }
}

Result<hypervisor::ConfigDrive> Drive::files() {
    out_.vfat = options_.config_drive_vfat;
    NOVALET_TRY(decode_user_data());
    NOVALET_ASSIGN(const auto networks, network_data(source_.network_info));
    network_text_ = networks.dump();
    NOVALET_TRY(add_content());
    std::string_view newest;
    for (const std::string_view version : openstack_versions) {
        if (version > options_.newest_metadata)
            break;
        newest = version;
        add_openstack(std::string(version), version);
    }
    add_openstack("latest", newest);
    add_ec2();
    return std::move(out_);
}

} // namespace

Result<hypervisor::ConfigDrive> config_drive_content(const ConfigDriveSource& source,
                                                     const TaskOptions& options) {
    return Drive(source, options).files();
}

} // namespace novalet::tasks
