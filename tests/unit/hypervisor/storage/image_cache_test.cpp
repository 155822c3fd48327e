#include "hypervisor/storage/image_cache.hpp"

#include "agent/core/file.hpp"
#include "hypervisor/storage/file_lock.hpp"
#include "tests/support/fake_images.hpp"
#include "tests/support/fake_processes.hpp"
#include "tests/support/temporary_folder.hpp"

#include <chrono>
#include <fstream>
#include <future>
#include <gmock/gmock.h>
#include <thread>

namespace novalet::hypervisor::storage {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

const ImageId image("1a7b763d-3c00-4365-b0ce-e0fb3df0c7c4");
const std::string base_name = "a2167934a6cfe3e7106837132dd1e4977684cd07"; // its sha1

/// A qcow2 file of 1 GiB without data; `backing` is the offset of a backing file's name.
std::string qcow2(std::uint64_t backing = 0) {
    std::string bytes(4 * 65536, '\0');
    const auto put = [&](std::size_t at, std::size_t width, std::uint64_t value) {
        for (std::size_t i = 0; i < width; ++i)
            bytes[at + width - 1 - i] = static_cast<char>(value >> (8 * i));
    };
    bytes.replace(0, 4, "QFI\xfb");
    put(4, 4, 3);
    put(8, 8, backing);
    put(16, 4, backing == 0 ? 0 : 4);
    put(20, 4, 16);
    put(24, 8, std::uint64_t{1} << 30U);
    put(36, 4, 2);
    put(40, 8, 3 * 65536);
    put(48, 8, 65536);
    put(56, 4, 1);
    put(96, 4, 4);
    put(100, 4, 112);
    return bytes;
}

class ImageCacheTest : public testing::Test {
  protected:
    ImageCache& cache() {
        if (!cache_) {
            options_.instances_path = folder_.path();
            cache_.emplace(options_, processes_);
            EXPECT_TRUE(cache_->prepare());
        }
        return *cache_;
    }
    [[nodiscard]] fs::path base_path() const { return folder_.path() / "_base" / base_name; }
    [[nodiscard]] std::vector<std::string> cached() const {
        std::vector<std::string> names;
        for (const auto& entry : fs::directory_iterator(folder_.path() / "_base"))
            names.push_back(entry.path().filename().string());
        return names;
    }
    static void write(const fs::path& path, const std::string& content = "x") {
        fs::create_directories(path.parent_path());
        std::ofstream(path, std::ios::binary) << content;
    }

    tests::TemporaryFolder folder_;
    tests::FakeProcesses processes_;
    tests::FakeImages images_;
    CacheOptions options_;
    std::optional<ImageCache> cache_;
};

TEST_F(ImageCacheTest, ABaseIsNamedByTheSha1OfTheImageId) {
    const auto base = cache().base(image, images_, {});
    ASSERT_TRUE(base) << base.error().text;
    EXPECT_EQ(base->path, base_path());
    EXPECT_EQ(base->format, "raw");
    EXPECT_EQ(base->virtual_size, images_.content.size());
    EXPECT_EQ(read_file(base_path()), images_.content);
    EXPECT_THAT(cached(), ElementsAre(base_name));
    EXPECT_TRUE(fs::exists(folder_ / ("locks/nova-" + base_name)));
}

TEST_F(ImageCacheTest, HoweverManyWantAnImageItIsFetchedOnce) {
    cache();
    std::vector<std::thread> builds;
    std::atomic<unsigned> good{0};
    for (unsigned i = 0; i < 8; ++i)
        builds.emplace_back([&] { good += cache_->base(image, images_, {}) ? 1U : 0U; });
    for (auto& build : builds)
        build.join();
    EXPECT_EQ(good, 8U);
    EXPECT_EQ(images_.fetches, 1U);
}

TEST_F(ImageCacheTest, AFailedDownloadLeavesNothingAndTheNextTriesForItself) {
    images_.after = [](const ImageId&) -> Result<void> {
        return fail(Code::DataLoss, "checksum differs");
    };
    const auto failed = cache().base(image, images_, {});
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().code, Code::DataLoss);
    EXPECT_THAT(cached(), IsEmpty());
    images_.after = nullptr;
    EXPECT_TRUE(cache().base(image, images_, {}));
    EXPECT_EQ(images_.fetches, 2U);
}

TEST_F(ImageCacheTest, UntilItIsWholeABaseIsNotThere) {
    images_.before = [&](const ImageId&) -> Result<void> {
        EXPECT_FALSE(fs::exists(base_path()));
        EXPECT_EQ(cached().size(), 1U); // the unfinished one
        return {};
    };
    ASSERT_TRUE(cache().base(image, images_, {}));
    EXPECT_EQ(images_.fetches, 1U);
}

/// One build holds the image; what another one does meanwhile.
class WaitingBuild : public ImageCacheTest {
  protected:
    void hold() {
        cache();
        images_.before = [this](const ImageId&) -> Result<void> {
            entered_.set_value();
            release_.get_future().wait();
            return {};
        };
        first_ = std::thread([this] { EXPECT_TRUE(cache_->base(image, images_, {})); });
        entered_.get_future().wait();
    }
    void TearDown() override {
        release_.set_value();
        first_.join();
    }
    std::promise<void> entered_;
    std::promise<void> release_;
    std::thread first_;
    tests::FakeImages others_;
};

TEST_F(WaitingBuild, GivesUpWhenItIsStopped) {
    hold();
    std::stop_source stop;
    auto second = std::async(std::launch::async,
                             [&] { return cache_->base(image, others_, stop.get_token()); });
    stop.request_stop();
    EXPECT_EQ(second.get().error().code, Code::Cancelled);
    EXPECT_EQ(others_.fetches, 0U);
}

TEST_F(WaitingBuild, GivesUpWhenThePatienceIsUsedUp) {
    options_.patience = Seconds(0);
    hold();
    EXPECT_EQ(cache_->base(image, others_, {}).error().code, Code::Timeout);
    EXPECT_EQ(others_.fetches, 0U);
}

TEST_F(WaitingBuild, OfAnotherImageNeedsNoWaitUnlessTheDownloadsAreAllTaken) {
    options_.max_concurrent_downloads = 1;
    options_.patience = Seconds(0);
    hold();
    EXPECT_EQ(cache_->base(ImageId("other"), others_, {}).error().code, Code::Timeout);
    EXPECT_EQ(others_.fetches, 0U);
}

TEST_F(WaitingBuild, OfAnotherImageRunsBeside) {
    options_.patience = Seconds(0);
    hold();
    EXPECT_TRUE(cache_->base(ImageId("other"), others_, {}));
    EXPECT_EQ(others_.fetches, 1U);
}

TEST_F(ImageCacheTest, AnotherProcessAtWorkIsWaitedFor) {
    options_.patience = Seconds(0);
    cache();
    const auto theirs = FileLock::try_take(folder_.path() / "locks" / ("nova-" + base_name));
    ASSERT_TRUE(theirs);
    EXPECT_EQ(cache().base(image, images_, {}).error().code, Code::Timeout);
    EXPECT_EQ(images_.fetches, 0U);
}

TEST_F(ImageCacheTest, WhatAKilledProcessLeftIsRemovedAtTheStart) {
    const auto base = folder_.path() / "_base";
    write(base / (base_name + ".part-12ab34cd"));
    write(base / (base_name + ".part"));
    write(base / "b1.converted");
    write(base / "whole");
    cache();
    EXPECT_THAT(cached(), ElementsAre("whole"));
}

TEST_F(ImageCacheTest, WhatAnotherHostIsAtWorkOnStays) {
    const auto base = folder_.path() / "_base";
    write(base / "b1.part-12ab34cd");
    write(base / "b2.part-12ab34cd");
    fs::create_directories(folder_ / "locks");
    const auto theirs = FileLock::try_take(folder_ / "locks/nova-b1");
    ASSERT_TRUE(theirs);
    cache();
    EXPECT_THAT(cached(), ElementsAre("b1.part-12ab34cd"));
}

TEST_F(ImageCacheTest, AnExistingBaseIsNotFetchedButItsUseIsNoted) {
    cache();
    write(base_path(), std::string(512, 'o'));
    const auto old = fs::file_time_type::clock::now() - std::chrono::hours(50);
    fs::last_write_time(base_path(), old);
    ASSERT_TRUE(cache().base(image, images_, {}));
    EXPECT_EQ(images_.fetches, 0U);
    EXPECT_GT(fs::last_write_time(base_path()), old + std::chrono::hours(1));
}

TEST_F(ImageCacheTest, AnExistingBaseThatIsUnsafeIsRefused) {
    cache();
    write(base_path(), qcow2(1024));
    const auto refused = cache().base(image, images_, {});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().exception, "InvalidDiskInfo");
}

TEST_F(ImageCacheTest, ContentThatIsNotWhatGlanceClaimsIsRefused) {
    images_.content = qcow2();
    images_.format = "raw";
    const auto refused = cache().base(image, images_, {});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().exception, "ImageUnacceptable");
    EXPECT_THAT(cached(), IsEmpty());
    EXPECT_TRUE(processes_.requests().empty()); // no program saw it
}

TEST_F(ImageCacheTest, AnImageWithoutAFormatIsRefusedUnread) {
    images_.format.clear();
    const auto refused = cache().base(image, images_, {});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().exception, "ImageUnacceptable");
    EXPECT_EQ(images_.fetches, 0U);
}

TEST_F(ImageCacheTest, Qcow2IsConvertedToRaw) {
    images_.content = qcow2();
    images_.format = "qcow2";
    processes_.answer = [](const ProcessRequest& request) {
        write(request.argv.back(), std::string(1024, 'r'));
        return ProcessOutcome();
    };
    const auto base = cache().base(image, images_, {});
    ASSERT_TRUE(base) << base.error().text;
    EXPECT_EQ(base->format, "raw");
    EXPECT_EQ(base->virtual_size, 1024U);
    EXPECT_THAT(cached(), ElementsAre(base_name));
    const auto commands = processes_.commands();
    ASSERT_EQ(commands.size(), 1U);
    EXPECT_EQ(commands[0].at(1), "convert");
    EXPECT_THAT(commands[0], testing::Contains("qcow2"));
}

TEST_F(ImageCacheTest, AnImageInsideTheImageIsRefused) {
    images_.content = qcow2();
    images_.format = "qcow2";
    processes_.answer = [](const ProcessRequest& request) {
        write(request.argv.back(), qcow2());
        return ProcessOutcome();
    };
    const auto refused = cache().base(image, images_, {});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().exception, "ImageUnacceptable");
    EXPECT_THAT(cached(), IsEmpty());
}

TEST_F(ImageCacheTest, AnImageThatCannotBeConvertedIsAtFaultButAFullDiskIsNot) {
    images_.content = qcow2();
    images_.format = "qcow2";
    ProcessOutcome outcome;
    outcome.exit_status = 1;
    processes_.answer = [&](const ProcessRequest&) { return outcome; };
    outcome.err = "qemu-img: corrupt";
    EXPECT_EQ(cache().base(image, images_, {}).error().exception, "ImageUnacceptable");
    outcome.err = "qemu-img: No space left on device";
    const auto full = cache().base(image, images_, {});
    EXPECT_EQ(full.error().code, Code::ResourceExhausted);
    EXPECT_EQ(full.error().exception, "");
    EXPECT_THAT(cached(), IsEmpty());
}

TEST_F(ImageCacheTest, WithoutForcedRawAQcow2BaseStaysOne) {
    options_.force_raw_images = false;
    images_.content = qcow2();
    images_.format = "qcow2";
    const auto base = cache().base(image, images_, {});
    ASSERT_TRUE(base) << base.error().text;
    EXPECT_EQ(base->format, "qcow2");
    EXPECT_EQ(base->virtual_size, std::uint64_t{1} << 30U);
    EXPECT_TRUE(processes_.requests().empty());
}

TEST_F(ImageCacheTest, AKernelIsCopiedAsItIs) {
    const auto target = folder_ / "kernel";
    ASSERT_TRUE(cache().copy_plain(image, images_, target, {}));
    EXPECT_EQ(read_file(target), images_.content);
    ASSERT_TRUE(cache().copy_plain(image, images_, folder_ / "kernel2", {}));
    EXPECT_EQ(images_.fetches, 1U);
}

/// Blank bases: what qemu-img would make is there, mkfs does nothing.
class BlankBases : public ImageCacheTest {
  protected:
    void SetUp() override {
        processes_.answer = [](const ProcessRequest& request) {
            if (request.argv.at(0) == "qemu-img")
                write(request.argv.at(request.argv.size() - 2));
            return ProcessOutcome();
        };
    }
    std::string name_of(const std::string& filesystem) {
        const auto base = cache().blank_base(std::uint64_t{2} << 30U, filesystem, {});
        return base ? base->path.filename().string() : base.error().text;
    }
};

TEST_F(BlankBases, AreNamedAsNovaDoesForTheDefaultFileSystem) {
    EXPECT_EQ(name_of("vfat"), "ephemeral_2_0706d66");
    EXPECT_EQ(name_of("ext4"), "ephemeral_2_ext4");
    EXPECT_EQ(name_of("swap"), "swap_2048");
}

TEST_F(BlankBases, AConfiguredDefaultTakesNovasName) {
    options_.default_ephemeral_format = "ext4";
    EXPECT_EQ(name_of("ext4"), "ephemeral_2_40d1d2c");
    EXPECT_EQ(name_of("vfat"), "ephemeral_2_vfat");
}

TEST_F(BlankBases, AreFormattedWithTheirLabel) {
    for (const char* filesystem : {"ext4", "vfat", "xfs", "swap"})
        ASSERT_TRUE(cache().blank_base(std::uint64_t{1} << 30U, filesystem, {}));
    std::vector<std::vector<std::string>> formats;
    for (auto argv : processes_.commands())
        if (argv[0] != "qemu-img") {
            argv.pop_back(); // the unfinished file
            formats.push_back(argv);
        }
    EXPECT_THAT(formats,
                ElementsAre(ElementsAre("mkfs.ext4", "-F", "-L", "ephemeral0"),
                            ElementsAre("mkfs.vfat", "-n", "ephemeral0"),
                            ElementsAre("mkfs.xfs", "-L", "ephemeral0"),
                            ElementsAre("mkswap")));
}

TEST_F(BlankBases, AreMadeOnce) {
    ASSERT_TRUE(cache().blank_base(std::uint64_t{1} << 30U, "ext4", {}));
    const auto before = processes_.requests().size();
    ASSERT_TRUE(cache().blank_base(std::uint64_t{1} << 30U, "ext4", {}));
    EXPECT_EQ(processes_.requests().size(), before);
}

TEST_F(BlankBases, AFileSystemThatNobodySupportsNeverReachesAProgram) {
    for (const char* filesystem : {"", "ext4 -x", "../../sh", "zfs"}) {
        const auto refused = cache().blank_base(std::uint64_t{1} << 30U, filesystem, {});
        ASSERT_FALSE(refused) << filesystem;
        EXPECT_EQ(refused.error().exception, "InvalidBDMFormat");
    }
    EXPECT_TRUE(processes_.requests().empty());
}

TEST_F(BlankBases, AFailedFormatLeavesNothing) {
    processes_.answer = [](const ProcessRequest& request) {
        ProcessOutcome outcome;
        if (request.argv.at(0) == "qemu-img")
            write(request.argv.at(request.argv.size() - 2));
        else
            outcome.exit_status = 1;
        return outcome;
    };
    EXPECT_FALSE(cache().blank_base(std::uint64_t{1} << 30U, "ext4", {}));
    EXPECT_THAT(cached(), IsEmpty());
}

} // namespace
} // namespace novalet::hypervisor::storage
