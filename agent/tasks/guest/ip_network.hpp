#pragma once
// An IP network as metadata documents speak of it: prefix, masks and addresses as text.
#include "agent/core/result.hpp"

#include <array>
#include <optional>
#include <string>

namespace novalet::tasks {

/// Value; IPv4 or IPv6. Texts are canonical (inet_ntop).
class IpNetwork {
  public:
    /// "192.0.2.0/24", "2001:db8::/64" or one address (all bits). InvalidArgument for other texts.
    [[nodiscard]] static Result<IpNetwork> parse(const std::string& cidr);

    [[nodiscard]] bool v6() const noexcept { return v6_; }
    [[nodiscard]] unsigned bits() const noexcept { return bits_; }
    /// Its first address: the bits of the host are zero.
    [[nodiscard]] std::string network() const;
    /// "255.255.255.0" or "ffff:ffff:ffff:ffff::"
    [[nodiscard]] std::string netmask() const;
    /// Empty for IPv6 and for networks of one or two addresses, which have none.
    [[nodiscard]] std::optional<std::string> broadcast() const;

  private:
    using Bytes = std::array<unsigned char, 16>;
    [[nodiscard]] unsigned char mask_byte(std::size_t index) const noexcept;
    [[nodiscard]] std::string text(const Bytes& bytes) const;
    bool v6_ = false;
    unsigned bits_ = 0;
    Bytes address_{};
};

} // namespace novalet::tasks
