#pragma once
// The files of one guest, and the image cache they stand on, in a folder of the test's own.
#include "agent/core/file.hpp"
#include "agent/core/json.hpp"
#include "hypervisor/storage/instance_files.hpp"
#include "tests/support/fake_images.hpp"
#include "tests/support/temporary_folder.hpp"

#include <filesystem>
#include <gtest/gtest.h>
#include <optional>
#include <string>
#include <sys/stat.h>

namespace novalet::tests {

/// Options are taken when files() is called first.
class InstanceFolderTest : public testing::Test {
  protected:
    explicit InstanceFolderTest(ProcessRunner& processes) : programs_(processes) {
        guest_.uuid = uuid;
        guest_.image.id = image_id;
    }

    hypervisor::storage::InstanceFiles& files() {
        if (!files_) {
            cache_options_.instances_path = folder_.path();
            options_.instances_path = folder_.path();
            cache_.emplace(cache_options_, programs_);
            EXPECT_TRUE(cache_->prepare());
            files_.emplace(options_, *cache_, programs_);
        }
        return *files_;
    }
    void add(hypervisor::DiskSource source, const std::string& name, std::uint64_t bytes) {
        hypervisor::DiskSpec disk;
        disk.source = source;
        disk.file_name = name;
        disk.size_bytes = bytes;
        disk.filesystem = "vfat";
        guest_.disks.push_back(disk);
    }
    Result<void> create() { return files().create(guest_, images_, {}); }
    [[nodiscard]] std::filesystem::path home() const { return folder_.path() / uuid.str(); }
    [[nodiscard]] Json disk_info() const {
        return Json::parse(read_file(home() / "disk.info").value_or("")).value_or(Json());
    }
    static unsigned mode(const std::filesystem::path& path) {
        struct stat about {};
        EXPECT_EQ(stat(path.c_str(), &about), 0) << path;
        return about.st_mode & 07777U;
    }

    const InstanceUuid uuid{"87c8a4c6-c059-466c-966f-f61b0316c04c"};
    const std::string image_id = "1a7b763d-3c00-4365-b0ce-e0fb3df0c7c4";
    TemporaryFolder folder_;
    FakeImages images_;
    hypervisor::GuestSpec guest_;
    hypervisor::storage::CacheOptions cache_options_;
    hypervisor::storage::InstanceFilesOptions options_;
    std::optional<hypervisor::storage::ImageCache> cache_;
    std::optional<hypervisor::storage::InstanceFiles> files_;

  private:
    ProcessRunner& programs_;
};

} // namespace novalet::tests
