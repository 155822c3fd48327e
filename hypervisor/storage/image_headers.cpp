#include "hypervisor/storage/image_headers.hpp"

#include "agent/core/text.hpp"

#include <algorithm>
#include <array>

namespace novalet::hypervisor::storage {
namespace {

Failure refuse(std::string why) {
    return fail(Code::InvalidArgument, std::move(why));
}

Result<std::uint64_t> sane(std::uint64_t size, const char* format) {
    if (size > max_virtual_size)
        return refuse(cat("its ", format, " header claims ", size, " bytes, which no disk has"));
    return size;
}

} // namespace

// qcow2 ------------------------------------------------------------------------------------------

namespace {

constexpr std::uint64_t qcow2_dirty = 1, qcow2_corrupt = 2, qcow2_data_file = 4,
                        qcow2_compression = 8, qcow2_extended_l2 = 16;
constexpr std::uint64_t qcow2_data_file_extension = 0x44415441; // "DATA"
constexpr std::uint64_t max_table_bytes = 32U << 20U;           // QEMU's own limit of the L1 table
constexpr std::uint64_t max_snapshots = 65536;                  // QEMU's own limit

Result<void> check_qcow2_features(const ImageSample& image) {
    const auto features = image.big(72, 8);
    if ((features & qcow2_data_file) != 0)
        return refuse("it keeps its data in an external file, which could be any file of the host");
    if ((features & qcow2_corrupt) != 0)
        return refuse("its qcow2 header says that it is corrupt");
    if ((features & ~(qcow2_dirty | qcow2_compression | qcow2_extended_l2)) != 0)
        return refuse(cat("it uses qcow2 features that are not known (bits ", features, ")"));
    return {};
}

/// Header extensions: type, length, data padded to 8 bytes; type 0 ends them.
Result<void> check_qcow2_extensions(const ImageSample& image, std::uint64_t cluster_size) {
    const auto header_length = image.big(100, 4);
    if (header_length < 104 || header_length > cluster_size || header_length % 8 != 0)
        return refuse(cat("its qcow2 header length of ", header_length, " is not allowed"));
    const auto end = std::min<std::uint64_t>(cluster_size, image.head().size());
    for (std::uint64_t at = header_length; at + 8 <= end;) {
        const auto type = image.big(at, 4);
        const auto length = image.big(at + 4, 4);
        if (type == 0)
            return {};
        if (type == qcow2_data_file_extension)
            return refuse("it names an external data file, which could be any file of the host");
        if (length > cluster_size)
            return refuse("a qcow2 header extension is larger than its cluster");
        at += 8 + (length + 7) / 8 * 8;
    }
    return {};
}

Result<void>
check_qcow2_tables(const ImageSample& image, std::uint64_t size, std::uint64_t cluster_size) {
    const auto l1_entries = image.big(36, 4);
    const auto l1_offset = image.big(40, 8);
    const bool extended = image.big(4, 4) == 3 && (image.big(72, 8) & qcow2_extended_l2) != 0;
    const std::uint64_t covered = cluster_size * (cluster_size / (extended ? 16 : 8));
    if (l1_entries < (size + covered - 1) / covered)
        return refuse("its qcow2 tables do not cover its virtual size");
    if (l1_entries * 8 > max_table_bytes || !image.holds(l1_offset, l1_entries * 8))
        return refuse("its qcow2 L1 table lies outside of the file");
    const auto refcount_bytes = image.big(56, 4) * cluster_size;
    if (refcount_bytes > max_table_bytes || !image.holds(image.big(48, 8), refcount_bytes))
        return refuse("its qcow2 refcount table lies outside of the file");
    if (image.big(60, 4) > max_snapshots)
        return refuse("it claims more qcow2 snapshots than there can be");
    if (image.big(60, 4) != 0 && !image.holds(image.big(64, 8), 40))
        return refuse("its qcow2 snapshots lie outside of the file");
    return {};
}

} // namespace

Result<std::uint64_t> read_qcow2(const ImageSample& image) {
    if (image.size() < 72)
        return refuse("its qcow2 header is cut off");
    const auto version = image.big(4, 4);
    if (version != 2 && version != 3)
        return refuse(cat("qcow2 version ", version, " is not known"));
    if (version == 3 && image.size() < 104)
        return refuse("its qcow2 header is cut off");
    if (image.big(8, 8) != 0 || image.big(16, 4) != 0)
        return refuse("it has a backing file, which could be any file of the host");
    const auto cluster_bits = image.big(20, 4);
    if (cluster_bits < 9 || cluster_bits > 21)
        return refuse(cat("its qcow2 cluster size of 2^", cluster_bits, " is not allowed"));
    if (image.big(32, 4) != 0)
        return refuse("it is encrypted by qcow2");
    const std::uint64_t cluster_size = std::uint64_t{1} << cluster_bits;
    if (version == 3) {
        NOVALET_TRY(check_qcow2_features(image));
        NOVALET_TRY(check_qcow2_extensions(image, cluster_size));
    }
    NOVALET_ASSIGN(const auto size, sane(image.big(24, 8), "qcow2"));
    NOVALET_TRY(check_qcow2_tables(image, size, cluster_size));
    return size;
}

// VMDK -------------------------------------------------------------------------------------------

namespace {

constexpr std::uint64_t sector = 512;
constexpr std::uint64_t vmdk_at_end = ~std::uint64_t{0}; ///< the grain directory is in a footer
constexpr std::uint64_t max_descriptor_sectors = 126;    ///< what the head of the file can hold

struct VmdkDescriptor {
    std::string create_type;
    unsigned extents = 0;
};

bool is_extent(std::string_view line) {
    return line.starts_with("rw ") || line.starts_with("rdonly ") || line.starts_with("noaccess ");
}

/// Each line has to be understood; the descriptor is case-insensitive ASCII.
Result<VmdkDescriptor> read_descriptor(std::string_view text) {
    text = text.substr(0, text.find('\0'));
    for (const char c : text)
        if (static_cast<unsigned char>(c) >= 0x80)
            return refuse("its VMDK descriptor is no ASCII text");
    VmdkDescriptor out;
    for (const auto& raw_line : split(text, '\n')) {
        const std::string line = lower(trim(raw_line));
        const auto equals = line.find('=');
        if (line.empty() || line.front() == '#' || line.starts_with("ddb."))
            continue;
        if (is_extent(line)) {
            ++out.extents;
            if (line.find('/') != std::string::npos || line.find(" sparse ") == std::string::npos)
                return refuse("its VMDK extents refer to other files of the host");
            continue;
        }
        if (equals == std::string::npos ||
            trim(std::string_view(line).substr(0, equals)).find(' ') != std::string_view::npos)
            return refuse("its VMDK descriptor has a line that is not understood");
        const std::string key(trim(std::string_view(line).substr(0, equals)));
        std::string value(trim(std::string_view(line).substr(equals + 1)));
        std::erase(value, '"');
        if (key == "parentfilenamehint" || (key == "parentcid" && value != "ffffffff"))
            return refuse("its VMDK has a parent file");
        if (key != "createtype")
            continue;
        if (!out.create_type.empty())
            return refuse("its VMDK descriptor gives its type twice");
        out.create_type = value;
    }
    return out;
}

/// A footer takes the place of the header: it may differ in where the directory is, in nothing
/// else.
Result<void> check_vmdk_footer(const ImageSample& image) {
    if (image.size() < 4 * sector)
        return refuse("its VMDK footer is cut off");
    NOVALET_ASSIGN(const auto tail, image.part(image.size() - 3 * sector, 3 * sector));
    const std::string_view header = std::string_view(image.head()).substr(0, 80);
    const std::string_view footer = std::string_view(tail).substr(sector, 80);
    if (header.substr(0, 56) != footer.substr(0, 56) || header.substr(64) != footer.substr(64))
        return refuse("its VMDK footer contradicts its header");
    return {};
}

} // namespace

Result<std::uint64_t> read_vmdk(const ImageSample& image, const std::vector<std::string>& allowed) {
    if (!image.has(0, "KDMV"))
        return refuse("VMDK descriptor files refer to other files and are not allowed");
    if (image.size() < 2 * sector)
        return refuse("its VMDK header is cut off");
    const auto version = image.little(4, 4);
    if (version < 1 || version > 3)
        return refuse(cat("VMDK version ", version, " is not known"));
    const auto sectors = image.little(12, 8);
    // With a capacity of 0, QEMU takes the descriptor for one of a disk in several files.
    if (sectors == 0 || sectors > max_virtual_size / sector)
        return refuse(cat("its VMDK capacity of ", sectors, " sectors makes no sense"));
    const auto descriptor_sectors = image.little(36, 8);
    if (image.little(28, 8) != 1 || descriptor_sectors == 0 ||
        descriptor_sectors > max_descriptor_sectors ||
        !image.holds(sector, descriptor_sectors * sector))
        return refuse("its VMDK descriptor is not where it has to be");
    if (image.little(56, 8) == vmdk_at_end)
        NOVALET_TRY(check_vmdk_footer(image));
    NOVALET_ASSIGN(const auto descriptor,
                   read_descriptor(
                       std::string_view(image.head()).substr(sector, descriptor_sectors * sector)));
    if (std::none_of(allowed.begin(), allowed.end(), [&](const std::string& type) {
            return lower(type) == descriptor.create_type;
        }))
        return refuse(cat("VMDK type '",
                          cut_utf8(descriptor.create_type, 64),
                          "' is not allowed (allowed are: ",
                          join(allowed, ", "),
                          ")"));
    if (descriptor.extents != 1)
        return refuse(cat("its VMDK descriptor names ", descriptor.extents, " extents, not one"));
    return sectors * sector;
}

// VHD, VHDX, VDI ---------------------------------------------------------------------------------

Result<std::uint64_t> read_vhd(const ImageSample& image) {
    if (image.size() < sector)
        return refuse("its VHD footer is cut off");
    NOVALET_ASSIGN(const auto footer,
                   image.part(image.has(0, "conectix") ? 0 : image.size() - sector, sector));
    const auto type = big_endian(std::string_view(footer).substr(60, 4));
    if (type == 4)
        return refuse("it is a differencing VHD, whose parent could be any file of the host");
    if (type != 2 && type != 3)
        return refuse(cat("VHD type ", type, " is not known"));
    return sane(big_endian(std::string_view(footer).substr(48, 8)), "VHD");
}

namespace {

constexpr std::uint64_t vhdx_region_table = 192 * 1024;
constexpr std::uint64_t vhdx_max_entries = 2047;
// GUIDs in the byte order of the file.
constexpr std::string_view metadata_region("\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05"
                                           "\x0f\x88\x6e",
                                           16);
constexpr std::string_view virtual_disk_size("\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe"
                                             "\xd8\x3b\xf4\xb8",
                                             16);
constexpr std::string_view file_parameters("\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa"
                                           "\x44\xe7\x6b",
                                           16);
constexpr std::string_view parent_locator("\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48"
                                          "\x34\xab\x0c",
                                          16);
constexpr std::uint64_t vhdx_has_parent = 2;

/// Where the metadata is, by the region table.
Result<std::uint64_t> find_vhdx_metadata(const ImageSample& image) {
    const auto table = image.part(vhdx_region_table, ImageSample::head_bytes);
    if (!table)
        return refuse("its VHDX header is cut off");
    const std::string_view bytes(*table);
    const auto count = little_endian(bytes.substr(8, 4));
    if (!bytes.starts_with("regi") || count > vhdx_max_entries)
        return refuse("its VHDX region table is damaged");
    for (std::uint64_t i = 0; i < count && 16 + (i + 1) * 32 <= bytes.size(); ++i) {
        const auto entry = bytes.substr(16 + i * 32, 32);
        if (entry.starts_with(metadata_region))
            return little_endian(entry.substr(16, 8));
    }
    return refuse("its VHDX header names no metadata");
}

} // namespace

Result<std::uint64_t> read_vhdx(const ImageSample& image) {
    NOVALET_ASSIGN(const auto at, find_vhdx_metadata(image));
    const auto table = image.part(at, ImageSample::head_bytes);
    if (!table)
        return refuse("its VHDX metadata lies outside of the file");
    const std::string_view bytes(*table);
    const auto count = little_endian(bytes.substr(10, 2));
    if (!bytes.starts_with("metadata") || count > vhdx_max_entries)
        return refuse("its VHDX metadata is damaged");
    std::uint64_t size = 0;
    for (std::uint64_t i = 0; i < count && 32 + (i + 1) * 32 <= bytes.size(); ++i) {
        const auto entry = bytes.substr(32 + i * 32, 32);
        const auto item_at = at + little_endian(entry.substr(16, 4));
        if (entry.starts_with(parent_locator))
            return refuse("it is a differencing VHDX, whose parent could be any file of the host");
        if (entry.starts_with(file_parameters)) {
            const auto item = image.part(item_at, 8);
            if (!item || (little_endian(std::string_view(*item).substr(4)) & vhdx_has_parent) != 0)
                return refuse("it is a differencing VHDX, or its parameters are damaged");
        }
        if (entry.starts_with(virtual_disk_size)) {
            const auto item = image.part(item_at, 8);
            if (!item)
                return refuse("its VHDX size lies outside of the file");
            size = little_endian(*item);
        }
    }
    if (size == 0)
        return refuse("its VHDX metadata gives no size");
    return sane(size, "VHDX");
}

Result<std::uint64_t> read_vdi(const ImageSample& image) {
    if (image.size() < sector)
        return refuse("its VDI header is cut off");
    const auto type = image.little(0x4c, 4);
    if (type != 1 && type != 2)
        return refuse(cat("VDI type ", type, " is not allowed; it has to be dynamic or static"));
    return sane(image.little(0x170, 8), "VDI");
}

} // namespace novalet::hypervisor::storage
