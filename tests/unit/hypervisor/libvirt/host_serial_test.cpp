#include "hypervisor/libvirt/host_serial.hpp"

#include "tests/support/temporary_folder.hpp"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace novalet::hypervisor::libvirt {
namespace {

using ::testing::HasSubstr;

constexpr const char* hardware = "4c4c4544-0042-3510-8053-b6c04f4d3732";
constexpr const char* of_system = "0123abcd-4567-89ef-0123-456789abcdef";

class HostSerialTest : public ::testing::Test {
  protected:
    void write(const std::string& text) const { std::ofstream(file()) << text; }
    [[nodiscard]] std::filesystem::path file() const { return folder_ / "machine-id"; }
    [[nodiscard]] std::string serial(const std::string& source,
                                     const std::string& uuid = hardware) const {
        const auto got = host_serial(source, uuid, file());
        return got ? *got : got.error().exception + ": " + got.error().text;
    }
    tests::TemporaryFolder folder_;
};

TEST_F(HostSerialTest, OfTheSystem_IsTheMachineIdWithDashes) {
    write("0123ABCD456789ef0123456789abcdef\n");
    EXPECT_EQ(serial("os"), of_system);
    EXPECT_EQ(serial("auto"), of_system);
    EXPECT_EQ(serial("hardware"), hardware);
    write(std::string(of_system) + "\n");
    EXPECT_EQ(serial("os"), of_system);
}

TEST_F(HostSerialTest, WithoutAMachineId_AutoTakesTheHardwares) {
    EXPECT_EQ(serial("auto"), hardware);
    EXPECT_THAT(serial("os"), HasSubstr("InternalError: Unable to get host UUID"));
    EXPECT_THAT(serial("os"), HasSubstr("does not exist"));
    EXPECT_THAT(serial("hardware", ""), HasSubstr("capabilities name none"));
}

TEST_F(HostSerialTest, ADamagedMachineId_IsNoSerial) {
    write("");
    EXPECT_THAT(serial("os"), HasSubstr("is empty"));
    for (const char* text : {"uninitialized\n", "0123\n", "0123abcd456789ef0123456789abcdeg\n"}) {
        write(text);
        EXPECT_THAT(serial("auto"), HasSubstr("holds no uuid")) << text;
    }
}

TEST_F(HostSerialTest, OtherChoicesNeedNoHost) {
    EXPECT_EQ(serial("unique"), "");
    EXPECT_EQ(serial("none"), "");
}

} // namespace
} // namespace novalet::hypervisor::libvirt
