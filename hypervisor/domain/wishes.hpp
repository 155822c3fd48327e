#pragma once
// What image and flavor wish of the guest's hardware; internal to this folder.
#include "agent/core/result.hpp"
#include "agent/core/text.hpp"
#include "hypervisor/guest_spec.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace novalet::hypervisor::domain {

/// Looks into the image properties and the flavor's extra specs; lives shorter than the guest.
class Wishes {
  public:
    explicit Wishes(const GuestSpec& guest) : guest_(guest) {}
    /// Empty text: not set.
    [[nodiscard]] std::string image(const std::string& key,
                                    const std::string& fallback = {}) const {
        return find(guest_.image.properties, key, fallback);
    }
    [[nodiscard]] std::string flavor(const std::string& key,
                                     const std::string& fallback = {}) const {
        return find(guest_.flavor.extra_specs, key, fallback);
    }
    /// Natural number of an extra spec; empty when it is not set. InvalidInput names what is wrong.
    [[nodiscard]] Result<std::optional<std::uint64_t>> flavor_number(const std::string& key) const {
        const auto text = flavor(key);
        if (text.empty())
            return std::optional<std::uint64_t>();
        const auto number = to_number<std::uint64_t>(text);
        if (!number)
            return fail_as("InvalidInput",
                           Code::InvalidArgument,
                           cat("Invalid input received: flavor extra spec ",
                               key,
                               " is '",
                               text,
                               "', which is no natural number"));
        return number;
    }
    [[nodiscard]] bool image_flag(const std::string& key) const {
        return to_bool(image(key)).value_or(false);
    }
    [[nodiscard]] bool flavor_flag(const std::string& key) const {
        return to_bool(flavor(key)).value_or(false);
    }
    /// `hw:NAME` of the flavor or else `hw_NAME` of the image (which of them may be set together is
    /// checked by the API).
    [[nodiscard]] std::string either(const std::string& name) const {
        auto text = flavor("hw:" + name);
        return text.empty() ? image("hw_" + name) : text;
    }
    [[nodiscard]] std::optional<bool> either_flag(const std::string& name) const {
        return to_bool(either(name));
    }

  private:
    template <class Map>
    static std::string find(const Map& map, const std::string& key, const std::string& fallback) {
        const auto found = map.find(key);
        return found == map.end() ? fallback : found->second;
    }
    const GuestSpec& guest_;
};

} // namespace novalet::hypervisor::domain
