#include "hypervisor/storage/image_inspector.hpp"

#include "agent/core/text.hpp"
#include "hypervisor/storage/image_headers.hpp"
#include "hypervisor/storage/image_sample.hpp"

#include <algorithm>
#include <array>
#include <vector>

namespace novalet::hypervisor::storage {
namespace {

Failure refuse(const std::string& id, const std::string& why) {
    return fail_as(
        "ImageUnacceptable", Code::InvalidArgument, cat("Image ", id, " is unacceptable: ", why));
}

/// A volume descriptor of ISO 9660 or UDF in one of the first sectors that may hold one.
bool is_iso(const ImageSample& image) {
    for (const std::size_t at : {0x8001U, 0x8801U, 0x9001U})
        for (const std::string_view mark : {"CD001", "BEA01", "NSR02", "NSR03"})
            if (image.has(at, mark))
                return true;
    return false;
}

/// A text file that QEMU would take for a VMDK descriptor: comments and blanks, then the version.
bool is_vmdk_descriptor(const ImageSample& image) {
    std::string_view rest = image.head();
    for (;;) {
        if (rest.starts_with('#')) {
            const auto end = rest.find('\n');
            if (end == std::string_view::npos)
                return false;
            rest.remove_prefix(end + 1);
        } else if (rest.starts_with(' ') || rest.starts_with('\n') || rest.starts_with('\r')) {
            rest.remove_prefix(1);
        } else {
            return lower(rest.substr(0, 8)) == "version=";
        }
    }
}

/// Every format whose signature the file carries; raw is what is left.
std::vector<std::string> signatures(const ImageSample& image) {
    std::vector<std::string> found;
    const auto check = [&](const char* format, bool match) {
        if (match)
            found.emplace_back(format);
    };
    check("qcow2", image.has(0, "QFI\xfb"));
    check("qed", image.has(0, std::string_view("QED\0", 4)));
    check("vmdk", image.has(0, "KDMV") || image.has(0, "COWD") || is_vmdk_descriptor(image));
    check("vhdx", image.has(0, "vhdxfile"));
    check("vdi", image.has(0x40, "\x7f\x10\xda\xbe"));
    check("luks", image.has(0, "LUKS\xba\xbe"));
    check("vhd", image.has(0, "conectix"));
    check("parallels", image.has(0, "WithoutFreeSpace") || image.has(0, "WithouFreSpacExt"));
    check("bochs", image.has(0, "Bochs Virtual HD Image"));
    check("cloop", image.has(0, "#!/bin/sh\n#V2.0 Format\n"));
    check("iso", is_iso(image));
    return found;
}

/// A fixed VHD is a raw disk with a footer: only a claim makes the difference.
bool has_vhd_footer(const ImageSample& image) {
    constexpr std::size_t footer = 512;
    if (image.size() < footer)
        return false;
    const auto tail = image.part(image.size() - footer, footer);
    return tail && tail->starts_with("conectix");
}

bool is_amazon(const std::string& claimed) {
    return claimed == "ami" || claimed == "aki" || claimed == "ari";
}

Result<std::uint64_t>
virtual_size_of(const std::string& format, const ImageSample& image, const InspectionRules& rules) {
    if (format == "qcow2")
        return read_qcow2(image);
    if (format == "vmdk")
        return read_vmdk(image, rules.vmdk_types);
    if (format == "vhd")
        return read_vhd(image);
    if (format == "vhdx")
        return read_vhdx(image);
    if (format == "vdi")
        return read_vdi(image);
    if (format == "raw" || format == "iso")
        return image.size();
    return fail(
        Code::InvalidArgument,
        cat("format ",
            format,
            " cannot be used by this host; convert it to qcow2 or raw and upload it again"));
}

} // namespace

Result<InspectedImage> inspect_image(int fd,
                                     const std::string& claimed_format,
                                     const std::string& image_id,
                                     const InspectionRules& rules) {
    NOVALET_ASSIGN(const auto sample, ImageSample::take(fd));
    if (sample.size() == 0)
        return refuse(image_id, "it is empty");
    const auto found = signatures(sample);
    if (found.size() > 1)
        return refuse(image_id,
                      cat("its content is several formats at once (", join(found, ", "), ")"));
    const std::string claimed = claimed_format == "vpc" ? "vhd" : claimed_format;
    InspectedImage image;
    image.format = found.empty() ? "raw" : found.front();
    if (claimed == "vhd" && image.format == "raw" && has_vhd_footer(sample))
        image.format = "vhd";
    // What Amazon's names say is the role of the image, not its format.
    if (!claimed.empty() && !is_amazon(claimed) && claimed != image.format)
        return refuse(image_id,
                      cat("Image content does not match disk_format: Glance says '",
                          claimed_format,
                          "', the content is '",
                          image.format,
                          "'"));
    const auto size = virtual_size_of(image.format, sample, rules);
    if (!size && size.error().code != Code::InvalidArgument && size.error().code != Code::DataLoss)
        return Failure(size.error()); // the file could not be read: nothing is said about the image
    if (!size)
        return refuse(image_id, size.error().text);
    image.virtual_size = *size;
    if (image.virtual_size == 0 || image.virtual_size > max_virtual_size)
        return refuse(image_id,
                      cat("its virtual size of ", image.virtual_size, " bytes makes no sense"));
    image.qemu_format = image.format == "iso"   ? "raw"
                        : image.format == "vhd" ? "vpc"
                                                : image.format;
    return image;
}

} // namespace novalet::hypervisor::storage
