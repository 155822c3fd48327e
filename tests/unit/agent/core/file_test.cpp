#include "agent/core/file.hpp"

#include "tests/support/temporary_folder.hpp"

#include <cerrno>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

namespace novalet {
namespace {

using testing::HasSubstr;

class FileTest : public testing::Test {
  protected:
    std::size_t entries() const {
        std::size_t count = 0;
        for ([[maybe_unused]] const auto& entry :
             std::filesystem::directory_iterator(folder_.path()))
            ++count;
        return count;
    }
    tests::TemporaryFolder folder_;
};

TEST_F(FileTest, WhatIsWrittenIsRead) {
    const auto path = folder_ / "a";
    const std::string content = "line\n\0binary\xff";
    ASSERT_TRUE(write_file_atomically(path, content, 0600));
    EXPECT_EQ(read_file(path).value(), content);
    struct stat now {};
    ASSERT_EQ(stat(path.c_str(), &now), 0);
    EXPECT_EQ(now.st_mode & 0777U, 0600U);
    ASSERT_TRUE(write_file_atomically(path, ""));
    EXPECT_EQ(read_file(path).value(), "");
    EXPECT_EQ(entries(), 1U) << "a temporary file stays behind";
}

TEST_F(FileTest, AMissingFileIsNotFound) {
    const auto missing = read_file(folder_ / "none");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Code::NotFound);
    EXPECT_THAT(missing.error().text, HasSubstr((folder_ / "none").string()));
}

TEST_F(FileTest, TheLimitHolds) {
    const auto path = folder_ / "a";
    ASSERT_TRUE(write_file_atomically(path, std::string(100, 'x')));
    EXPECT_TRUE(read_file(path, 100));
    const auto large = read_file(path, 99);
    ASSERT_FALSE(large);
    EXPECT_THAT(large.error().text, HasSubstr("99"));
    EXPECT_FALSE(read_file("/dev/zero", 1000)) << "an endless file ends the reading";
}

TEST_F(FileTest, ADirectoryCannotBeRead) {
    EXPECT_FALSE(read_file(folder_.path()));
}

TEST_F(FileTest, AFailedWriteLeavesTheOldContentAndNoRubbish) {
    const auto path = folder_ / "target";
    std::filesystem::create_directories(path / "in the way");
    const auto written = write_file_atomically(path, "new");
    ASSERT_FALSE(written);
    EXPECT_THAT(written.error().text, HasSubstr("target"));
    EXPECT_TRUE(std::filesystem::exists(path / "in the way"));
    EXPECT_EQ(entries(), 1U);
    EXPECT_EQ(write_file_atomically(folder_ / "no/such/folder", "x").error().code, Code::NotFound);
}

TEST_F(FileTest, AnFdClosesWhatItOwnsOnce) {
    const int number = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ASSERT_GE(number, 0);
    {
        Fd first(number);
        Fd second(std::move(first));
        EXPECT_EQ(second.get(), number);
        Fd third;
        third = std::move(second);
        EXPECT_TRUE(third);
        EXPECT_NE(fcntl(number, F_GETFD), -1);
    }
    EXPECT_EQ(fcntl(number, F_GETFD), -1);
    EXPECT_FALSE(Fd());
}

TEST(ErrnoText, IsTheSystemsText) {
    EXPECT_EQ(errno_text(ENOENT), "No such file or directory");
}

} // namespace
} // namespace novalet
