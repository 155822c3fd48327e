#pragma once
// What guests read about their network: network_data.json, the injected interfaces file and the
// addresses in EC2's metadata. Rules of nova/virt/netutils.py. Pure functions, any thread.
// `network_info`: the list of VIFs (reference 06 §1.7).
#include "agent/core/json.hpp"
#include "agent/core/result.hpp"

#include <optional>
#include <string>
#include <vector>

namespace novalet::tasks {

/// Links, networks and services; `{}` when there are no interfaces at all. Interfaces without a
/// subnet are left out, and of each interface only the first IPv4 and the first IPv6 subnet are
/// told. InvalidArgument when a subnet or route is no IP network.
[[nodiscard]] Result<Json> network_data(const Json& network_info);

/// interfaces(5) text for the networks that are to be injected (flat_injected) and have no DHCP
/// server; empty when there is none.
[[nodiscard]] Result<std::optional<std::string>> injected_interfaces(const Json& network_info);

struct Ec2Addresses {
    std::vector<std::string> fixed; ///< IPv4
    std::vector<std::string> floating;
};
[[nodiscard]] Ec2Addresses ec2_addresses(const Json& network_info);

} // namespace novalet::tasks
