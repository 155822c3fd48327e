#pragma once
// Typed reading of BlockDeviceMapping (reference 02 §6). Views as in instance.hpp.
#include "agent/objects/object.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace novalet::objects {

class BlockDeviceView {
  public:
    explicit BlockDeviceView(const Object& mapping) : fields_(&mapping.data()) {}
    explicit BlockDeviceView(const Json& fields) : fields_(&fields) {}
    explicit BlockDeviceView(Object&&) = delete;
    explicit BlockDeviceView(Json&&) = delete;

    [[nodiscard]] const std::string& uuid() const { return text("uuid"); }
    [[nodiscard]] const std::string& instance_uuid() const { return text("instance_uuid"); }
    /// "blank", "image", "snapshot" or "volume"
    [[nodiscard]] const std::string& source_type() const { return text("source_type"); }
    /// "local" or "volume"
    [[nodiscard]] const std::string& destination_type() const { return text("destination_type"); }
    /// "disk", "cdrom", …; empty = disk
    [[nodiscard]] const std::string& device_type() const { return text("device_type"); }
    [[nodiscard]] const std::string& disk_bus() const { return text("disk_bus"); }
    /// "/dev/vda"; empty = to be chosen
    [[nodiscard]] const std::string& device_name() const { return text("device_name"); }
    /// "swap", or the file system of an ephemeral disk
    [[nodiscard]] const std::string& guest_format() const { return text("guest_format"); }
    [[nodiscard]] const std::string& image_id() const { return text("image_id"); }
    [[nodiscard]] const std::string& volume_id() const { return text("volume_id"); }
    [[nodiscard]] const std::string& attachment_id() const { return text("attachment_id"); }
    [[nodiscard]] const std::string& tag() const { return text("tag"); }
    /// Empty or negative = not bootable; 0 = first.
    [[nodiscard]] std::optional<std::int64_t> boot_index() const { return number("boot_index"); }
    /// GiB, but MiB for a swap disk.
    [[nodiscard]] std::optional<std::int64_t> volume_size() const { return number("volume_size"); }
    [[nodiscard]] bool delete_on_termination() const {
        return (*fields_)["delete_on_termination"].as_bool();
    }
    [[nodiscard]] bool encrypted() const { return (*fields_)["encrypted"].as_bool(); }
    [[nodiscard]] bool is_root() const { return boot_index() == 0; }
    [[nodiscard]] bool is_volume() const { return destination_type() == "volume"; }
    [[nodiscard]] bool is_swap() const {
        return source_type() == "blank" && destination_type() == "local" &&
               guest_format() == "swap";
    }
    [[nodiscard]] bool is_ephemeral() const {
        return source_type() == "blank" && destination_type() == "local" &&
               guest_format() != "swap";
    }

  private:
    [[nodiscard]] const std::string& text(std::string_view field) const {
        return (*fields_)[field].as_string();
    }
    [[nodiscard]] std::optional<std::int64_t> number(std::string_view field) const {
        const auto& value = (*fields_)[field];
        if (value.is_number())
            return value.as_int();
        return std::nullopt;
    }
    const Json* fields_;
};

} // namespace novalet::objects
