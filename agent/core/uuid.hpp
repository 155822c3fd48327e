#pragma once
// Identifiers. `Id<Tag>` keeps ids of different things apart; the text is not normalised.
#include <compare>
#include <functional>
#include <string>
#include <string_view>

namespace novalet {

template <class Tag> class Id {
  public:
    Id() = default;
    explicit Id(std::string text) : text_(std::move(text)) {}
    [[nodiscard]] const std::string& str() const noexcept { return text_; }
    [[nodiscard]] bool empty() const noexcept { return text_.empty(); }
    [[nodiscard]] auto operator<=>(const Id&) const = default;

  private:
    std::string text_;
};

using InstanceUuid = Id<struct InstanceUuidTag>;
using PortId = Id<struct PortIdTag>;
using ImageId = Id<struct ImageIdTag>;
using ProviderUuid = Id<struct ProviderUuidTag>; ///< resource provider = ComputeNode uuid

/// Random (version 4) uuid with dashes. Any thread.
[[nodiscard]] std::string new_uuid();
/// The same without dashes, as oslo.messaging writes message ids.
[[nodiscard]] std::string new_uuid_hex();
/// 8-4-4-4-12 hex digits?
[[nodiscard]] bool is_uuid(std::string_view text) noexcept;
/// `size` bytes from the kernel's random source.
[[nodiscard]] std::string random_bytes(std::size_t size);

} // namespace novalet

template <class Tag> struct std::hash<novalet::Id<Tag>> {
    std::size_t operator()(const novalet::Id<Tag>& id) const noexcept {
        return std::hash<std::string>{}(id.str());
    }
};
