#include "agent/tasks/guest/ip_network.hpp"

#include "agent/core/text.hpp"

#include <arpa/inet.h>

namespace novalet::tasks {

Result<IpNetwork> IpNetwork::parse(const std::string& cidr) {
    const auto slash = cidr.find('/');
    const std::string address = cidr.substr(0, slash);
    IpNetwork out;
    out.v6_ = address.find(':') != std::string::npos;
    const unsigned most = out.v6_ ? 128 : 32;
    const auto bits = slash == std::string::npos ? std::optional<unsigned>(most)
                                                 : to_number<unsigned>(cidr.substr(slash + 1));
    if (!bits || *bits > most ||
        inet_pton(out.v6_ ? AF_INET6 : AF_INET, address.c_str(), out.address_.data()) != 1)
        return fail(Code::InvalidArgument,
                    cat("'", cut_utf8(cidr, 64), "' is no IP network (address/prefix length)"));
    out.bits_ = *bits;
    return out;
}

unsigned char IpNetwork::mask_byte(std::size_t index) const noexcept {
    const std::size_t first = index * 8;
    if (bits_ >= first + 8)
        return 0xff;
    if (bits_ <= first)
        return 0;
    return static_cast<unsigned char>(0xffU << (8 - (bits_ - first)));
}

std::string IpNetwork::text(const Bytes& bytes) const {
    std::array<char, INET6_ADDRSTRLEN> out{};
    inet_ntop(v6_ ? AF_INET6 : AF_INET, bytes.data(), out.data(), out.size());
    return out.data();
}

std::string IpNetwork::network() const {
    Bytes bytes{};
    for (std::size_t i = 0; i < bytes.size(); ++i)
        bytes[i] = static_cast<unsigned char>(address_[i] & mask_byte(i));
    return text(bytes);
}

std::string IpNetwork::netmask() const {
    Bytes bytes{};
    for (std::size_t i = 0; i < bytes.size(); ++i)
        bytes[i] = mask_byte(i);
    return text(bytes);
}

std::optional<std::string> IpNetwork::broadcast() const {
    if (v6_ || bits_ > 30)
        return std::nullopt;
    Bytes bytes{};
    for (std::size_t i = 0; i < bytes.size(); ++i)
        bytes[i] = static_cast<unsigned char>(address_[i] | static_cast<unsigned>(~mask_byte(i)));
    return text(bytes);
}

} // namespace novalet::tasks
