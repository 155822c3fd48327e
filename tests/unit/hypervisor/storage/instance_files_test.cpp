#include "hypervisor/storage/instance_files.hpp"

#include "tests/support/fake_processes.hpp"
#include "tests/support/instance_folder.hpp"

#include <algorithm>
#include <fcntl.h>
#include <fstream>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

namespace novalet::hypervisor::storage {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr std::uint64_t gib = std::uint64_t{1} << 30U;

/// Stands in for qemu-img, mkfs and genisoimage: the file that they would make is there.
Result<ProcessOutcome> make_output(const ProcessRequest& request) {
    const auto& argv = request.argv;
    const auto size = to_number<std::uint64_t>(argv.back());
    if (argv[0] == "qemu-img" && argv[1] == "create")
        std::ofstream(argv[argv.size() - (size ? 2 : 1)], std::ios::app) << argv[1];
    else if (argv[0] == "qemu-img" && argv[1] == "convert")
        std::ofstream(argv.back(), std::ios::app) << argv[1];
    return ProcessOutcome();
}

/// The member of a base, so that it lives before the folder that uses it.
struct Programs {
    tests::FakeProcesses processes_;
};

class InstanceFilesTest : protected Programs, public tests::InstanceFolderTest {
  protected:
    InstanceFilesTest() : InstanceFolderTest(processes_) { processes_.answer = make_output; }
    [[nodiscard]] std::vector<std::string> names() const {
        std::vector<std::string> out;
        std::error_code error;
        for (const auto& entry : fs::directory_iterator(home(), error))
            out.push_back(entry.path().filename().string());
        return out;
    }
    [[nodiscard]] std::string path(const std::string& name) const { return home() / name; }
    void write(const std::string& name, const std::string& content) const {
        fs::create_directories(home());
        std::ofstream(home() / name, std::ios::binary) << content;
    }
    void sparse(const std::string& name, std::uint64_t size) const {
        fs::create_directories(home());
        const Fd file(open(path(name).c_str(), O_WRONLY | O_CREAT, 0644));
        ASSERT_EQ(ftruncate(file.get(), static_cast<off_t>(size)), 0);
    }
};

TEST_F(InstanceFilesTest, TheLayoutIsNovas) {
    guest_.kernel_id = "k";
    guest_.ramdisk_id = "r";
    add(DiskSource::Image, "disk", gib);
    add(DiskSource::Blank, "disk.eph0", gib);
    add(DiskSource::Swap, "disk.swap", gib);
    const auto made = create();
    ASSERT_TRUE(made) << made.error().text;
    EXPECT_THAT(
        names(),
        UnorderedElementsAre(
            "disk", "disk.eph0", "disk.swap", "disk.info", "console.log", "kernel", "ramdisk"));
    EXPECT_EQ(read_file(home() / "console.log"), "");
    EXPECT_EQ(disk_info(),
              Json(Json::Object{{path("disk"), "qcow2"},
                                {path("disk.eph0"), "qcow2"},
                                {path("disk.swap"), "qcow2"}}));
}

TEST_F(InstanceFilesTest, OverlaysNameTheFormatOfTheirBase) {
    add(DiskSource::Image, "disk", 3 * gib);
    ASSERT_TRUE(create());
    EXPECT_THAT(processes_.commands(),
                ElementsAre(ElementsAre(
                    "qemu-img",
                    "create",
                    "-q",
                    "-f",
                    "qcow2",
                    "-F",
                    "raw",
                    "-b",
                    (folder_ / "_base/a2167934a6cfe3e7106837132dd1e4977684cd07").string(),
                    "--",
                    path("disk") + ".new",
                    "3221225472")));
}

TEST_F(InstanceFilesTest, ADiskOfSizeZeroIsAsLargeAsTheImage) {
    add(DiskSource::Image, "disk", 0);
    ASSERT_TRUE(create());
    EXPECT_EQ(processes_.commands().at(0).back(), path("disk") + ".new");
}

TEST_F(InstanceFilesTest, AnImageThatIsLargerThanTheDiskIsRefusedByNovasName) {
    images_.content = std::string(8192, 'x');
    add(DiskSource::Image, "disk", 4096);
    const auto refused = create();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().exception, "FlavorDiskSmallerThanImage");
    EXPECT_THAT(
        refused.error().text,
        testing::AllOf(HasSubstr("Flavor disk is 4096 bytes"), HasSubstr("image is 8192 bytes")));
}

TEST_F(InstanceFilesTest, RawDisksAreCopiedAndGrown) {
    options_.copy_on_write = false;
    add(DiskSource::Image, "disk", gib);
    ASSERT_TRUE(create());
    const auto commands = processes_.commands();
    ASSERT_EQ(commands.size(), 2U);
    EXPECT_EQ(commands[0].at(1), "convert");
    EXPECT_THAT(
        commands[1],
        ElementsAre(
            "qemu-img", "resize", "-q", "-f", "raw", "--", path("disk") + ".new", "1073741824"));
    EXPECT_EQ(disk_info()[path("disk")].as_string(), "raw");
}

TEST_F(InstanceFilesTest, AFailureLeavesNoDiskUnderItsName) {
    add(DiskSource::Image, "disk", gib);
    processes_.answer = [](const ProcessRequest& request) -> Result<ProcessOutcome> {
        NOVALET_TRY(make_output(request));
        ProcessOutcome outcome;
        outcome.exit_status = 1;
        return outcome;
    };
    EXPECT_FALSE(create());
    EXPECT_FALSE(fs::exists(home() / "disk"));
    processes_.answer = make_output; // and the next attempt is not disturbed by the rest
    EXPECT_TRUE(create());
    EXPECT_EQ(read_file(home() / "disk"), "create");
}

TEST_F(InstanceFilesTest, WhatIsThereIsKeptAlsoWhenTheHostMakesOthersNow) {
    write("disk", "raw content");
    write("disk.info", "{\"" + path("disk") + "\": \"raw\"}\n");
    add(DiskSource::Image, "disk", gib);
    ASSERT_TRUE(create());
    EXPECT_EQ(read_file(home() / "disk"), "raw content");
    EXPECT_EQ(files().format_of(uuid, "disk"), "raw");
    EXPECT_EQ(images_.fetches, 0U);
}

TEST_F(InstanceFilesTest, ADamagedDiskInfoIsNotForgotten) {
    for (const char* text : {"{", "[]", R"({"/d": "vmdk"})", R"({"/d": 7})"}) {
        write("disk.info", text);
        guest_.disks.clear();
        add(DiskSource::Image, "disk", gib);
        const auto refused = create();
        ASSERT_FALSE(refused) << text;
        EXPECT_EQ(refused.error().exception, "InvalidDiskInfo") << text;
        EXPECT_EQ(read_file(home() / "disk.info"), text);
        EXPECT_EQ(files().growth(uuid), 0U);
    }
}

TEST_F(InstanceFilesTest, NoOtherNameBecomesAPath) {
    for (const char* name : {"",
                             "/etc/passwd",
                             "disk/../../x",
                             "..",
                             "disk.",
                             "disk.info",
                             "disk.config",
                             "console.log",
                             "disk.a/b",
                             "disk.Eph"}) {
        guest_.disks.clear();
        add(DiskSource::Image, name, gib);
        EXPECT_EQ(create().error().code, Code::InvalidArgument) << name;
    }
    EXPECT_TRUE(processes_.requests().empty());
}

TEST_F(InstanceFilesTest, NoOtherTextThanAUuidBecomesAPath) {
    for (const char* text : {"", "..", "_base", "../x", "87c8a4c6-c059-466c-966f-f61b0316c04"}) {
        const InstanceUuid wrong{text};
        guest_.uuid = wrong;
        guest_.config_drive.emplace();
        EXPECT_EQ(create().error().code, Code::InvalidArgument);
        EXPECT_EQ(files().create_config_drive(guest_).error().code, Code::InvalidArgument);
        EXPECT_EQ(files().remove(wrong).error().code, Code::InvalidArgument);
        EXPECT_EQ(files().console_tail(wrong).error().code, Code::InvalidArgument);
        EXPECT_FALSE(files().exists(wrong));
        EXPECT_EQ(files().growth(wrong), 0U);
    }
}

// --- formats that were written down, and those that were not

/// Of a qcow2 file of one GiB that stands on `backing`.
std::string qcow2_head(const std::string& backing) {
    std::string head(512, '\0');
    head.replace(0, 8, std::string("QFI\xfb\0\0\0\x03", 8));
    if (!backing.empty()) {
        head[15] = static_cast<char>(200); // offset of the name
        head[18] = static_cast<char>(backing.size() >> 8U);
        head[19] = static_cast<char>(backing.size());
        head.replace(200, backing.size(), backing);
    }
    head[28] = 0x40;
    return head;
}

TEST_F(InstanceFilesTest, TheNotedFormatBeatsOptionAndContent) {
    add(DiskSource::Image, "disk", gib);
    write("disk.info", "{\"" + path("disk") + "\": \"raw\"}");
    write("disk", qcow2_head("/etc/shadow")); // by the guest
    EXPECT_TRUE(options_.copy_on_write);
    EXPECT_EQ(files().format_of(uuid, "disk"), "raw");
    ASSERT_TRUE(files().note_formats(guest_, {{"disk", "qcow2"}}));
    ASSERT_TRUE(files().complete(guest_, &images_, {}));
    EXPECT_EQ(files().format_of(uuid, "disk"), "raw");
    EXPECT_TRUE(processes_.requests().empty());
}

TEST_F(InstanceFilesTest, AnOverlayStaysOneOnAHostThatMakesRawDisks) {
    options_.copy_on_write = false;
    add(DiskSource::Image, "disk", gib);
    write("disk.info", "{\"" + path("disk") + "\": \"qcow2\"}");
    write("disk", qcow2_head(""));
    ASSERT_TRUE(files().complete(guest_, &images_, {}));
    EXPECT_EQ(files().format_of(uuid, "disk"), "qcow2");
}

TEST_F(InstanceFilesTest, WithoutANoteTheContentSettlesOnlyWhatCannotBeQcow2) {
    for (const bool copy_on_write : {true, false}) {
        files_.reset();
        options_.copy_on_write = copy_on_write;
        guest_.disks.clear();
        add(DiskSource::Image, "disk", gib);
        EXPECT_EQ(files().format_of(uuid, "disk.eph0"), copy_on_write ? "qcow2" : "raw")
            << "one that is to be made";
        write("disk", "plain");
        EXPECT_EQ(files().format_of(uuid, "disk"), "raw");
        write("disk", qcow2_head("/etc/shadow"));
        for (const auto& refused : {files().format_of(uuid, "disk").error(),
                                    files().note_formats(guest_, {}).error(),
                                    create().error(),
                                    files().complete(guest_, &images_, {}).error()}) {
            EXPECT_EQ(refused.exception, "InvalidDiskInfo");
            EXPECT_THAT(refused.text, HasSubstr(path("disk.info")));
        }
        EXPECT_TRUE(disk_info().is_null());
    }
}

TEST_F(InstanceFilesTest, WithoutANoteTheDefinitionOfTheDomainIsBelieved) {
    add(DiskSource::Image, "disk", gib);
    add(DiskSource::Blank, "disk.eph0", gib);
    write("disk", qcow2_head(""));
    write("disk.eph0", qcow2_head("/etc/shadow"));
    ASSERT_TRUE(files().note_formats(guest_, {{"disk", "qcow2"}, {"disk.eph0", "raw"}}));
    EXPECT_EQ(disk_info(), Json(Json::Object{{path("disk"), "qcow2"}, {path("disk.eph0"), "raw"}}));
    write("disk", "plain"); // and it is the note that counts from then on
    EXPECT_EQ(files().format_of(uuid, "disk"), "qcow2");
}

TEST_F(InstanceFilesTest, ADefinitionCannotMakeAPlainFileQcow2) {
    add(DiskSource::Image, "disk", gib);
    write("disk", "plain");
    ASSERT_TRUE(files().note_formats(guest_, {{"disk", "qcow2"}}));
    EXPECT_EQ(disk_info()[path("disk")].as_string(), "raw");
}

// --- what a start needs

TEST_F(InstanceFilesTest, AnOverlaysOwnHeaderSaysWhatItStandsOn) {
    add(DiskSource::Image, "disk", gib);
    write("disk.info", "{\"" + path("disk") + "\": \"qcow2\"}");
    write("disk", qcow2_head(""));
    ASSERT_TRUE(files().complete(guest_, &images_, {}));
    EXPECT_EQ(images_.fetches, 0U) << "it needs no image any more";

    const auto other = (folder_ / "_base/0000000000000000000000000000000000000000").string();
    write("disk", qcow2_head(other));
    const auto lost = files().complete(guest_, &images_, {});
    ASSERT_FALSE(lost);
    EXPECT_EQ(lost.error().exception, "DiskNotFound");
    EXPECT_THAT(lost.error().text, HasSubstr(other));
    std::ofstream(other) << "base";
    EXPECT_TRUE(files().complete(guest_, &images_, {}));
    EXPECT_EQ(images_.fetches, 0U) << "the record's image is not what it stands on";

    const auto usual = folder_ / "_base/a2167934a6cfe3e7106837132dd1e4977684cd07";
    write("disk", qcow2_head(usual));
    EXPECT_FALSE(files().complete(guest_, nullptr, {})) << "nobody to fetch it";
    ASSERT_TRUE(files().complete(guest_, &images_, {}));
    EXPECT_EQ(images_.fetches, 1U);
    EXPECT_TRUE(fs::exists(usual));
    EXPECT_TRUE(files().complete(guest_, nullptr, {}));
}

TEST_F(InstanceFilesTest, WhatHeldDataIsNotMadeAnew) {
    add(DiskSource::Image, "disk", gib);
    add(DiskSource::Swap, "disk.swap", gib);
    guest_.config_drive.emplace(); // what it held is not said
    ASSERT_TRUE(create());
    write("disk", qcow2_head(""));
    write("disk.swap", qcow2_head(""));
    write("disk.config", "iso");
    ASSERT_TRUE(files().complete(guest_, &images_, {}));
    for (const char* name : {"disk", "disk.config"}) {
        fs::rename(path(name), path("aside"));
        const auto refused = files().complete(guest_, &images_, {});
        ASSERT_FALSE(refused) << name;
        EXPECT_EQ(refused.error().exception, "DiskNotFound");
        EXPECT_THAT(refused.error().text, HasSubstr(path(name) + ":"));
        EXPECT_FALSE(fs::exists(path(name)));
        fs::rename(path("aside"), path(name));
    }
    fs::remove(path("disk.config"));
    EXPECT_EQ(files().create_config_drive(guest_).error().exception, "DiskNotFound");
    fs::remove(path("disk.swap"));
    guest_.config_drive.reset();
    ASSERT_TRUE(files().complete(guest_, &images_, {}));
    EXPECT_TRUE(fs::exists(path("disk.swap"))) << "swap holds nothing that lasts";
}

TEST_F(InstanceFilesTest, TheKindOfAConfigDriveIsReadFromIt) {
    EXPECT_FALSE(files().config_drive_is_vfat(uuid));
    std::string image(0x9000, '\0');
    write("disk.config", image);
    EXPECT_EQ(files().config_drive_is_vfat(uuid), true);
    image.replace(0x8001, 5, "CD001");
    write("disk.config", image);
    EXPECT_EQ(files().config_drive_is_vfat(uuid), false);
    write("disk.config", "short");
    EXPECT_EQ(files().config_drive_is_vfat(uuid), true);
}

// --- whose folder it is

TEST_F(InstanceFilesTest, AFolderIsClaimedByWhoMakesIt) {
    options_.host = "one";
    EXPECT_EQ(files().claim(uuid), true);
    EXPECT_EQ(files().claim(uuid), true) << "an attempt that was cut off";
    ASSERT_TRUE(files().release(uuid));
    EXPECT_EQ(files().claim(uuid), false) << "a guest lives there";
    ASSERT_TRUE(files().release(uuid));
    ASSERT_TRUE(files().remove(uuid));
    EXPECT_EQ(files().claim(uuid), true);
    files_.reset();
    options_.host = "two";
    EXPECT_EQ(files().claim(uuid), false) << "another host builds there";
    EXPECT_EQ(files().claim(InstanceUuid("../x")).error().code, Code::InvalidArgument);
}

TEST_F(InstanceFilesTest, FoldersOfGuestsAreListed) {
    options_.host = "one";
    const InstanceUuid half{"11111111-3c00-4365-b0ce-e0fb3df0c7c4"};
    ASSERT_TRUE(files().claim(uuid));
    fs::create_directories(folder_ / (half.str() + "_del"));
    fs::create_directories(folder_ / "snapshots");
    std::ofstream(folder_ / "22222222-3c00-4365-b0ce-e0fb3df0c7c4") << "no folder";
    auto found = files().folders();
    ASSERT_TRUE(found) << found.error().text;
    std::sort(
        found->begin(), found->end(), [](const auto& a, const auto& b) { return a.uuid < b.uuid; });
    ASSERT_EQ(found->size(), 2U);
    EXPECT_EQ(found->at(0).uuid, half);
    EXPECT_EQ(found->at(0).path, folder_ / (half.str() + "_del"));
    EXPECT_FALSE(found->at(0).claimed);
    EXPECT_EQ(found->at(1).uuid, uuid);
    EXPECT_TRUE(found->at(1).claimed);
    // A disk that is written to keeps its folder young.
    const auto old = fs::file_time_type::clock::now() - std::chrono::hours(48);
    fs::last_write_time(home(), old);
    fs::last_write_time(home() / "novalet.building", old);
    const auto then = files().folders()->at(0).uuid == uuid ? files().folders()->at(0).changed
                                                            : files().folders()->at(1).changed;
    write("disk", "x");
    fs::last_write_time(home(), old);
    const auto now = files().folders()->at(0).uuid == uuid ? files().folders()->at(0).changed
                                                           : files().folders()->at(1).changed;
    EXPECT_GT(now - then, std::chrono::hours(47));
}

// --- growth

TEST_F(InstanceFilesTest, GrowthBelievesDiskInfoAndNotTheContent) {
    std::string header(1024, '\0');
    header.replace(0, 4, "QFI\xfb");
    header[24] = 1; // 64 PiB
    write("disk", header);
    write("disk.info", "{\"" + path("disk") + "\": \"raw\"}");
    EXPECT_EQ(files().growth(uuid), 0U);
    write("disk.info", "{\"" + path("disk") + "\": \"qcow2\"}");
    EXPECT_GT(files().growth(uuid), std::uint64_t{1} << 55U);
}

TEST_F(InstanceFilesTest, GrowthOfRawDisksIsWhatIsNotAllocated) {
    options_.copy_on_write = false;
    sparse("disk", gib);
    sparse("disk.swap", gib);
    sparse("disk.info.tmp", gib);
    sparse("disk.new-leftover", gib);
    EXPECT_EQ(files().growth(uuid), 2 * gib);
}

TEST_F(InstanceFilesTest, GrowthFollowsNoLinks) {
    options_.copy_on_write = false;
    sparse("target", gib);
    fs::create_symlink(home() / "target", home() / "disk");
    EXPECT_EQ(files().growth(uuid), 0U);
}

// --- config drive

TEST_F(InstanceFilesTest, AConfigDriveIsNobodyElses) {
    guest_.config_drive.emplace();
    guest_.config_drive->files = {{"openstack/latest/meta_data.json", "secret"}};
    fs::create_directories(home());
    bool seen = false;
    processes_.answer = [&](const ProcessRequest& request) -> Result<ProcessOutcome> {
        seen = true;
        const fs::path tree = request.argv.back();
        EXPECT_EQ(mode(tree), 0700U);
        EXPECT_EQ(mode(tree / "openstack/latest"), 0700U);
        EXPECT_EQ(mode(tree / "openstack/latest/meta_data.json"), 0600U);
        EXPECT_EQ(read_file(tree / "openstack/latest/meta_data.json"), "secret");
        EXPECT_EQ(mode(request.argv.at(2)), 0600U);
        return ProcessOutcome();
    };
    ASSERT_TRUE(files().create_config_drive(guest_));
    EXPECT_TRUE(seen);
    EXPECT_EQ(mode(home() / "disk.config"), 0600U);
    EXPECT_THAT(names(), UnorderedElementsAre("disk.config", "disk.info"));
    EXPECT_EQ(files().format_of(uuid, "disk.config"), "raw");
}

TEST_F(InstanceFilesTest, AConfigDriveThatFailsLeavesNoSecretBehind) {
    guest_.config_drive.emplace();
    guest_.config_drive->files = {{"a", "secret"}};
    fs::create_directories(home());
    processes_.answer = [](const ProcessRequest&) -> Result<ProcessOutcome> {
        return fail(Code::NotFound, "genisoimage is not installed");
    };
    EXPECT_FALSE(files().create_config_drive(guest_));
    EXPECT_THAT(names(), ElementsAre("disk.info"));
}

TEST_F(InstanceFilesTest, AFileThatLeavesTheDriveIsRefused) {
    fs::create_directories(home());
    for (const char* name : {"../x", "/x", "a/../../x", "a//../x", ".."}) {
        guest_.config_drive.emplace();
        guest_.config_drive->files = {{name, "x"}};
        EXPECT_EQ(files().create_config_drive(guest_).error().code, Code::InvalidArgument) << name;
    }
    EXPECT_FALSE(fs::exists(folder_ / "x"));
    EXPECT_TRUE(processes_.requests().empty());
}

TEST_F(InstanceFilesTest, AnExistingConfigDriveIsKept) {
    write("disk.config", "old");
    guest_.config_drive.emplace();
    ASSERT_TRUE(files().create_config_drive(guest_));
    EXPECT_EQ(read_file(home() / "disk.config"), "old");
    EXPECT_TRUE(processes_.requests().empty());
}

// --- removal and console

TEST_F(InstanceFilesTest, RemovalTakesAllAndHalfRemovedFoldersToo) {
    write("disk", "x");
    fs::create_directories(folder_ / (uuid.str() + "_del"));
    ASSERT_TRUE(files().remove(uuid));
    EXPECT_FALSE(files().exists(uuid));
    EXPECT_FALSE(fs::exists(folder_ / (uuid.str() + "_del")));
    EXPECT_TRUE(files().remove(uuid));
}

TEST_F(InstanceFilesTest, TheConsoleTailGoesOverRotatedFiles) {
    EXPECT_EQ(files().console_tail(uuid).error().exception, "ConsoleNotAvailable");
    write("console.log", "new");
    EXPECT_EQ(files().console_tail(uuid), "new");
    write("console.log.0", std::string(200 * 1024, 'o'));
    const auto tail = files().console_tail(uuid);
    ASSERT_TRUE(tail);
    EXPECT_EQ(tail->size(), 100U * 1024);
    EXPECT_TRUE(tail->starts_with("oo"));
    EXPECT_TRUE(tail->ends_with("onew"));
}

} // namespace
} // namespace novalet::hypervisor::storage
