#include "config/load/complete.hpp"

#include "agent/core/file.hpp"

#include <arpa/inet.h>
#include <array>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace novalet::config {
namespace {

/// A connected datagram socket has the source address that the route gives; nothing is sent. The
/// addresses are those of documentation networks, so only a default route leads there.
std::string source_address() {
    std::array<char, INET6_ADDRSTRLEN> text{};
    {
        const Fd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        sockaddr_in peer{};
        peer.sin_family = AF_INET;
        peer.sin_port = htons(9);
        inet_pton(AF_INET, "192.0.2.1", &peer.sin_addr);
        sockaddr_in own{};
        socklen_t size = sizeof own;
        if (fd && connect(fd.get(), reinterpret_cast<const sockaddr*>(&peer), sizeof peer) == 0 &&
            getsockname(fd.get(), reinterpret_cast<sockaddr*>(&own), &size) == 0 &&
            inet_ntop(AF_INET, &own.sin_addr, text.data(), text.size()) != nullptr)
            return text.data();
    }
    const Fd fd(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_in6 peer{};
    peer.sin6_family = AF_INET6;
    peer.sin6_port = htons(9);
    inet_pton(AF_INET6, "2001:db8::1", &peer.sin6_addr);
    sockaddr_in6 own{};
    socklen_t size = sizeof own;
    if (fd && connect(fd.get(), reinterpret_cast<const sockaddr*>(&peer), sizeof peer) == 0 &&
        getsockname(fd.get(), reinterpret_cast<sockaddr*>(&own), &size) == 0 &&
        inet_ntop(AF_INET6, &own.sin6_addr, text.data(), text.size()) != nullptr)
        return text.data();
    return {};
}

template <class T> void inherit(T& value, const T& from) {
    if (value == T{})
        value = from;
}

void inherit(Access& access, const Access& from) {
    const bool own_account = !access.username.empty() || !access.application_credential_id.empty();
    inherit(access.auth_url, from.auth_url);
    inherit(access.region_name, from.region_name);
    inherit(access.valid_interfaces, from.valid_interfaces);
    inherit(access.ca_file, from.ca_file);
    inherit(access.insecure, from.insecure);
    inherit(access.timeout, from.timeout);
    inherit(access.user_domain_name, from.user_domain_name);
    inherit(access.project_name, from.project_name);
    inherit(access.project_domain_name, from.project_domain_name);
    // Name and secret of an account belong together: they are never mixed.
    if (own_account)
        return;
    access.username = from.username;
    if (access.password.empty())
        access.password = from.password;
    access.application_credential_id = from.application_credential_id;
    access.application_credential_secret = from.application_credential_secret;
}

} // namespace

HostIdentity host_identity() {
    HostIdentity identity;
    std::array<char, 256> name{};
    if (gethostname(name.data(), name.size() - 1) == 0)
        identity.host_name = name.data();
    identity.address = source_address();
    return identity;
}

void complete(Config& config, const HostIdentity& identity) {
    inherit(config.host, identity.host_name);
    inherit(config.my_ip, identity.address);
    inherit(config.instances_path, config.state_path + "/instances");
    inherit(config.journal.path, config.state_path + "/novalet/journal.sqlite");
    for (Access* access : {static_cast<Access*>(&config.placement),
                           static_cast<Access*>(&config.neutron),
                           static_cast<Access*>(&config.glance),
                           static_cast<Access*>(&config.cinder),
                           static_cast<Access*>(&config.service_user)})
        inherit(*access, config.keystone);
    inherit(config.cinder.os_region_name, config.keystone.region_name);
}

} // namespace novalet::config
