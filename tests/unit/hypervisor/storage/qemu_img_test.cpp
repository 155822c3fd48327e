#include "hypervisor/storage/qemu_img.hpp"

#include "tests/support/fake_processes.hpp"

#include <gmock/gmock.h>

namespace novalet::hypervisor::storage {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

ProcessOutcome ended(int status, std::string out, std::string err = {}) {
    ProcessOutcome outcome;
    outcome.exit_status = status;
    outcome.out = std::move(out);
    outcome.err = std::move(err);
    return outcome;
}

class QemuImgTest : public testing::Test {
  protected:
    void answers(const ProcessOutcome& outcome) {
        processes_.answer = [outcome](const ProcessRequest&) { return outcome; };
    }
    tests::FakeProcesses processes_;
    QemuImgLimits limits_{std::uint64_t{7} << 20U, 9, Seconds(11)};
    QemuImg tool_{processes_, limits_};
};

TEST_F(QemuImgTest, TheFormatIsAlwaysSaid) {
    answers(ended(0, R"({"virtual-size": 1, "format": "raw"})"));
    ASSERT_TRUE(tool_.info("/d", "raw"));
    ASSERT_TRUE(tool_.convert("/a", "vmdk", "/b", "raw"));
    ASSERT_TRUE(tool_.create_overlay("/d", "/base", "raw", 5));
    ASSERT_TRUE(tool_.create("/d", "qcow2", 6));
    ASSERT_TRUE(tool_.resize("/d", "qcow2", 7));
    EXPECT_THAT(
        processes_.commands(),
        ElementsAre(
            ElementsAre(
                "qemu-img", "info", "--force-share", "--output=json", "-f", "raw", "--", "/d"),
            ElementsAre("qemu-img",
                        "convert",
                        "-t",
                        "none",
                        "-T",
                        "none",
                        "-f",
                        "vmdk",
                        "-O",
                        "raw",
                        "--",
                        "/a",
                        "/b"),
            ElementsAre("qemu-img",
                        "create",
                        "-q",
                        "-f",
                        "qcow2",
                        "-F",
                        "raw",
                        "-b",
                        "/base",
                        "--",
                        "/d",
                        "5"),
            ElementsAre("qemu-img", "create", "-q", "-f", "qcow2", "--", "/d", "6"),
            ElementsAre("qemu-img", "resize", "-q", "-f", "qcow2", "--", "/d", "7")));
}

TEST_F(QemuImgTest, WithoutDirectIoThePageCacheIsUsed) {
    ASSERT_TRUE(tool_.convert("/a", "raw", "/b", "raw", false));
    EXPECT_THAT(processes_.commands().at(0),
                ElementsAre("qemu-img",
                            "convert",
                            "-t",
                            "writeback",
                            "-T",
                            "writeback",
                            "-f",
                            "raw",
                            "-O",
                            "raw",
                            "--",
                            "/a",
                            "/b"));
}

TEST_F(QemuImgTest, AnOverlayAsLargeAsItsBaseNamesNoSize) {
    ASSERT_TRUE(tool_.create_overlay("/d", "/base", "raw", 0));
    EXPECT_EQ(processes_.commands().at(0).back(), "/d");
}

TEST_F(QemuImgTest, EveryRunIsUnderLimits) {
    answers(ended(0, R"({"virtual-size": 1, "format": "raw"})"));
    ASSERT_TRUE(tool_.info("/d", "raw"));
    ASSERT_TRUE(tool_.convert("/a", "raw", "/b", "raw"));
    const auto requests = processes_.requests();
    for (const auto& request : requests)
        EXPECT_EQ(request.max_address_space, limits_.address_space);
    EXPECT_EQ(requests.at(0).max_cpu_seconds, 9U);
    EXPECT_EQ(requests.at(1).max_cpu_seconds, 11U);
    EXPECT_EQ(requests.at(1).timeout, Seconds(11));
}

TEST_F(QemuImgTest, APathThatCouldBeAnOptionOrAProtocolIsNotRun) {
    for (const char* path : {"disk", "-f", "nbd:unix:/tmp/x", "json:{}", ""}) {
        EXPECT_FALSE(tool_.info(path, "raw")) << path;
        EXPECT_FALSE(tool_.convert(path, "raw", "/b", "raw")) << path;
        EXPECT_FALSE(tool_.convert("/a", "raw", path, "raw")) << path;
        EXPECT_FALSE(tool_.create_overlay("/d", path, "raw", 1)) << path;
        EXPECT_FALSE(tool_.create(path, "raw", 1)) << path;
        EXPECT_FALSE(tool_.resize(path, "raw", 1)) << path;
    }
    EXPECT_TRUE(processes_.requests().empty());
}

TEST_F(QemuImgTest, InfoIsUnderstood) {
    answers(ended(0, R"({"virtual-size": 1073741824, "filename": "/d", "format": "qcow2",
        "actual-size": 200704, "backing-filename": "base", "full-backing-filename": "/i/base",
        "format-specific": {"type": "qcow2", "data": {"data-file": "/i/data"}}})"));
    const auto info = tool_.info("/d", "qcow2");
    ASSERT_TRUE(info) << info.error().text;
    EXPECT_EQ(info->format, "qcow2");
    EXPECT_EQ(info->virtual_size, 1073741824U);
    EXPECT_EQ(info->actual_size, 200704U);
    EXPECT_EQ(info->backing_file, "/i/base");
    EXPECT_EQ(info->data_file, "/i/data");
}

TEST_F(QemuImgTest, AnswersThatMakeNoSenseAreInvalidDiskInfo) {
    for (const char* text :
         {"", "no json", "{}", R"({"virtual-size": -1})", "[]", R"({"virtual-size": "1"})"}) {
        answers(ended(0, text));
        const auto info = tool_.info("/d", "raw");
        ASSERT_FALSE(info) << text;
        EXPECT_EQ(info.error().exception, "InvalidDiskInfo") << text;
    }
}

TEST_F(QemuImgTest, TheProgramsReasonIsTold) {
    answers(ended(1, "", "qemu-img: Could not open '/d': Image is not in qcow2 format\n"));
    const auto refused = tool_.resize("/d", "qcow2", 7);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::Internal);
    EXPECT_THAT(refused.error().text, HasSubstr("Image is not in qcow2 format"));
}

TEST_F(QemuImgTest, AFullDiskIsNoFaultOfTheImage) {
    answers(ended(1, "", "qemu-img: error while writing: No space left on device\n"));
    EXPECT_EQ(tool_.convert("/a", "raw", "/b", "raw").error().code, Code::ResourceExhausted);
}

TEST_F(QemuImgTest, AnImageThatUsesTheLimitsUpIsAtFault) {
    for (const int status : {128 + 24, 128 + 9}) {
        answers(ended(status, ""));
        EXPECT_EQ(tool_.convert("/a", "raw", "/b", "raw").error().code, Code::InvalidArgument);
    }
}

TEST_F(QemuImgTest, TheStopTokenReachesTheProgram) {
    std::stop_source source;
    processes_.answer = [&](const ProcessRequest& request) -> Result<ProcessOutcome> {
        source.request_stop();
        EXPECT_TRUE(request.stop.stop_requested());
        return fail(Code::Cancelled, "stopped");
    };
    EXPECT_EQ(tool_.convert("/a", "raw", "/b", "raw", true, source.get_token()).error().code,
              Code::Cancelled);
}

} // namespace
} // namespace novalet::hypervisor::storage
