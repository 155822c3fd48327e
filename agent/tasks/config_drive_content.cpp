#include "agent/tasks/config_drive_content.hpp"

#include "agent/core/text.hpp"
#include "agent/tasks/services.hpp"

#include <array>
#include <string_view>

namespace novalet::tasks {
namespace {

constexpr std::array openstack_versions{"2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15",
                                        "2016-06-30", "2016-10-06", "2017-02-22", "2018-08-27",
                                        "2020-10-14", "latest"};
constexpr std::array ec2_versions{"2009-04-04", "latest"};
constexpr std::string_view vendor_data_since = "2013-10-17";
constexpr std::string_view network_data_since = "2015-10-15";
constexpr std::string_view vendor_data2_since = "2016-10-06";
constexpr std::size_t seed_bytes = 512;

bool since(std::string_view version, std::string_view first) {
    return version == "latest" || version >= first;
}

std::string host_name(const Json& instance, const TaskOptions& options) {
    const auto& name = instance["hostname"].as_string();
    return options.dhcp_domain.empty() ? name : cat(name, '.', options.dhcp_domain);
}

Json meta_data(const Json& instance, const Json& args, const TaskOptions& options) {
    Json out = Json::object();
    out.set("uuid", instance["uuid"]);
    out.set("name", instance["display_name"]);
    out.set("hostname", host_name(instance, options));
    out.set("availability_zone", instance["availability_zone"]);
    out.set("launch_index", instance["launch_index"].as_int());
    out.set("project_id", instance["project_id"]);
    out.set("devices", Json::array());
    out.set("random_seed", base64(random_bytes(seed_bytes)));
    if (!instance["metadata"].empty())
        out.set("meta", instance["metadata"]);
    if (!instance["key_name"].as_string().empty()) {
        Json keys = Json::object();
        keys.set(instance["key_name"].as_string(), instance["key_data"]);
        out.set("public_keys", std::move(keys));
        Json key = Json::object();
        key.set("name", instance["key_name"]);
        key.set("type", "ssh");
        key.set("data", instance["key_data"]);
        out.set("keys", Json::Array{key});
    }
    if (!args["admin_password"].as_string().empty())
        out.set("admin_pass", args["admin_password"]);
    out.set("dedicated_cpus", Json::array());
    return out;
}

Json ec2_meta_data(const Json& instance, const Json& network_info, const TaskOptions& options) {
    std::string address;
    for (const auto& vif : network_info.items())
        for (const auto& subnet : vif["network"]["subnets"].items())
            for (const auto& ip : subnet["ips"].items())
                if (address.empty() && ip["version"].as_int() == 4)
                    address = ip["address"].as_string();
    const std::string name = host_name(instance, options);
    Json out = Json::object();
    out.set("ami-id", object_data(instance["ec2_ids"])["ami_id"]);
    out.set("ami-launch-index", instance["launch_index"].as_int());
    out.set("ami-manifest-path", "FIXME"); // nova/api/metadata/base.py writes this very word
    out.set("hostname", name);
    out.set("instance-action", "none");
    out.set("instance-id", object_data(instance["ec2_ids"])["instance_id"]);
    out.set("instance-type", object_data(instance["flavor"])["name"]);
    out.set("local-hostname", name);
    out.set("local-ipv4", address);
    Json placement = Json::object();
    placement.set("availability-zone", instance["availability_zone"]);
    out.set("placement", std::move(placement));
    out.set("public-hostname", name);
    out.set("public-ipv4", "");
    out.set("reservation-id", instance["reservation_id"]);
    out.set("security-groups", Json::array());
    return out;
}

Json link_of(const Json& vif) {
    Json link = Json::object();
    link.set("id", vif["devname"]);
    link.set("vif_id", vif["id"]);
    link.set("type", vif["type"]);
    link.set("mtu", vif["network"]["meta"]["mtu"]);
    link.set("ethernet_mac_address", vif["address"]);
    return link;
}

std::string netmask_of(const std::string& cidr) {
    const auto slash = cidr.find('/');
    const auto bits = slash == std::string::npos
                          ? 32U
                          : to_number<unsigned>(cidr.substr(slash + 1)).value_or(32);
    const std::uint64_t mask = bits == 0 ? 0 : (0xffffffffULL << (32 - bits)) & 0xffffffffULL;
    return cat((mask >> 24U) & 255U, '.', (mask >> 16U) & 255U, '.', (mask >> 8U) & 255U, '.',
               mask & 255U);
}

} // namespace

Json network_data(const Json& network_info) {
    Json links = Json::array();
    Json networks = Json::array();
    Json services = Json::array();
    for (const auto& vif : network_info.items()) {
        links.push_back(link_of(vif));
        for (const auto& subnet : vif["network"]["subnets"].items()) {
            const bool v6 = subnet["version"].as_int() == 6;
            Json network = Json::object();
            network.set("id", cat("network", networks.size()));
            network.set("link", vif["devname"]);
            network.set("network_id", vif["network"]["id"]);
            const bool dhcp = !subnet["meta"]["dhcp_server"].is_null();
            network.set("type", cat(v6 ? "ipv6" : "ipv4", dhcp ? "_dhcp" : ""));
            if (!dhcp) {
                network.set("ip_address", subnet["ips"].at(0)["address"]);
                network.set("netmask", netmask_of(subnet["cidr"].as_string()));
                Json route = Json::object();
                route.set("network", v6 ? "::" : "0.0.0.0");
                route.set("netmask", v6 ? "::" : "0.0.0.0");
                route.set("gateway", subnet["gateway"]["address"]);
                network.set("routes", Json::Array{route});
            }
            networks.push_back(std::move(network));
            for (const auto& server : subnet["dns"].items()) {
                Json service = Json::object();
                service.set("type", "dns");
                service.set("address", server["address"]);
                services.push_back(std::move(service));
            }
        }
    }
    Json out = Json::object();
    out.set("links", std::move(links));
    out.set("networks", std::move(networks));
    out.set("services", std::move(services));
    return out;
}

hypervisor::ConfigDrive config_drive_content(const Json& instance,
                                             const Json& network_info,
                                             const Json& args,
                                             const TaskOptions& options) {
    hypervisor::ConfigDrive drive;
    drive.vfat = options.config_drive_vfat;
    const auto user_data = from_base64(instance["user_data"].as_string());
    Json meta = meta_data(instance, args, options);
    Json files = Json::array();
    for (std::size_t i = 0; i < args["injected_files"].items().size(); ++i) {
        const auto& file = args["injected_files"].at(i);
        std::string number = std::to_string(i);
        number.insert(0, number.size() < 4 ? 4 - number.size() : 0, '0');
        Json entry = Json::object();
        entry.set("path", file.at(0));
        entry.set("content_path", "/content/" + number);
        files.push_back(std::move(entry));
        drive.files["openstack/content/" + number] =
            from_base64(file.at(1).as_string()).value_or("");
    }
    if (!files.empty())
        meta.set("files", std::move(files));
    const std::string meta_text = meta.dump();
    const std::string network_text = network_data(network_info).dump();
    for (const std::string_view version : openstack_versions) {
        const std::string folder = cat("openstack/", version, '/');
        drive.files[folder + "meta_data.json"] = meta_text;
        if (user_data && !user_data->empty())
            drive.files[folder + "user_data"] = *user_data;
        if (since(version, vendor_data_since))
            drive.files[folder + "vendor_data.json"] = "{}";
        if (since(version, network_data_since))
            drive.files[folder + "network_data.json"] = network_text;
        if (since(version, vendor_data2_since))
            drive.files[folder + "vendor_data2.json"] = R"({"static": {}})";
    }
    const std::string ec2_text = ec2_meta_data(instance, network_info, options).dump();
    for (const char* version : ec2_versions) {
        drive.files[cat("ec2/", version, "/meta-data.json")] = ec2_text;
        if (user_data && !user_data->empty())
            drive.files[cat("ec2/", version, "/user-data")] = *user_data;
    }
    return drive;
}

} // namespace novalet::tasks
