#include "hypervisor/storage/image_inspector.hpp"

#include "agent/core/file.hpp"
#include "agent/core/text.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace novalet::hypervisor::storage {
namespace {

constexpr std::size_t head_size = 64 * 1024; ///< beginning of the file that is looked at
constexpr std::uint64_t max_virtual_size = std::uint64_t{1} << 53U; ///< 8 PiB: more is no disk

/// The beginning of the file and its size.
struct Sample {
    std::string head;
    std::uint64_t size = 0;
    std::string tail; ///< last 512 bytes (VHD footer)

    [[nodiscard]] bool has(std::size_t at, std::string_view magic) const {
        return head.size() >= at + magic.size() && head.compare(at, magic.size(), magic) == 0;
    }
    [[nodiscard]] std::uint64_t big(std::size_t at, std::size_t bytes) const {
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < bytes && at + i < head.size(); ++i)
            value = (value << 8U) | static_cast<unsigned char>(head[at + i]);
        return value;
    }
    [[nodiscard]] std::uint64_t little(std::size_t at, std::size_t bytes) const {
        std::uint64_t value = 0;
        for (std::size_t i = bytes; i > 0; --i)
            if (at + i - 1 < head.size())
                value = (value << 8U) | static_cast<unsigned char>(head[at + i - 1]);
        return value;
    }
};

Failure refuse(const std::string& id, const std::string& why) {
    return fail_as(
        "ImageUnacceptable", Code::InvalidArgument, cat("Image ", id, " is unacceptable: ", why));
}

Result<std::string> read_at(int fd, std::uint64_t offset, std::size_t size) {
    std::string buffer(size, '\0');
    std::size_t done = 0;
    while (done < size) {
        const auto got =
            pread(fd, buffer.data() + done, size - done, static_cast<off_t>(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(Code::Unavailable, "read of the image: " + errno_text(errno));
        if (got == 0)
            break;
        done += static_cast<std::size_t>(got);
    }
    buffer.resize(done);
    return buffer;
}

Result<Sample> sample(int fd) {
    struct stat about {};
    if (fstat(fd, &about) != 0)
        return fail(Code::Unavailable, "stat of the image: " + errno_text(errno));
    Sample out;
    out.size = static_cast<std::uint64_t>(about.st_size);
    NOVALET_ASSIGN(out.head, read_at(fd, 0, head_size));
    if (out.size >= 512) {
        NOVALET_ASSIGN(out.tail, read_at(fd, out.size - 512, 512));
    }
    return out;
}

bool is_iso(const Sample& s) {
    return s.has(0x8001, "CD001") || s.has(0x8801, "CD001") || s.has(0x9001, "CD001");
}

/// Every format whose signature the file carries; raw is what is left.
std::vector<std::string> signatures(const Sample& s) {
    std::vector<std::string> found;
    const auto check = [&](const char* format, bool match) {
        if (match)
            found.emplace_back(format);
    };
    check("qcow2", s.has(0, "QFI\xfb"));
    check("qed", s.has(0, std::string_view("QED\0", 4)));
    check("vmdk", s.has(0, "KDMV") || s.has(0, "COWD") || s.has(0, "# Disk DescriptorFile"));
    check("vhdx", s.has(0, "vhdxfile"));
    check("vdi", s.has(0x40, "\x7f\x10\xda\xbe"));
    check("luks", s.has(0, "LUKS\xba\xbe"));
    check("vhd", s.has(0, "conectix") || s.tail.starts_with("conectix"));
    check("iso", is_iso(s));
    return found;
}

/// qcow2 header (QEMU docs/interop/qcow2.txt).
Result<std::uint64_t> inspect_qcow2(const Sample& s, const std::string& id) {
    if (s.size < 72)
        return refuse(id, "its qcow2 header is cut off");
    const auto version = s.big(4, 4);
    if (version != 2 && version != 3)
        return refuse(id, cat("qcow2 version ", version, " is not known"));
    if (s.big(8, 8) != 0 || s.big(16, 4) != 0)
        return refuse(id, "it has a backing file, which could be any file of the host");
    const auto cluster_bits = s.big(20, 4);
    if (cluster_bits < 9 || cluster_bits > 21)
        return refuse(id, cat("its qcow2 cluster size of 2^", cluster_bits, " is not allowed"));
    if (s.big(32, 4) > 1)
        return refuse(id, "it is encrypted by qcow2");
    if (version == 3) {
        if (s.size < 104)
            return refuse(id, "its qcow2 header is cut off");
        constexpr std::uint64_t dirty = 1, corrupt = 2, data_file = 4, compression = 8,
                                extended_l2 = 16;
        const auto features = s.big(72, 8);
        if ((features & data_file) != 0)
            return refuse(id,
                          "it keeps its data in an external file, which could be any file of "
                          "the host");
        if ((features & corrupt) != 0)
            return refuse(id, "its qcow2 header says that it is corrupt");
        if ((features & ~(dirty | compression | extended_l2)) != 0)
            return refuse(id, "it uses qcow2 features that are not known");
    }
    return s.big(24, 8);
}

Result<std::uint64_t> inspect_vmdk(const Sample& s, const std::string& id) {
    if (!s.has(0, "KDMV"))
        return refuse(id, "VMDK descriptor files refer to other files and are not allowed");
    const auto descriptor_at = s.little(28, 8);
    const auto descriptor_sectors = s.little(36, 8);
    if (descriptor_at == 0 || descriptor_at > 127 || descriptor_sectors == 0 ||
        descriptor_sectors > 127)
        return refuse(id, "its VMDK descriptor is not where it has to be");
    const std::string text = s.head.substr(descriptor_at * 512, descriptor_sectors * 512);
    std::string type;
    for (const auto& line : split(text, '\n')) {
        const auto clean = trim(line);
        if (clean.starts_with("createType=")) {
            type = std::string(clean.substr(11));
            std::erase(type, '"');
        }
        const bool extent = clean.starts_with("RW ") || clean.starts_with("RDONLY ") ||
                            clean.starts_with("NOACCESS ");
        if (extent && (clean.find('/') != std::string_view::npos ||
                       clean.find(" FLAT ") != std::string_view::npos ||
                       clean.find("VMFSRDM") != std::string_view::npos))
            return refuse(id, "its VMDK extents refer to other files of the host");
        if (clean.starts_with("parentFileNameHint"))
            return refuse(id, "its VMDK has a parent file");
    }
    if (type != "streamOptimized" && type != "monolithicSparse")
        return refuse(id, cat("VMDK type '", type, "' is not allowed"));
    const auto sectors = s.little(12, 8);
    if (sectors > max_virtual_size / 512)
        return refuse(id, "its VMDK capacity makes no sense");
    return sectors * 512;
}

Result<std::uint64_t>
virtual_size_of(const std::string& format, const Sample& s, const std::string& id) {
    if (format == "qcow2")
        return inspect_qcow2(s, id);
    if (format == "vmdk")
        return inspect_vmdk(s, id);
    if (format == "vdi")
        return s.little(0x170, 8);
    if (format == "raw" || format == "iso" || format == "luks")
        return s.size;
    return refuse(id,
                  cat("format ",
                      format,
                      " cannot be used by this host; convert it to qcow2 or "
                      "raw"));
}

/// Nova's names of formats whose bytes are those of another.
std::string content_name(const std::string& claimed) {
    if (claimed == "ami" || claimed == "aki" || claimed == "ari")
        return "raw";
    if (claimed == "vpc")
        return "vhd";
    return claimed;
}

} // namespace

Result<InspectedImage>
inspect_image(int fd, const std::string& claimed_format, const std::string& image_id) {
    NOVALET_ASSIGN(const auto s, sample(fd));
    if (s.size == 0)
        return refuse(image_id, "it is empty");
    const auto found = signatures(s);
    if (found.size() > 1)
        return refuse(image_id,
                      cat("its content is several formats at once (", join(found, ", "), ")"));
    InspectedImage image;
    image.format = found.empty() ? "raw" : found.front();
    const std::string claimed = content_name(claimed_format);
    if (!claimed.empty() && claimed != image.format)
        return refuse(image_id,
                      cat("Image content does not match disk_format: Glance says '",
                          claimed_format,
                          "', the content is '",
                          image.format,
                          "'"));
    NOVALET_ASSIGN(image.virtual_size, virtual_size_of(image.format, s, image_id));
    if (image.virtual_size > max_virtual_size)
        return refuse(image_id,
                      cat("its virtual size of ", image.virtual_size, " bytes makes no sense"));
    return image;
}

} // namespace novalet::hypervisor::storage
