#include "agent/core/log.hpp"

#include "agent/core/file.hpp"
#include "agent/core/secret.hpp"
#include "agent/core/text.hpp"
#include "tests/support/temporary_folder.hpp"

#include <algorithm>
#include <gmock/gmock.h>
#include <thread>
#include <unistd.h>

namespace novalet::log {
namespace {

using testing::EndsWith;
using testing::MatchesRegex;

class LogTest : public testing::Test {
  protected:
    LogTest() { EXPECT_TRUE(configure(Level::Info, path_.string())); }

    std::string content() const { return read_file(path_).value(); }
    /// The only line, without its newline.
    std::string line() const {
        const auto text = content();
        EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
        return text.empty() ? text : text.substr(0, text.size() - 1);
    }

    tests::TemporaryFolder folder_;
    std::filesystem::path path_ = folder_ / "novalet.log";
};

TEST_F(LogTest, TheLineHasTheFormOfOsloLog) {
    info("instance is built", {{"req", "req-1"}, {"instance", "uuid-1"}, {"seconds", 3}});
    EXPECT_THAT(line(),
                MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3} "
                             "[0-9]+ INFO novalet \\[req-1\\] \\[instance: uuid-1\\] instance is "
                             "built seconds=3"));
    EXPECT_THAT(line(), testing::HasSubstr(cat(' ', static_cast<long>(getpid()), ' ')));
}

TEST_F(LogTest, WithoutRequestThereIsADash) {
    warning("broker is gone", {{"host", "h"}});
    EXPECT_THAT(line(), EndsWith(" WARNING novalet [-] broker is gone host=h"));
}

TEST_F(LogTest, ValuesWithBlanksAreQuoted) {
    error("failed", {{"a", "b c"}, {"empty", ""}, {"plain", "x"}, {"flag", true}});
    EXPECT_THAT(line(),
                EndsWith("ERROR novalet [-] failed a=\"b c\" empty=\"\" plain=x flag=true"));
}

TEST_F(LogTest, NothingFromOutsideCanForgeALine) {
    info("a\nb", {{"req", "r\n2026 forged"}, {"instance", "i\r\nx"}, {"k", "v\nw\x1b[2J"}});
    const auto text = line();
    for (const char c : text)
        EXPECT_GE(static_cast<unsigned char>(c), 0x20) << text;
}

TEST_F(LogTest, TheThresholdHolds) {
    debug("no");
    EXPECT_EQ(content(), "");
    EXPECT_FALSE(enabled(Level::Debug));
    EXPECT_TRUE(enabled(Level::Info));
    ASSERT_TRUE(configure(Level::Error, path_.string()));
    info("no");
    warning("no");
    EXPECT_EQ(content(), "");
    error("yes");
    EXPECT_THAT(line(), EndsWith("yes"));
}

TEST_F(LogTest, AScopeAddsItsFieldsUntilItEnds) {
    {
        const Scope outer{{"req", "req-9"}, {"instance", "i-9"}};
        const Scope inner{{"step", "spawn"}};
        info("inside");
        std::jthread([] { info("other thread"); }).join();
    }
    info("outside");
    const auto lines = split(content(), '\n');
    ASSERT_EQ(lines.size(), 4U);
    EXPECT_THAT(lines[0], EndsWith("[req-9] [instance: i-9] inside step=spawn"));
    EXPECT_THAT(lines[1], EndsWith("[-] other thread"));
    EXPECT_THAT(lines[2], EndsWith("[-] outside"));
}

TEST_F(LogTest, ReopenFollowsARotation) {
    info("before");
    std::filesystem::rename(path_, folder_ / "old");
    reopen();
    info("after");
    EXPECT_THAT(line(), EndsWith("after"));
    EXPECT_THAT(read_file(folder_ / "old").value(), EndsWith("before\n"));
}

TEST_F(LogTest, AFileThatCannotBeOpenedIsReported) {
    EXPECT_FALSE(configure(Level::Info, (folder_ / "no/such/folder").string()));
}

TEST_F(LogTest, LinesOfManyThreadsDoNotMix) {
    {
        std::vector<std::jthread> writers;
        for (int t = 0; t < 4; ++t)
            writers.emplace_back([t] {
                for (int i = 0; i < 200; ++i)
                    info(std::string(100, static_cast<char>('a' + t)));
            });
    }
    const auto lines = split(content(), '\n');
    ASSERT_EQ(lines.size(), 801U);
    for (std::size_t i = 0; i < 800; ++i) {
        const auto message = lines[i].substr(lines[i].size() - 100);
        ASSERT_EQ(message, std::string(100, message[0]));
    }
}

TEST(LogFields, ASecretCannotBeAField) {
    EXPECT_FALSE((std::is_constructible_v<Field, std::string_view, Secret>));
}

} // namespace
} // namespace novalet::log
