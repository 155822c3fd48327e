#include "agent/core/process.hpp"

#include "agent/core/file.hpp"
#include "tests/support/temporary_folder.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace novalet {
namespace {

using testing::HasSubstr;

ProcessRequest shell(const std::string& script) {
    ProcessRequest request;
    request.argv = {"sh", "-c", script};
    return request;
}

TEST(Process, GivesBothStreamsAndTheExitCode) {
    const auto outcome = system_processes().run(shell("echo out; echo err >&2; exit 3")).value();
    EXPECT_EQ(outcome.out, "out\n");
    EXPECT_EQ(outcome.err, "err\n");
    EXPECT_EQ(outcome.exit_status, 3);
}

TEST(Process, ArgumentsReachTheProgramUntouched) {
    ProcessRequest request;
    request.argv = {"printf", "%s|", "a b", "$HOME", "; rm -rf /", "'\"", ""};
    EXPECT_EQ(system_processes().run(request).value().out, "a b|$HOME|; rm -rf /|'\"||");
}

TEST(Process, LargeInputAndOutputPassWithoutBlocking) {
    ProcessRequest request;
    request.argv = {"cat"};
    request.input.assign(2U << 20U, 'x');
    const auto outcome = system_processes().run(request).value();
    EXPECT_EQ(outcome.out.size(), request.input.size());
}

TEST(Process, AProgramThatDoesNotReadItsInputIsNoProblem) {
    auto request = shell("exec <&-; echo done");
    request.input.assign(1U << 20U, 'x');
    EXPECT_EQ(system_processes().run(request).value().out, "done\n");
}

TEST(Process, OutputBeyondTheLimitIsDropped) {
    auto request = shell("head -c 100000 /dev/zero");
    request.max_output = 1000;
    EXPECT_EQ(system_processes().run(request).value().out.size(), 1000U);
}

TEST(Process, AMissingProgramIsNamed) {
    ProcessRequest request;
    request.argv = {"no-such-program-of-novalet"};
    const auto outcome = system_processes().run(request);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code, Code::NotFound);
    EXPECT_THAT(outcome.error().text, HasSubstr("no-such-program-of-novalet"));
    EXPECT_FALSE(system_processes().run(ProcessRequest{}));
}

TEST(Process, ATimeoutKillsTheWholeGroup) {
    const tests::TemporaryFolder folder;
    const auto fifo = folder / "held-open-by-the-grandchild";
    ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
    const Fd reader(open(fifo.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    auto request = shell("(echo; exec sleep 600) > " + fifo.string() + " & wait");
    // A busy machine may need longer to come as far as the grandchild.
    for (Milliseconds timeout(50); timeout < Seconds(60); timeout *= 2) {
        request.timeout = timeout;
        const auto outcome = system_processes().run(request);
        ASSERT_FALSE(outcome);
        ASSERT_EQ(outcome.error().code, Code::Timeout);
        EXPECT_THAT(outcome.error().text, HasSubstr(std::to_string(timeout.count()) + " ms"));
        char started = 0;
        if (read(reader.get(), &started, 1) != 1)
            continue;
        pollfd wait{reader.get(), POLLIN, 0};
        ASSERT_EQ(poll(&wait, 1, 20000), 1) << "the grandchild still lives";
        EXPECT_NE(wait.revents & POLLHUP, 0);
        return;
    }
    FAIL() << "the grandchild never started";
}

TEST(Process, ATimeoutBeforeTheProgramStartsEndsItAsWell) {
    auto request = shell("sleep 600");
    request.timeout = Milliseconds(0);
    const auto outcome = system_processes().run(request);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code, Code::Timeout);
}

TEST(Process, ASignalIsReportedAsTheShellDoes) {
    EXPECT_EQ(system_processes().run(shell("kill -TERM $$")).value().exit_status, 128 + 15);
}

TEST(Process, TheEnvironmentIsOnlyWhatWasGiven) {
    setenv("NOVALET_TEST_LEAK", "secret", 1);
    ProcessRequest request;
    request.argv = {"env"};
    const auto out = system_processes().run(request).value().out;
    unsetenv("NOVALET_TEST_LEAK");
    EXPECT_EQ(out.find("NOVALET_TEST_LEAK"), std::string::npos);
    EXPECT_THAT(out, HasSubstr("LC_ALL=C"));
}

TEST(Process, LimitsAreInForce) {
    auto request = shell("ulimit -v; ulimit -t");
    request.max_address_space = 512ULL << 20U;
    request.max_cpu_seconds = 7;
    EXPECT_EQ(system_processes().run(request).value().out, "524288\n7\n");
}

TEST(Process, DescriptorsOfTheAgentAreNotInherited) {
    const int leak = open("/dev/null", O_RDONLY); // without O_CLOEXEC, as some libraries do
    ASSERT_GE(leak, 0);
    ProcessRequest request;
    request.argv = {"ls", "/proc/self/fd"};
    const auto out = system_processes().run(request).value().out;
    close(leak);
    EXPECT_EQ(out, "0\n1\n2\n3\n"); // 3 is the folder that ls reads
}

TEST(Process, CheckTurnsAnExitCodeIntoAnErrorWithTheReason) {
    EXPECT_EQ(system_processes().check(shell("echo fine")).value().out, "fine\n");
    const auto failed = system_processes().check(shell("echo 'no space' >&2; exit 1"));
    ASSERT_FALSE(failed);
    EXPECT_THAT(failed.error().text, testing::AllOf(HasSubstr("no space"), HasSubstr("with 1")));
}

} // namespace
} // namespace novalet
