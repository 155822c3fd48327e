#include "agent/objects/request_spec.hpp"

#include "agent/core/text.hpp"

namespace novalet::objects {
namespace {

const Json no_fields;
const std::string no_text;

std::optional<std::int64_t> number(const Json& value) {
    if (value.is_number())
        return value.as_int();
    return std::nullopt;
}

} // namespace

Result<std::vector<NetworkRequest>> parse_network_requests(const Json& primitive) {
    std::vector<NetworkRequest> out;
    if (primitive.is_null())
        return out;
    const auto& list = data_of(primitive)["objects"];
    if (!list.is_array())
        return fail(Code::InvalidArgument,
                    "requested_networks: expected a NetworkRequestList or null");
    out.reserve(list.size());
    for (const auto& element : list.items()) {
        const auto& fields = data_of(element);
        if (!fields.is_object())
            return fail(Code::InvalidArgument,
                        cat("requested_networks: element ", out.size(), " is no NetworkRequest"));
        NetworkRequest request;
        request.network_id = fields["network_id"].as_string();
        request.port_id = fields["port_id"].as_string();
        request.address = fields["address"].as_string();
        request.tag = fields["tag"].as_string();
        request.pci_request_id = fields["pci_request_id"].as_string();
        request.arq_uuid = fields["arq_uuid"].as_string();
        request.device_profile = fields["device_profile"].as_string();
        out.push_back(std::move(request));
    }
    return out;
}

LimitsView::LimitsView(const Json& limits) : fields_(&no_fields) {
    if (data_of(limits).is_object())
        fields_ = &data_of(limits);
    else if (limits.is_object())
        fields_ = &limits;
}

std::optional<std::int64_t> LimitsView::memory_mib() const {
    return number((*fields_)["memory_mb"]);
}

std::optional<std::int64_t> LimitsView::disk_gib() const {
    return number((*fields_)["disk_gb"]);
}

std::optional<std::int64_t> LimitsView::vcpus() const {
    return number((*fields_)["vcpu"]);
}

const std::string& RequestSpecView::scheduler_hint(std::string_view key) const {
    const auto& hint = scheduler_hints()[key];
    if (hint.is_string())
        return hint.as_string();
    return hint.empty() ? no_text : hint.at(0).as_string();
}

std::map<std::string, std::vector<std::string>> RequestSpecView::provider_mapping() const {
    std::map<std::string, std::vector<std::string>> out;
    for (const auto& group : (*fields_)["requested_resources"].items()) {
        const auto& fields = data_of(group);
        auto& providers = out[fields["requester_id"].as_string()];
        for (const auto& provider : fields["provider_uuids"].items())
            providers.push_back(provider.as_string());
    }
    return out;
}

} // namespace novalet::objects
