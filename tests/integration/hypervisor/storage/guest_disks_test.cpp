// The disks of a guest with the real qemu-img, mkfs and genisoimage.
#include "tests/support/instance_folder.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

namespace novalet::hypervisor::storage {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

constexpr std::uint64_t mib = std::uint64_t{1} << 20U;
const std::string base_name = "a2167934a6cfe3e7106837132dd1e4977684cd07"; // its sha1

class GuestDisks : public tests::InstanceFolderTest {
  protected:
    GuestDisks() : InstanceFolderTest(system_processes()) {}
    void SetUp() override {
        for (const char* program : {"qemu-img", "mkfs.vfat", "mkfs.ext4", "genisoimage"}) {
            ProcessRequest probe;
            probe.argv = {program, "--version"};
            if (const auto ran = system_processes().run(probe);
                !ran && ran.error().code == Code::NotFound)
                GTEST_SKIP() << program << " is not installed";
        }
        images_.content = std::string(2 * mib, 'i');
    }

    [[nodiscard]] static DiskInfo info(const fs::path& disk, const std::string& format) {
        const auto got = QemuImg(system_processes()).info(disk, format);
        EXPECT_TRUE(got) << got.error().text;
        return got.value_or(DiskInfo());
    }
    static std::string output_of(std::vector<std::string> argv) {
        ProcessRequest request;
        request.argv = std::move(argv);
        const auto done = system_processes().check(request);
        EXPECT_TRUE(done) << done.error().text;
        return done ? done->out : std::string();
    }
};

TEST_F(GuestDisks, OverlaysStandOnTheCache) {
    add(DiskSource::Image, "disk", 16 * mib);
    add(DiskSource::Blank, "disk.eph0", 1024 * mib);
    add(DiskSource::Swap, "disk.swap", 8 * mib);
    const auto made = create();
    ASSERT_TRUE(made) << made.error().text;
    const auto root = info(home() / "disk", "qcow2");
    EXPECT_EQ(root.virtual_size, 16 * mib);
    EXPECT_EQ(root.backing_file, (folder_ / "_base" / base_name).string());
    EXPECT_EQ(info(home() / "disk.eph0", "qcow2").backing_file,
              (folder_ / "_base/ephemeral_1_0706d66").string());
    EXPECT_EQ(info(home() / "disk.swap", "qcow2").backing_file,
              (folder_ / "_base/swap_8").string());
    EXPECT_EQ(disk_info(),
              Json(Json::Object{{(home() / "disk").string(), "qcow2"},
                                {(home() / "disk.eph0").string(), "qcow2"},
                                {(home() / "disk.swap").string(), "qcow2"}}));
    EXPECT_TRUE(fs::exists(home() / "console.log"));
    EXPECT_THAT(output_of({"blkid", "-p", (folder_ / "_base/ephemeral_1_0706d66").string()}),
                testing::AllOf(HasSubstr("TYPE=\"vfat\""), HasSubstr("ephemeral0")));
    EXPECT_THAT(output_of({"blkid", "-p", (folder_ / "_base/swap_8").string()}),
                HasSubstr("TYPE=\"swap\""));
}

TEST_F(GuestDisks, ASecondCallChangesNothing) {
    add(DiskSource::Image, "disk", 16 * mib);
    ASSERT_TRUE(create());
    const auto before = fs::last_write_time(home() / "disk");
    ASSERT_TRUE(create());
    EXPECT_EQ(fs::last_write_time(home() / "disk"), before);
    EXPECT_EQ(images_.fetches, 1U);
}

TEST_F(GuestDisks, ALostBaseIsFetchedAnew) {
    add(DiskSource::Image, "disk", 16 * mib);
    ASSERT_TRUE(create());
    fs::remove(folder_ / "_base" / base_name);
    ASSERT_TRUE(create());
    EXPECT_TRUE(fs::exists(folder_ / "_base" / base_name));
}

TEST_F(GuestDisks, RawDisksAreGrownCopies) {
    options_.copy_on_write = false;
    add(DiskSource::Image, "disk", 16 * mib);
    const auto made = create();
    ASSERT_TRUE(made) << made.error().text;
    const auto root = info(home() / "disk", "raw");
    EXPECT_EQ(root.virtual_size, 16 * mib);
    EXPECT_EQ(read_file(home() / "disk").value_or("").substr(0, 2 * mib), images_.content);
    EXPECT_EQ(disk_info()[(home() / "disk").string()].as_string(), "raw");
}

TEST_F(GuestDisks, AQcow2ImageBecomesRawInTheCache) {
    const auto source = folder_ / "source.qcow2";
    ASSERT_TRUE(QemuImg(system_processes()).create(source, "qcow2", 4 * mib));
    images_.content = read_file(source).value_or("");
    images_.format = "qcow2";
    add(DiskSource::Image, "disk", 0);
    const auto made = create();
    ASSERT_TRUE(made) << made.error().text;
    EXPECT_EQ(info(folder_ / "_base" / base_name, "raw").virtual_size, 4 * mib);
    EXPECT_EQ(info(home() / "disk", "qcow2").virtual_size, 4 * mib);
}

TEST_F(GuestDisks, AnUnconvertedQcow2ImageIsABaseAsItIs) {
    cache_options_.force_raw_images = false;
    const auto source = folder_ / "source.qcow2";
    ASSERT_TRUE(QemuImg(system_processes()).create(source, "qcow2", 4 * mib));
    images_.content = read_file(source).value_or("");
    images_.format = "qcow2";
    add(DiskSource::Image, "disk", 8 * mib);
    const auto made = create();
    ASSERT_TRUE(made) << made.error().text;
    EXPECT_EQ(read_file(folder_ / "_base" / base_name), images_.content);
    EXPECT_EQ(info(home() / "disk", "qcow2").virtual_size, 8 * mib);
}

TEST_F(GuestDisks, PreallocationTakesTheRoom) {
    options_.preallocate = true;
    add(DiskSource::Image, "disk", 16 * mib);
    ASSERT_TRUE(create());
    struct stat about {};
    ASSERT_EQ(stat((home() / "disk").c_str(), &about), 0);
    EXPECT_GE(static_cast<std::uint64_t>(about.st_blocks) * 512, 16 * mib);
    EXPECT_EQ(info(home() / "disk", "qcow2").virtual_size, 16 * mib);
    EXPECT_EQ(files().growth(uuid), 0U);
}

TEST_F(GuestDisks, AnIsoConfigDriveHoldsItsFiles) {
    guest_.config_drive.emplace();
    guest_.config_drive->files = {{"openstack/latest/meta_data.json", "{\"admin_pass\": \"x\"}"},
                                  {"openstack/content/0000", "hello"},
                                  {"ec2/2009-04-04/meta-data.json", "{}"}};
    ASSERT_TRUE(fs::create_directories(home()));
    const auto made = files().create_config_drive(guest_);
    ASSERT_TRUE(made) << made.error().text;
    const auto drive = (home() / "disk.config").string();
    EXPECT_EQ(mode(drive), 0600U);
    EXPECT_THAT(output_of({"blkid", "-p", drive}),
                testing::AllOf(HasSubstr("LABEL=\"config-2\""), HasSubstr("TYPE=\"iso9660\"")));
    EXPECT_EQ(output_of({"isoinfo", "-R", "-i", drive, "-x", "/openstack/latest/meta_data.json"}),
              "{\"admin_pass\": \"x\"}");
    EXPECT_EQ(output_of({"isoinfo", "-J", "-i", drive, "-x", "/openstack/content/0000"}), "hello");
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(home()))
        names.push_back(entry.path().filename().string());
    EXPECT_THAT(names, UnorderedElementsAre("disk.config", "disk.info"));
    EXPECT_EQ(disk_info()[drive].as_string(), "raw");
}

TEST_F(GuestDisks, AVfatConfigDriveHoldsItsFiles) {
    guest_.config_drive.emplace();
    guest_.config_drive->vfat = true;
    guest_.config_drive->files = {{"openstack/latest/meta_data.json", "{}"},
                                  {"ec2/latest/user-data", "#!/bin/sh\n"}};
    ASSERT_TRUE(fs::create_directories(home()));
    const auto made = files().create_config_drive(guest_);
    ASSERT_TRUE(made) << made.error().text;
    const auto drive = (home() / "disk.config").string();
    EXPECT_EQ(mode(drive), 0600U);
    EXPECT_EQ(fs::file_size(drive), 64 * mib);
    EXPECT_THAT(output_of({"blkid", "-p", drive}), HasSubstr("LABEL=\"config-2\""));
    EXPECT_EQ(output_of({"mcopy", "-i", drive, "::openstack/latest/meta_data.json", "-"}), "{}");
    EXPECT_EQ(output_of({"mcopy", "-i", drive, "::ec2/latest/user-data", "-"}), "#!/bin/sh\n");
}

TEST_F(GuestDisks, TheRawDiskOfAGuestIsNeverTakenForQcow2) {
    options_.copy_on_write = false;
    add(DiskSource::Image, "disk", 16 * mib);
    ASSERT_TRUE(create());
    // The guest writes a header that claims a TiB.
    const auto claim = folder_ / "claim.qcow2";
    ASSERT_TRUE(QemuImg(system_processes()).create(claim, "qcow2", std::uint64_t{1} << 40U));
    const auto header = read_file(claim).value_or("").substr(0, 512);
    const Fd disk(open((home() / "disk").c_str(), O_WRONLY));
    ASSERT_EQ(pwrite(disk.get(), header.data(), header.size(), 0), 512);
    EXPECT_LE(files().growth(uuid), 16 * mib);
    EXPECT_EQ(info(home() / "disk", "raw").virtual_size, 16 * mib);
}

TEST(QemuImgReal, AnExternalDataFileIsSeenInInfo) {
    const tests::TemporaryFolder folder;
    QemuImg tool(system_processes());
    ASSERT_TRUE(tool.create(folder / "base", "raw", mib));
    ASSERT_TRUE(tool.create_overlay(folder / "disk", folder / "base", "raw", 0));
    const auto got = tool.info(folder / "disk", "qcow2");
    ASSERT_TRUE(got) << got.error().text;
    EXPECT_EQ(got->virtual_size, mib);
    EXPECT_EQ(got->backing_file, (folder / "base").string());
    const auto missing = tool.info(folder / "nothing", "raw");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().exception, "InvalidDiskInfo");
    EXPECT_FALSE(tool.resize(folder / "disk", "qcow2", mib / 2)); // it never shrinks
}

} // namespace
} // namespace novalet::hypervisor::storage
