#include "hypervisor/storage/cache_cleaning.hpp"

#include "agent/core/file.hpp"
#include "agent/core/json.hpp"
#include "hypervisor/storage/file_lock.hpp"
#include "hypervisor/storage/image_cache.hpp"
#include "hypervisor/storage/storage_users.hpp"
#include "tests/support/temporary_folder.hpp"

#include <chrono>
#include <fcntl.h>
#include <fstream>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

namespace novalet::hypervisor::storage {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

const std::string image = "1a7b763d-3c00-4365-b0ce-e0fb3df0c7c4";
const std::string base = "a2167934a6cfe3e7106837132dd1e4977684cd07"; // its sha1
const std::string other = "0123456789abcdef0123456789abcdef01234567";
const std::string guest = "87c8a4c6-c059-466c-966f-f61b0316c04c";

class FixedClock : public Clock {
  public:
    [[nodiscard]] MonotonicTime monotonic() const override { return {}; }
    [[nodiscard]] WallTime wall() const override { return now; }
    WallTime now = WallTime(Seconds(2'000'000'000));
};

class CacheCleaning : public testing::Test {
  protected:
    void SetUp() override {
        options_.instances_path = folder_.path();
        fs::create_directories(folder_ / "_base");
        fs::create_directories(folder_ / "locks");
    }
    /// A base file that was last used so long ago.
    void cached(const std::string& name, Seconds age = Seconds(100'000)) {
        const auto path = folder_.path() / "_base" / name;
        std::ofstream(path) << "x";
        timespec at{};
        at.tv_sec = static_cast<time_t>(
            std::chrono::duration_cast<Seconds>((clock_.now - age).time_since_epoch()).count());
        const timespec both[2] = {at, at};
        ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), both, 0), 0);
    }
    [[nodiscard]] bool is_cached(const std::string& name) const {
        return fs::exists(folder_.path() / "_base" / name);
    }
    /// A qcow2 disk that stands on `backing`.
    void disk(const std::string& home, const std::string& name, const std::string& backing) {
        std::string bytes(1024, '\0');
        bytes.replace(0, 4, "QFI\xfb");
        bytes[14] = 1; // offset 256 …
        bytes[19] = static_cast<char>(backing.size());
        bytes.replace(256, backing.size(), backing);
        fs::create_directories(folder_ / home);
        std::ofstream(folder_.path() / home / name, std::ios::binary) << bytes;
    }
    CleaningReport clean() {
        const auto report = clean_image_cache(options_, use_, clock_);
        EXPECT_TRUE(report) << report.error().text;
        return report.value_or(CleaningReport());
    }

    tests::TemporaryFolder folder_;
    FixedClock clock_;
    CleaningOptions options_;
    CacheUse use_;
};

TEST_F(CacheCleaning, AnUnusedImageGoesWhenItIsOldEnough) {
    cached(base, Seconds(86401));
    cached(other, Seconds(86399));
    const auto report = clean();
    EXPECT_THAT(report.removed, ElementsAre(base));
    EXPECT_THAT(report.kept, ElementsAre(other));
    EXPECT_FALSE(is_cached(base));
    EXPECT_TRUE(is_cached(other));
    EXPECT_GT(report.freed_bytes, 0U);
}

TEST_F(CacheCleaning, AnImageThatARecordNamesStaysAndItsUseIsNoted) {
    cached(base);
    cached(base + "_20");
    cached(base + "_sm");
    use_.images = {image};
    EXPECT_THAT(clean().used, ElementsAre(base, base + "_20", base + "_sm"));
    struct stat about {};
    ASSERT_EQ(stat((folder_.path() / "_base" / base).c_str(), &about), 0);
    const WallTime noted{Seconds(about.st_mtim.tv_sec)};
    EXPECT_NE(noted, clock_.now - Seconds(100'000));
}

TEST_F(CacheCleaning, ResizedImagesHaveAnAgeOfTheirOwn) {
    cached(base + "_20", Seconds(3601));
    cached(base + "_30", Seconds(3599));
    cached(base + "_sm", Seconds(3601));
    EXPECT_THAT(clean().removed, ElementsAre(base + "_20", base + "_sm"));
    EXPECT_TRUE(is_cached(base + "_30"));
}

TEST_F(CacheCleaning, WhatADiskStandsOnStaysWhoseverItIs) {
    cached(base);
    cached(other + "_10");
    cached("ephemeral_1_0706d66");
    cached("swap_512");
    cached("swap_64");
    disk(guest, "disk", folder_ / ("_base/" + base));
    disk(guest, "disk.eph0", folder_ / "_base/ephemeral_1_0706d66");
    disk(guest, "disk.swap", "/elsewhere/_base/swap_512"); // as another host names it
    disk("11111111-2222-4333-8444-555555555555_resize", "disk", other + "_10");
    const auto report = clean();
    EXPECT_THAT(report.used,
                UnorderedElementsAre(base, other + "_10", "ephemeral_1_0706d66", "swap_512"));
    EXPECT_THAT(report.removed, ElementsAre("swap_64"));
}

TEST_F(CacheCleaning, BlankBasesThatRecordsNameStay) {
    cached("ephemeral_1_0706d66");
    cached("ephemeral_2_ext4");
    cached("swap_512");
    cached("swap_64");
    use_.blank_bases = {blank_base_name(std::uint64_t{1} << 30U, "vfat", ""),
                        blank_base_name(std::uint64_t{512} << 20U, "swap", "")};
    const auto report = clean();
    EXPECT_THAT(report.used, ElementsAre("ephemeral_1_0706d66", "swap_512"));
    EXPECT_THAT(report.removed, ElementsAre("ephemeral_2_ext4", "swap_64"));
}

TEST_F(CacheCleaning, FilesOfOtherNamesAreLeftAlone) {
    for (const std::string& name : {base + ".part",
                                    base + ".part-12ab34cd",
                                    base + "_x",
                                    std::string("swap_"),
                                    std::string("swap_5x"),
                                    std::string("ephemeral_1"),
                                    std::string("golden.img"),
                                    std::string("g123456789abcdef0123456789abcdef01234567"),
                                    other + "_",
                                    other + "_1_2"})
        cached(name);
    const auto report = clean();
    EXPECT_THAT(report.removed, IsEmpty());
    EXPECT_THAT(report.kept, IsEmpty());
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "_base"), fs::directory_iterator()),
              10);
}

TEST_F(CacheCleaning, SwitchedOffNothingIsRemoved) {
    options_.remove_unused = false;
    cached(base);
    EXPECT_THAT(clean().kept, ElementsAre(base));
    EXPECT_TRUE(is_cached(base));
}

TEST_F(CacheCleaning, WhatSomebodyIsAtWorkOnStays) {
    cached(base);
    const auto theirs = FileLock::try_take(folder_ / ("locks/nova-" + base));
    ASSERT_TRUE(theirs);
    EXPECT_THAT(clean().kept, ElementsAre(base));
    EXPECT_TRUE(is_cached(base));
}

TEST_F(CacheCleaning, TheLockFileGoesWithTheBase) {
    cached(base);
    ASSERT_TRUE(FileLock::try_take(folder_ / ("locks/nova-" + base)));
    clean();
    EXPECT_FALSE(fs::exists(folder_ / ("locks/nova-" + base)));
}

TEST_F(CacheCleaning, ALockOnAFileThatLostItsNameKeepsNobodyOut) {
    const auto path = folder_ / "locks/nova-x";
    auto lost = FileLock::try_take(path);
    ASSERT_TRUE(lost);
    fs::remove(path);
    const auto next = FileLock::try_take(path);
    ASSERT_TRUE(next);
    EXPECT_EQ(FileLock::try_take(path).error().code, Code::Conflict);
}

TEST_F(CacheCleaning, WithoutACacheThereIsNothingToDo) {
    fs::remove_all(folder_ / "_base");
    EXPECT_THAT(clean().removed, IsEmpty());
    EXPECT_EQ(image_cache_bytes(folder_.path(), "_base"), 0U);
}

TEST_F(CacheCleaning, WhileTheDisksCannotBeSeenNothingIsRemoved) {
    cached(base);
    options_.subdirectory = fs::path(folder_.path() / "_base").string();
    options_.instances_path = folder_ / "gone";
    EXPECT_FALSE(clean_image_cache(options_, use_, clock_));
    EXPECT_TRUE(is_cached(base));
}

TEST_F(CacheCleaning, TheCacheIsMeasuredInBlocks) {
    const Fd file(open((folder_ / "_base/big").c_str(), O_WRONLY | O_CREAT, 0644));
    ASSERT_EQ(ftruncate(file.get(), off_t{1} << 30U), 0);
    std::ofstream(folder_ / "_base/small") << std::string(8192, 'x');
    const auto bytes = image_cache_bytes(folder_.path(), "_base");
    EXPECT_GE(bytes, 8192U);
    EXPECT_LT(bytes, 1U << 20U);
}

// --- the hosts that share the folder

TEST_F(CacheCleaning, HostsFindEachOther) {
    EXPECT_THAT(*register_storage_use(folder_.path(), "one", {}, clock_), ElementsAre("one"));
    clock_.now += std::chrono::hours(23);
    EXPECT_THAT(*register_storage_use(folder_.path(), "two", {}, clock_),
                ElementsAre("one", "two"));
    clock_.now += std::chrono::hours(1);
    EXPECT_THAT(*register_storage_use(folder_.path(), "two", {}, clock_), ElementsAre("two"));
}

TEST_F(CacheCleaning, TheListIsNovas) {
    std::ofstream(folder_ / "compute_nodes") << R"({"nova-host": 1999999000.25, "old": 12})";
    EXPECT_THAT(*register_storage_use(folder_.path(), "one", {}, clock_),
                ElementsAre("nova-host", "one"));
    const auto users = Json::parse(read_file(folder_ / "compute_nodes").value_or(""));
    ASSERT_TRUE(users);
    EXPECT_EQ((*users)["one"].as_double(), 2e9);
    EXPECT_TRUE(users->contains("old"));
}

TEST_F(CacheCleaning, ADamagedListIsBegunAnew) {
    std::ofstream(folder_ / "compute_nodes") << "{";
    EXPECT_THAT(*register_storage_use(folder_.path(), "one", {}, clock_), ElementsAre("one"));
}

TEST_F(CacheCleaning, AStoppedAgentDoesNotWaitForTheList) {
    const auto theirs = FileLock::try_take(folder_ / "locks/nova-storage-registry-lock");
    ASSERT_TRUE(theirs);
    std::stop_source stop;
    stop.request_stop();
    EXPECT_EQ(register_storage_use(folder_.path(), "one", stop.get_token(), clock_).error().code,
              Code::Cancelled);
}

} // namespace
} // namespace novalet::hypervisor::storage
