#include "hypervisor/storage/image_inspector.hpp"

#include "agent/core/file.hpp"
#include "agent/core/text.hpp"

#include <gmock/gmock.h>
#include <random>
#include <sys/mman.h>
#include <unistd.h>

namespace novalet::hypervisor::storage {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t gib = std::uint64_t{1} << 30U;

/// An image file in memory, written piece by piece.
class Crafted {
  public:
    explicit Crafted(std::size_t size) : bytes_(size, '\0') {}
    Crafted& put(std::size_t at, std::string_view text) {
        if (bytes_.size() < at + text.size())
            bytes_.resize(at + text.size());
        bytes_.replace(at, text.size(), text);
        return *this;
    }
    Crafted& big(std::size_t at, std::size_t width, std::uint64_t value) {
        for (std::size_t i = 0; i < width; ++i)
            bytes_[at + width - 1 - i] = static_cast<char>(value >> (8 * i));
        return *this;
    }
    Crafted& little(std::size_t at, std::size_t width, std::uint64_t value) {
        for (std::size_t i = 0; i < width; ++i)
            bytes_[at + i] = static_cast<char>(value >> (8 * i));
        return *this;
    }
    Crafted& cut(std::size_t size) {
        bytes_.resize(size);
        return *this;
    }
    std::string& bytes() { return bytes_; }
    [[nodiscard]] Result<InspectedImage> as(const std::string& claimed,
                                            const InspectionRules& rules = {}) const {
        const Fd file(memfd_create("image", MFD_CLOEXEC));
        EXPECT_EQ(write(file.get(), bytes_.data(), bytes_.size()),
                  static_cast<ssize_t>(bytes_.size()));
        return inspect_image(file.get(), claimed, "img-1", rules);
    }

  private:
    std::string bytes_;
};

/// What `qemu-img create -f qcow2 x 1G` writes, without the tables' content.
Crafted qcow2(unsigned version = 3) {
    Crafted image(4 * 65536);
    image.put(0, "QFI\xfb").big(4, 4, version).big(20, 4, 16).big(24, 8, gib);
    image.big(36, 4, 2).big(40, 8, 3 * 65536).big(48, 8, 65536).big(56, 4, 1);
    if (version == 3)
        image.big(96, 4, 4).big(100, 4, 112);
    return image;
}

const char* const sparse_descriptor = "# Disk DescriptorFile\n"
                                      "version=1\n"
                                      "CID=12345678\n"
                                      "parentCID=ffffffff\n"
                                      "createType=\"monolithicSparse\"\n"
                                      "\n"
                                      "# Extent description\n"
                                      "RW 2097152 SPARSE \"disk.vmdk\"\n"
                                      "\n"
                                      "# The Disk Data Base\n"
                                      "ddb.virtualHWVersion = \"4\"\n";

Crafted vmdk(const std::string& descriptor = sparse_descriptor) {
    Crafted image(65536);
    image.put(0, "KDMV").little(4, 4, 1).little(12, 8, gib / 512).little(20, 8, 128);
    image.little(28, 8, 1).little(36, 8, 20).little(56, 8, 26).put(512, descriptor);
    return image;
}

std::string edited(std::string text, const std::string& from, const std::string& to) {
    const auto at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
}

Crafted vhd(unsigned type) {
    Crafted image(4096);
    image.put(0, "conectix").big(40, 8, gib).big(48, 8, gib).big(60, 4, type);
    return image;
}

constexpr std::size_t vhdx_meta = 0x200000;
Crafted vhdx() {
    Crafted image(vhdx_meta + 0x20000);
    image.put(0, "vhdxfile").put(192 * 1024, "regi").little(192 * 1024 + 8, 4, 1);
    image.put(
        192 * 1024 + 16,
        std::string_view("\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e", 16));
    image.little(192 * 1024 + 32, 8, vhdx_meta);
    image.put(vhdx_meta, "metadata").little(vhdx_meta + 10, 2, 2);
    image.put(
        vhdx_meta + 32,
        std::string_view("\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b", 16));
    image.little(vhdx_meta + 48, 4, 65536);
    image.put(
        vhdx_meta + 64,
        std::string_view("\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8", 16));
    image.little(vhdx_meta + 80, 4, 65544);
    image.little(vhdx_meta + 65544, 8, gib);
    return image;
}

void expect_refused(const Result<InspectedImage>& answer, const std::string& why) {
    ASSERT_FALSE(answer) << "accepted as " << answer->format << " instead of refused: " << why;
    EXPECT_EQ(answer.error().exception, "ImageUnacceptable");
    EXPECT_EQ(answer.error().module, "nova.exception");
    EXPECT_THAT(answer.error().text, HasSubstr("Image img-1 is unacceptable: "));
    EXPECT_THAT(answer.error().text, HasSubstr(why));
}

TEST(Inspect_Raw, IsWhatHasNoSignature) {
    Crafted disk(1 << 20);
    disk.put(510, "\x55\xaa").put(512, "EFI PART"); // partition tables do not change that
    const auto image = disk.as("raw");
    ASSERT_TRUE(image);
    EXPECT_EQ(image->format, "raw");
    EXPECT_EQ(image->qemu_format, "raw");
    EXPECT_EQ(image->virtual_size, 1U << 20U);
    EXPECT_TRUE(disk.as("ami"));
    EXPECT_TRUE(disk.as("")) << "files of this host carry no claim";
}

TEST(Inspect_Raw, SmallFilesAreNotReadPastTheirEnd) {
    for (const std::size_t size : {1U, 3U, 7U, 64U, 67U, 511U, 513U}) {
        const auto image = Crafted(size).as("raw");
        ASSERT_TRUE(image) << size;
        EXPECT_EQ(image->virtual_size, size);
    }
    expect_refused(Crafted(0).as("raw"), "it is empty");
}

TEST(Inspect_Claim, MustBeTheContent) {
    expect_refused(qcow2().as("raw"), "Glance says 'raw', the content is 'qcow2'");
    expect_refused(Crafted(4096).as("qcow2"), "Glance says 'qcow2', the content is 'raw'");
    expect_refused(Crafted(4096).as("ploop"), "Image content does not match disk_format");
    expect_refused(vmdk().as("qcow2"), "the content is 'vmdk'");
    EXPECT_TRUE(qcow2().as("ami")) << "Amazon's names do not name a format";
}

TEST(Inspect_Polyglot, IsRefused) {
    expect_refused(qcow2().put(0x8001, "CD001").as("qcow2"), "several formats at once");
    expect_refused(vmdk().put(0x8001, "CD001").as("iso"), "several formats at once");
    expect_refused(qcow2().put(0x40, "\x7f\x10\xda\xbe").as("qcow2"), "(qcow2, vdi)");
}

TEST(Inspect_Iso, IsReadAsRaw) {
    for (const char* mark : {"CD001", "BEA01"}) {
        const auto image = Crafted(1 << 20).put(0x8001, mark).as("iso");
        ASSERT_TRUE(image);
        EXPECT_EQ(image->format, "iso");
        EXPECT_EQ(image->qemu_format, "raw");
        EXPECT_EQ(image->virtual_size, 1U << 20U);
    }
    EXPECT_TRUE(Crafted(1 << 20).put(510, "\x55\xaa").put(0x8001, "CD001").as("iso"))
        << "hybrid images for USB sticks carry a partition table";
}

TEST(Inspect_Formats, ThatNobodyNeedsAreRefusedWithAHint) {
    const std::vector<std::pair<const char*, std::string>> magics{
        {"qed", std::string("QED\0", 4)},
        {"luks", "LUKS\xba\xbe"},
        {"parallels", "WithoutFreeSpace"},
        {"bochs", "Bochs Virtual HD Image"},
        {"cloop", "#!/bin/sh\n#V2.0 Format\n"}};
    for (const auto& [format, magic] : magics) {
        expect_refused(Crafted(65536).put(0, magic).as(format), "convert it to qcow2 or raw");
        expect_refused(Crafted(65536).put(0, magic).as("raw"), "does not match disk_format");
    }
}

TEST(Inspect_Qcow2, GivesTheVirtualSize) {
    for (const unsigned version : {2U, 3U}) {
        const auto image = qcow2(version).as("qcow2");
        ASSERT_TRUE(image) << image.error().text;
        EXPECT_EQ(image->format, "qcow2");
        EXPECT_EQ(image->virtual_size, gib);
    }
}

TEST(Inspect_Qcow2, RefusesOtherFilesOfTheHost) {
    expect_refused(qcow2().big(8, 8, 0x200).big(16, 4, 11).as("qcow2"), "backing file");
    expect_refused(qcow2(2).big(8, 8, 0x200).as("qcow2"), "backing file");
    expect_refused(qcow2().big(16, 4, 1).as("qcow2"), "backing file");
    expect_refused(qcow2().big(72, 8, 4).as("qcow2"), "external file");
    expect_refused(
        qcow2().big(112, 4, 0x44415441).big(116, 4, 11).put(120, "/etc/passwd").as("qcow2"),
        "external data file");
    expect_refused(
        qcow2().big(112, 4, 0x6803f857).big(116, 4, 48).big(168, 4, 0x44415441).as("qcow2"),
        "external data file");
}

TEST(Inspect_Qcow2, KnowsTheFeaturesOfTheFormat) {
    for (const std::uint64_t known : {1U, 8U, 9U, 16U})
        EXPECT_TRUE(qcow2().big(36, 4, 4).big(72, 8, known).as("qcow2")) << known;
    expect_refused(qcow2().big(72, 8, 2).as("qcow2"), "corrupt");
    for (unsigned bit = 5; bit < 64; ++bit)
        expect_refused(qcow2().big(72, 8, std::uint64_t{1} << bit).as("qcow2"), "not known");
}

TEST(Inspect_Qcow2, RefusesHeadersThatMakeNoSense) {
    expect_refused(qcow2(1).as("qcow2"), "version 1 is not known");
    expect_refused(qcow2(4).as("qcow2"), "version 4 is not known");
    expect_refused(qcow2().cut(71).as("qcow2"), "cut off");
    expect_refused(qcow2().cut(103).as("qcow2"), "cut off");
    expect_refused(qcow2().cut(4).as("qcow2"), "cut off");
    expect_refused(qcow2().big(20, 4, 8).as("qcow2"), "cluster size of 2^8");
    expect_refused(qcow2().big(20, 4, 22).as("qcow2"), "cluster size of 2^22");
    expect_refused(qcow2().big(20, 4, 0xffffffff).as("qcow2"), "cluster size");
    for (const std::uint64_t method : {1U, 2U, 3U})
        expect_refused(qcow2().big(32, 4, method).as("qcow2"), "encrypted");
    expect_refused(qcow2().big(100, 4, 96).as("qcow2"), "header length of 96");
    expect_refused(qcow2().big(100, 4, 0x7fffffff).as("qcow2"), "header length");
    expect_refused(qcow2().big(116, 4, 0xffffffff).big(112, 4, 1).as("qcow2"),
                   "extension is larger");
    expect_refused(qcow2().big(24, 8, ~std::uint64_t{0}).as("qcow2"), "which no disk has");
    expect_refused(qcow2().big(24, 8, 0).as("qcow2"), "virtual size of 0");
}

TEST(Inspect_Qcow2, RefusesTablesOutsideOfTheFile) {
    expect_refused(qcow2().big(40, 8, 4 * 65536).as("qcow2"), "L1 table lies outside");
    expect_refused(qcow2().big(40, 8, ~std::uint64_t{7}).as("qcow2"), "L1 table lies outside");
    expect_refused(qcow2().big(36, 4, 0xffffffff).as("qcow2"), "L1 table lies outside");
    expect_refused(qcow2().big(36, 4, 1).as("qcow2"), "do not cover");
    expect_refused(qcow2().big(48, 8, 5 * 65536).as("qcow2"), "refcount table");
    expect_refused(qcow2().big(56, 4, 0xffffffff).as("qcow2"), "refcount table");
    expect_refused(qcow2().big(60, 4, 65537).as("qcow2"), "more qcow2 snapshots");
    expect_refused(qcow2().big(60, 4, 1).big(64, 8, gib).as("qcow2"), "snapshots lie outside");
}

TEST(Inspect_Vmdk, OfOneFileIsTaken) {
    const auto image = vmdk().as("vmdk");
    ASSERT_TRUE(image) << image.error().text;
    EXPECT_EQ(image->virtual_size, gib);
    EXPECT_TRUE(vmdk(edited(sparse_descriptor, "monolithicSparse", "streamOptimized")).as("vmdk"));
    EXPECT_TRUE(vmdk(edited(sparse_descriptor, "RW", "rdonly")).as("vmdk"));
}

TEST(Inspect_Vmdk, TypesAreThoseThatAreAllowed) {
    for (const char* type : {"monolithicFlat",
                             "twoGbMaxExtentFlat",
                             "twoGbMaxExtentSparse",
                             "vmfs",
                             "vmfsRDM",
                             "fullDevice",
                             "custom"})
        expect_refused(vmdk(edited(sparse_descriptor, "monolithicSparse", type)).as("vmdk"),
                       cat("VMDK type '", lower(type), "' is not allowed"));
    expect_refused(vmdk().as("vmdk", InspectionRules{{"streamOptimized"}}), "is not allowed");
    expect_refused(vmdk().as("vmdk", InspectionRules{{}}), "is not allowed");
    expect_refused(
        vmdk(edited(sparse_descriptor, "createType=\"monolithicSparse\"\n", "")).as("vmdk"),
        "VMDK type ''");
    expect_refused(vmdk(std::string(sparse_descriptor) + "createType=\"vmfs\"\n").as("vmdk"),
                   "its type twice");
}

TEST(Inspect_Vmdk, RefusesOtherFilesOfTheHost) {
    const std::string extent = "RW 2097152 SPARSE \"disk.vmdk\"";
    for (const char* foreign : {"RW 2097152 FLAT \"disk.vmdk\" 0",
                                "RW 2097152 SPARSE \"/etc/shadow\"",
                                "RW 2097152 SPARSE \"../x\"",
                                "RW 2097152 VMFSRDM \"x\"",
                                "RW 2097152 VMFS \"x\"",
                                "NOACCESS 1 ZERO"})
        expect_refused(vmdk(edited(sparse_descriptor, extent, foreign)).as("vmdk"),
                       "refer to other files");
    expect_refused(
        vmdk(edited(sparse_descriptor, extent, extent + "\nRW 5 SPARSE \"other.vmdk\"")).as("vmdk"),
        "2 extents");
    expect_refused(vmdk(edited(sparse_descriptor, extent, "")).as("vmdk"), "0 extents");
    expect_refused(vmdk(edited(sparse_descriptor, "ffffffff", "00000001")).as("vmdk"), "parent");
    expect_refused(vmdk(std::string(sparse_descriptor) + "parentFileNameHint=\"/x\"\n").as("vmdk"),
                   "parent");
}

TEST(Inspect_Vmdk, UnderstandsEachLineOrRefuses) {
    expect_refused(vmdk(std::string(sparse_descriptor) + "hello world\n").as("vmdk"),
                   "not understood");
    expect_refused(vmdk(std::string(sparse_descriptor) + "what ever=1\n").as("vmdk"),
                   "not understood");
    expect_refused(vmdk(std::string(sparse_descriptor) + "x=\xc3\xa9\n").as("vmdk"), "no ASCII");
}

TEST(Inspect_Vmdk, TextDescriptorsAreRefused) {
    expect_refused(Crafted(0).put(0, sparse_descriptor).as("vmdk"), "descriptor files");
    expect_refused(Crafted(0).put(0, "# any comment\n \nversion=1\n").as("vmdk"),
                   "descriptor files");
    expect_refused(Crafted(0).put(0, "# any comment\nversion=1\n").as("raw"),
                   "the content is 'vmdk'");
    expect_refused(Crafted(65536).put(0, "COWD").as("vmdk"), "not allowed");
    EXPECT_TRUE(Crafted(0).put(0, "# a shell script\necho 1\n").as("raw"));
}

TEST(Inspect_Vmdk, RefusesHeadersThatMakeNoSense) {
    expect_refused(vmdk().cut(600).as("vmdk"), "cut off");
    expect_refused(vmdk().cut(2048).as("vmdk"), "not where it has to be");
    expect_refused(vmdk().little(4, 4, 4).as("vmdk"), "version 4");
    expect_refused(vmdk().little(12, 8, 0).as("vmdk"), "capacity of 0");
    expect_refused(vmdk().little(12, 8, ~std::uint64_t{0}).as("vmdk"), "capacity");
    expect_refused(vmdk().little(28, 8, 0).as("vmdk"), "not where it has to be");
    expect_refused(vmdk().little(28, 8, 2).as("vmdk"), "not where it has to be");
    expect_refused(vmdk().little(36, 8, 0).as("vmdk"), "not where it has to be");
    expect_refused(vmdk().little(36, 8, ~std::uint64_t{0}).as("vmdk"), "not where it has to be");
}

TEST(Inspect_Vmdk, FooterMayOnlySayWhereTheDirectoryIs) {
    auto image = vmdk().little(56, 8, ~std::uint64_t{0});
    const auto at = image.bytes().size();
    image.put(at, std::string(3 * 512, '\0'));
    image.put(at + 512, image.bytes().substr(0, 512)).little(at + 512 + 56, 8, 99);
    EXPECT_TRUE(image.as("vmdk"));
    image.little(at + 512 + 12, 8, 0);
    expect_refused(image.as("vmdk"), "footer contradicts");
    expect_refused(vmdk().little(56, 8, ~std::uint64_t{0}).as("vmdk"), "footer contradicts");
}

TEST(Inspect_Vhd, DynamicAndFixedAreTaken) {
    const auto dynamic = vhd(3).as("vhd");
    ASSERT_TRUE(dynamic) << dynamic.error().text;
    EXPECT_EQ(dynamic->qemu_format, "vpc");
    EXPECT_EQ(dynamic->virtual_size, gib);
    Crafted fixed(1 << 20);
    fixed.put(1 << 20, vhd(2).bytes().substr(0, 512));
    EXPECT_EQ(fixed.as("vhd")->format, "vhd");
    EXPECT_EQ(fixed.as("raw")->format, "raw") << "its footer makes no difference to a raw disk";
    expect_refused(vhd(4).as("vhd"), "differencing");
    expect_refused(vhd(7).as("vhd"), "type 7");
    expect_refused(vhd(3).cut(100).as("vhd"), "cut off");
    expect_refused(vhd(3).big(48, 8, ~std::uint64_t{0}).as("vhd"), "no disk has");
}

TEST(Inspect_Vhdx, GivesTheSizeOfItsMetadata) {
    const auto image = vhdx().as("vhdx");
    ASSERT_TRUE(image) << image.error().text;
    EXPECT_EQ(image->virtual_size, gib);
}

TEST(Inspect_Vhdx, RefusesParentsAndBrokenTables) {
    expect_refused(vhdx().little(vhdx_meta + 65540, 4, 2).as("vhdx"), "differencing");
    expect_refused(
        vhdx()
            .put(vhdx_meta + 32,
                 std::string_view(
                     "\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c", 16))
            .as("vhdx"),
        "differencing");
    expect_refused(vhdx().cut(200 * 1024).as("vhdx"), "cut off");
    expect_refused(vhdx().cut(vhdx_meta + 100).as("vhdx"), "outside of the file");
    expect_refused(vhdx().put(192 * 1024, "none").as("vhdx"), "region table");
    expect_refused(vhdx().little(192 * 1024 + 8, 4, 2048).as("vhdx"), "region table");
    expect_refused(vhdx().little(192 * 1024 + 8, 4, 0).as("vhdx"), "no metadata");
    expect_refused(vhdx().little(192 * 1024 + 32, 8, ~std::uint64_t{0}).as("vhdx"),
                   "outside of the file");
    expect_refused(vhdx().little(vhdx_meta + 80, 4, 0xffffffff).as("vhdx"), "outside of the file");
    expect_refused(vhdx().little(vhdx_meta + 10, 2, 1).as("vhdx"), "no size");
}

TEST(Inspect_Vdi, DynamicAndStaticAreTaken) {
    Crafted image(4096);
    image.put(0x40, "\x7f\x10\xda\xbe").little(0x4c, 4, 1).little(0x170, 8, gib);
    EXPECT_EQ(image.as("vdi")->virtual_size, gib);
    expect_refused(Crafted(image).little(0x4c, 4, 4).as("vdi"), "VDI type 4");
    expect_refused(Crafted(image).little(0x170, 8, ~std::uint64_t{0}).as("vdi"), "no disk has");
    expect_refused(Crafted(image).cut(0x60).as("vdi"), "cut off");
}

TEST(Inspect_Files, ThatAreNoneAreAnErrorOfTheHost) {
    std::array<int, 2> ends{};
    ASSERT_EQ(pipe(ends.data()), 0);
    const Fd in(ends[0]);
    const Fd out(ends[1]);
    const auto answer = inspect_image(in.get(), "raw", "img-1");
    ASSERT_FALSE(answer);
    EXPECT_TRUE(answer.error().exception.empty());
}

// Whatever the bytes are, there is an answer, and what is accepted keeps the promises.
TEST(Inspect_Anything, EndsWithAnAnswer) {
    std::mt19937_64 random(20261121);
    const std::vector<Crafted> seeds{qcow2(2), qcow2(3), vmdk(), vhd(3), vhdx()};
    const std::vector<std::string> claims{"qcow2", "qcow2", "vmdk", "vhd", "vhdx"};
    int accepted = 0;
    for (int i = 0; i < 4000; ++i) {
        const auto which = random() % seeds.size();
        Crafted image = seeds[which];
        for (auto changes = random() % 4; changes > 0; --changes) {
            const bool meta = which == 4 && random() % 2 == 0;
            image.bytes()[(meta ? vhdx_meta : 0) + random() % 128] = static_cast<char>(random());
        }
        if (random() % 8 == 0)
            image.cut(random() % 70000);
        const auto answer = image.as(claims[which]);
        if (!answer)
            continue;
        ++accepted;
        EXPECT_EQ(answer->format, claims[which]);
        EXPECT_GT(answer->virtual_size, 0U);
        EXPECT_LE(answer->virtual_size, std::uint64_t{1} << 53U);
    }
    EXPECT_GT(accepted, 500) << "hardly anything passed: the changes are too wild to test anything";
}

} // namespace
} // namespace novalet::hypervisor::storage
