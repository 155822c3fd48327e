#include "hypervisor/domain/firmware.hpp"

#include "agent/core/file.hpp"
#include "tests/support/temporary_folder.hpp"

#include <gtest/gtest.h>

namespace novalet::hypervisor::domain {
namespace {

namespace fs = std::filesystem;

std::string descriptor(const std::string& loader, const std::string& features) {
    return R"({"interface-types": ["uefi"], "mapping": {"device": "flash",
      "executable": {"filename": ")" +
           loader + R"("}, "nvram-template": {"filename": "vars"}},
      "targets": [{"architecture": "x86_64", "machines": ["pc-i440fx-*", "pc-q35-*"]}],
      "features": [)" +
           features + "]}";
}

TEST(Firmware, EarlierFolderHidesLaterOne_AndBrokenFilesAreLeftOut) {
    const tests::TemporaryFolder folder;
    const auto etc = folder / "etc";
    const auto usr = folder / "usr";
    fs::create_directories(etc);
    fs::create_directories(usr);
    ASSERT_TRUE(write_file_atomically(etc / "50-a.json", ""));
    ASSERT_TRUE(write_file_atomically(usr / "50-a.json", descriptor("hidden", "")));
    ASSERT_TRUE(write_file_atomically(usr / "40-b.json", descriptor("signed", R"("secure-boot")")));
    ASSERT_TRUE(write_file_atomically(usr / "60-c.json", descriptor("plain", "")));
    ASSERT_TRUE(write_file_atomically(usr / "70-d.json", "{broken"));
    ASSERT_TRUE(write_file_atomically(usr / "80-e.json", R"({"interface-types": ["bios"]})"));
    const auto known = read_firmware({etc, usr});
    ASSERT_EQ(known.size(), 2U);
    EXPECT_EQ(known[0].loader, "signed");
    EXPECT_EQ(known[1].loader, "plain");
    ASSERT_NE(choose_firmware(known, "x86_64", "pc-q35-7.2", false), nullptr);
    EXPECT_EQ(choose_firmware(known, "x86_64", "pc-q35-7.2", false)->loader, "plain");
    EXPECT_EQ(choose_firmware(known, "x86_64", "pc-q35-7.2", true)->loader, "signed");
    EXPECT_EQ(choose_firmware(known, "x86_64", "microvm", false), nullptr);
    EXPECT_EQ(choose_firmware(known, "aarch64", "pc-q35-7.2", false), nullptr);
}

TEST(Firmware, NoFolders_MeanNoFirmware) {
    EXPECT_TRUE(read_firmware({"/nonexistent/novalet"}).empty());
}

} // namespace
} // namespace novalet::hypervisor::domain
