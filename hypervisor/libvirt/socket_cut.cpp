#include "hypervisor/libvirt/socket_cut.hpp"

#include "agent/core/text.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <optional>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace novalet::hypervisor::libvirt {
namespace {

/// The socket that the URI names; empty where libvirt chooses it.
std::string named_socket(const std::string& uri) {
    constexpr std::string_view key = "socket=";
    const auto query = uri.find('?');
    const auto at = query == std::string::npos ? query : uri.find(key, query);
    if (at == std::string::npos)
        return "";
    const auto begin = at + key.size();
    return uri.substr(begin, uri.find('&', begin) - begin);
}

/// Where the other end of a connection over a unix socket was bound.
std::string peer_of(int fd) {
    sockaddr_un address{};
    socklen_t length = sizeof(address);
    void* const raw = &address;
    if (getpeername(fd, static_cast<sockaddr*>(raw), &length) != 0 ||
        address.sun_family != AF_UNIX || length <= offsetof(sockaddr_un, sun_path))
        return "";
    const auto size =
        std::min<std::size_t>(length - offsetof(sockaddr_un, sun_path), sizeof(address.sun_path));
    return {address.sun_path, strnlen(address.sun_path, size)};
}

/// libvirtd's and virtqemud's sockets: …/libvirt/libvirt-sock, …/libvirt/virtqemud-sock.
bool is_libvirts(const std::string& peer) {
    const std::filesystem::path path(peer);
    return path.parent_path().filename() == "libvirt" && peer.ends_with("-sock");
}

} // namespace

std::size_t cut_sockets(const std::string& uri) {
    const auto named = named_socket(uri);
    std::size_t cut = 0;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
        const auto number = to_number<int>(entry.path().filename().string());
        // A descriptor of its own: the number may mean something else in the next moment.
        const int fd = number ? fcntl(*number, F_DUPFD_CLOEXEC, 0) : -1;
        if (fd < 0)
            continue;
        const auto peer = peer_of(fd);
        if (named.empty() ? is_libvirts(peer) : peer == named) {
            shutdown(fd, SHUT_RDWR);
            ++cut;
        }
        close(fd);
    }
    return cut;
}

} // namespace novalet::hypervisor::libvirt
