#include "agent/journal/journal.hpp"

#include "agent/core/file.hpp"
#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"
#include "agent/journal/database.hpp"
#include "tests/support/fake_clock.hpp"
#include "tests/support/temporary_folder.hpp"

#include <algorithm>
#include <csignal>
#include <gmock/gmock.h>
#include <set>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace novalet::journal {
namespace {

using testing::HasSubstr;

const char* const token = "gAAAAABtoken-of-the-user";

Accepted build_request(const std::string& unique_id) {
    Accepted request;
    request.unique_id = unique_id;
    request.method = "build_and_run_instance";
    request.version = "6.0";
    request.instance_uuid = "b2cdb0e6-7dd8-4a2f-8c5a-000000000001";
    request.args.set("admin_password", "root-pass-of-guest")
        .set("filter_properties", Json::object());
    request.context.set("auth_token", token).set("request_id", "req-1");
    return request;
}

unsigned mode_of(const std::filesystem::path& path) {
    struct stat now {};
    EXPECT_EQ(stat(path.c_str(), &now), 0) << path;
    return now.st_mode & 0777U;
}

/// Every byte that the journal has on disk.
std::string bytes_on_disk(const std::filesystem::path& folder) {
    std::string all;
    for (const auto& file : std::filesystem::directory_iterator(folder))
        if (file.is_regular_file())
            all += read_file(file.path()).value();
    return all;
}

class JournalTest : public testing::Test {
  protected:
    std::unique_ptr<Journal> open() {
        auto journal = Journal::open(options_, clock_);
        EXPECT_TRUE(journal) << (journal ? "" : journal.error().text);
        return journal ? std::move(*journal) : nullptr;
    }

    tests::TemporaryFolder folder_;
    tests::FakeClock clock_;
    Options options_{folder_ / "novalet/journal.sqlite"};
};

TEST_F(JournalTest, KeepsARequestOverARestart) {
    {
        const auto journal = open();
        const auto admission = journal->record(build_request("u1"));
        ASSERT_TRUE(admission);
        EXPECT_TRUE(admission->fresh);
        Json data;
        data.set("port", "p1");
        ASSERT_TRUE(journal->set_step(admission->entry, "networking", data));
    }
    const auto entries = open()->open_entries();
    ASSERT_TRUE(entries);
    ASSERT_EQ(entries->size(), 1U);
    const auto& entry = entries->front();
    EXPECT_EQ(entry.request.unique_id, "u1");
    EXPECT_EQ(entry.request.method, "build_and_run_instance");
    EXPECT_EQ(entry.request.version, "6.0");
    EXPECT_EQ(entry.request.instance_uuid, "b2cdb0e6-7dd8-4a2f-8c5a-000000000001");
    EXPECT_EQ(entry.request.args, build_request("u1").args);
    EXPECT_EQ(entry.request.context, build_request("u1").context);
    EXPECT_EQ(entry.step, "networking");
    EXPECT_EQ(entry.step_data["port"].as_string(), "p1");
    EXPECT_EQ(entry.accepted_at, clock_.wall());
}

TEST_F(JournalTest, KeepsWhatACallNeedsForItsAnswer) {
    auto request = build_request("u1");
    request.name_space = "baseapi";
    request.message_id = "m1";
    request.reply_queue = "reply_1";
    const auto journal = open();
    ASSERT_TRUE(journal->record(request));
    const auto entries = journal->open_entries().value();
    ASSERT_EQ(entries.size(), 1U);
    EXPECT_EQ(entries[0].request.name_space, "baseapi");
    EXPECT_EQ(entries[0].request.message_id, "m1");
    EXPECT_EQ(entries[0].request.reply_queue, "reply_1");
    EXPECT_EQ(entries[0].step, "");
    EXPECT_TRUE(entries[0].step_data.is_null());
    EXPECT_EQ(entries[0].attempts, 1U);
}

TEST_F(JournalTest, SeesADuplicateWhileOpenAndAfterClosingAndAfterARestart) {
    auto journal = open();
    const auto first = journal->record(build_request("u1")).value();
    const auto second = journal->record(build_request("u1")).value();
    EXPECT_FALSE(second.fresh);
    EXPECT_EQ(second.entry, first.entry);
    ASSERT_TRUE(journal->close(first.entry, Outcome::Done));
    EXPECT_FALSE(journal->record(build_request("u1")).value().fresh);
    journal.reset();
    journal = open();
    EXPECT_FALSE(journal->record(build_request("u1")).value().fresh);
    EXPECT_TRUE(journal->open_entries().value().empty());
}

TEST_F(JournalTest, RequestsWithoutUniqueIdAreNeverDuplicates) {
    const auto journal = open();
    EXPECT_TRUE(journal->record(build_request("")).value().fresh);
    EXPECT_TRUE(journal->record(build_request("")).value().fresh);
    EXPECT_EQ(journal->open_entries().value().size(), 2U);
}

TEST_F(JournalTest, RecordsABatchInOrderAndFindsDuplicatesInsideIt) {
    const auto journal = open();
    const auto admissions = journal->record(
        {build_request("u1"), build_request("u2"), build_request("u1"), build_request("u3")});
    ASSERT_TRUE(admissions);
    std::vector<bool> fresh;
    for (const auto& one : *admissions)
        fresh.push_back(one.fresh);
    EXPECT_EQ(fresh, (std::vector<bool>{true, true, false, true}));
    std::vector<std::string> order;
    const auto entries = journal->open_entries().value();
    for (const auto& entry : entries)
        order.push_back(entry.request.unique_id);
    EXPECT_EQ(order, (std::vector<std::string>{"u1", "u2", "u3"}));
}

TEST_F(JournalTest, ForgetsClosedRequestsAfterTheRetentionButNeverOpenOnes) {
    const auto journal = open();
    const auto closed = journal->record(build_request("closed")).value();
    ASSERT_TRUE(journal->record(build_request("open")));
    ASSERT_TRUE(journal->close(closed.entry, Outcome::Done));
    clock_.advance(options_.retention - Seconds(700));
    const auto other = journal->record(build_request("other")).value();
    ASSERT_TRUE(journal->close(other.entry, Outcome::Done)); // looks for old ones
    EXPECT_FALSE(journal->record(build_request("closed")).value().fresh);
    clock_.advance(Seconds(1400));
    const auto late = journal->record(build_request("late")).value();
    ASSERT_TRUE(journal->close(late.entry, Outcome::Done));
    EXPECT_TRUE(journal->record(build_request("closed")).value().fresh);
    EXPECT_FALSE(journal->record(build_request("open")).value().fresh);
    EXPECT_FALSE(journal->record(build_request("other")).value().fresh);
}

TEST_F(JournalTest, StepsAndClosingAreForOpenEntriesOnly) {
    const auto journal = open();
    const auto unknown = journal->set_step(4711, "spawning");
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().code, Code::NotFound);
    EXPECT_THAT(unknown.error().text, HasSubstr("4711"));
    EXPECT_EQ(journal->close(4711, Outcome::Done).error().code, Code::NotFound);
    const auto entry = journal->record(build_request("u1")).value().entry;
    ASSERT_TRUE(journal->close(entry, Outcome::Failed, "no valid network"));
    EXPECT_TRUE(journal->close(entry, Outcome::Done));
    EXPECT_EQ(journal->set_step(entry, "spawning").error().code, Code::NotFound);
    auto database = Database::open(options_.path);
    EXPECT_FALSE(database && database->value_of("SELECT 1 FROM requests"))
        << "the journal is not locked against other users";
}

TEST_F(JournalTest, TheFirstOutcomeAndItsNoteStay) {
    {
        const auto journal = open();
        const auto entry = journal->record(build_request("u1")).value().entry;
        ASSERT_TRUE(journal->close(entry, Outcome::Rescheduled, "claim failed"));
        ASSERT_TRUE(journal->close(entry, Outcome::Done, "later"));
    }
    auto database = Database::open(options_.path).value();
    EXPECT_EQ(database.value_of("SELECT outcome || ':' || note FROM requests").value(),
              "rescheduled:claim failed");
}

TEST_F(JournalTest, ClosingWipesSecretsFromTheDisk) {
    const auto journal = open();
    const auto entry = journal->record(build_request("u1")).value().entry;
    Json data;
    data.set("token", "step-secret");
    ASSERT_TRUE(journal->set_step(entry, "spawning", data));
    EXPECT_THAT(bytes_on_disk(options_.path.parent_path()), HasSubstr(token));
    ASSERT_TRUE(journal->close(entry, Outcome::Done));
    const auto left = bytes_on_disk(options_.path.parent_path());
    EXPECT_EQ(left.find(token), std::string::npos);
    EXPECT_EQ(left.find("root-pass-of-guest"), std::string::npos);
    EXPECT_EQ(left.find("step-secret"), std::string::npos);
}

TEST_F(JournalTest, FolderAndFilesAreForTheOwnerOnly) {
    const auto journal = open();
    ASSERT_TRUE(journal->record(build_request("u1")));
    EXPECT_EQ(mode_of(options_.path.parent_path()), 0700U);
    for (const auto& file : std::filesystem::directory_iterator(options_.path.parent_path()))
        EXPECT_EQ(mode_of(file.path()), 0600U) << file.path();
}

TEST_F(JournalTest, AnOpenModeOfAnOlderFileIsNarrowed) {
    open().reset();
    ASSERT_EQ(chmod(options_.path.c_str(), 0644), 0);
    open().reset();
    EXPECT_EQ(mode_of(options_.path), 0600U);
}

TEST_F(JournalTest, ASymbolicLinkIsRefused) {
    std::filesystem::create_directories(options_.path.parent_path());
    std::filesystem::create_symlink(folder_ / "elsewhere", options_.path);
    const auto journal = Journal::open(options_, clock_);
    ASSERT_FALSE(journal);
    EXPECT_THAT(journal.error().text, HasSubstr(options_.path.string()));
    EXPECT_FALSE(std::filesystem::exists(folder_ / "elsewhere"));
}

TEST_F(JournalTest, ASecondUserIsRefused) {
    const auto journal = open();
    const auto second = Journal::open(options_, clock_);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::Conflict);
    EXPECT_THAT(second.error().text, HasSubstr("another novalet runs"));
    EXPECT_TRUE(journal->record(build_request("u1")));
}

TEST_F(JournalTest, RubbishIsMovedAsideAndANewJournalBegun) {
    std::filesystem::create_directories(options_.path.parent_path());
    ASSERT_TRUE(write_file_atomically(options_.path, std::string(9000, 'x'), 0600));
    const auto journal = open();
    ASSERT_TRUE(journal->damaged_copy());
    EXPECT_EQ(read_file(*journal->damaged_copy()).value(), std::string(9000, 'x'));
    EXPECT_TRUE(journal->record(build_request("u1")).value().fresh);
}

TEST_F(JournalTest, ADamagedPageIsFoundAtTheNextStart) {
    {
        const auto journal = open();
        for (int i = 0; i < 50; ++i)
            ASSERT_TRUE(journal->record(build_request(cat("u", i))));
    }
    auto bytes = read_file(options_.path).value();
    ASSERT_GT(bytes.size(), 5U * 4096U);
    for (std::size_t page = 1; page < bytes.size() / 4096; ++page)
        std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(page * 4096), 64, '\xff');
    ASSERT_TRUE(write_file_atomically(options_.path, bytes, 0600));
    const auto journal = open();
    EXPECT_TRUE(journal->damaged_copy());
    EXPECT_TRUE(journal->open_entries().value().empty());
}

TEST_F(JournalTest, ATableThatIsNotOursCountsAsDamaged) {
    std::filesystem::create_directories(options_.path.parent_path());
    {
        auto database = Database::open(options_.path).value();
        ASSERT_TRUE(database.execute("CREATE TABLE other (x); PRAGMA user_version = 1"));
    }
    EXPECT_TRUE(open()->damaged_copy());
}

TEST_F(JournalTest, AFullDiskIsAnErrorAndLeavesNothingBehind) {
    options_.max_bytes = 128U << 10U;
    const auto journal = open();
    auto big = build_request("big");
    big.args.set("blob", std::string(200U << 10U, 'b'));
    const auto refused = journal->record(big);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::ResourceExhausted);
    EXPECT_TRUE(journal->open_entries().value().empty());
    EXPECT_FALSE(journal->record({build_request("u1"), big}));
    EXPECT_TRUE(journal->open_entries().value().empty()) << "a batch is all or nothing";
    EXPECT_TRUE(journal->record(build_request("u1")).value().fresh);
}

TEST_F(JournalTest, AnUnreadableEntryIsAbandonedAndTheOthersStay) {
    {
        const auto journal = open();
        ASSERT_TRUE(journal->record({build_request("u1"), build_request("u2")}));
    }
    {
        auto database = Database::open(options_.path).value();
        ASSERT_TRUE(
            database.execute("UPDATE requests SET args = '{broken' WHERE unique_id = 'u1'"));
    }
    const auto journal = open();
    const auto entries = journal->open_entries().value();
    ASSERT_EQ(entries.size(), 1U);
    EXPECT_EQ(entries[0].request.unique_id, "u2");
    EXPECT_FALSE(journal->record(build_request("u1")).value().fresh);
}

TEST_F(JournalTest, TextWithNulAndUnicodeComesBackUnchanged) {
    auto request = build_request("u1");
    request.args.set("name", std::string("a\0b\u00e4\U0001F600", 9U));
    const auto journal = open();
    ASSERT_TRUE(journal->record(request));
    EXPECT_EQ(journal->open_entries().value().at(0).request.args, request.args);
}

TEST_F(JournalTest, ManyThreadsWriteAtOnceAndNothingIsLostOrDoubled) {
    constexpr int threads = 8;
    constexpr int each = 20;
    const auto journal = open();
    std::mutex mutex;
    std::set<EntryId> fresh;
    int duplicates = 0;
    {
        std::vector<std::jthread> writers;
        for (int t = 0; t < threads; ++t)
            writers.emplace_back([&, t] {
                for (int i = 0; i < each; ++i) {
                    // Two threads share each id.
                    const auto admission = journal->record(build_request(cat(t / 2, '-', i)));
                    const bool closed_missing = !journal->set_step(1'000'000 + i, "none");
                    const std::lock_guard lock(mutex);
                    EXPECT_TRUE(closed_missing);
                    if (!admission)
                        ADD_FAILURE() << admission.error().text;
                    else if (!admission->fresh)
                        ++duplicates;
                    else
                        EXPECT_TRUE(fresh.insert(admission->entry).second);
                }
            });
    }
    EXPECT_EQ(fresh.size(), std::size_t{threads / 2 * each});
    EXPECT_EQ(duplicates, threads / 2 * each);
    EXPECT_EQ(journal->open_entries().value().size(), fresh.size());
}

TEST_F(JournalTest, TheStateIsThatOfTheLastStep) {
    auto journal = open();
    const auto entry = journal->record(build_request("u1")).value().entry;
    Json state;
    state.set("version", 1).set("done", Json::Array{"claim", nullptr, 1.5, "\u00e4\n"});
    ASSERT_TRUE(journal->set_step(entry, "spawning", state));
    EXPECT_EQ(journal->open_entries().value().at(0).step_data, state);
    journal.reset();
    journal = open();
    EXPECT_EQ(journal->open_entries().value().at(0).step_data, state);
    ASSERT_TRUE(journal->set_step(entry, "networking"));
    EXPECT_TRUE(journal->open_entries().value().at(0).step_data.is_null());
}

Json nested(std::size_t levels) {
    Json value = Json::Array{};
    for (std::size_t i = 1; i < levels; ++i) {
        Json::Array outer(1);
        outer[0] = std::move(value);
        value = std::move(outer);
    }
    return value;
}

TEST_F(JournalTest, WhateverWasAcceptedIsReadBackAlsoInsideAState) {
    auto journal = open();
    auto request = build_request("u1");
    request.args.set("deep", nested(JsonLimits{}.max_depth - 1));
    ASSERT_TRUE(Json::parse(request.args.dump())) << "the bus brings it";
    const auto entry = journal->record(request).value().entry;
    Json state = Json::object();
    state.set("version", 1).set("to_send", Json::Array{Json::object().set("args", request.args)});
    ASSERT_TRUE(journal->set_step(entry, "hand over", state));
    for (int restart = 0; restart < 2; ++restart) {
        const auto entries = journal->open_entries().value();
        ASSERT_EQ(entries.size(), 1U);
        EXPECT_EQ(entries[0].request.args, request.args);
        EXPECT_EQ(entries[0].step_data, state);
        journal.reset();
        journal = open();
    }
}

TEST_F(JournalTest, WhatCouldNotBeReadBackIsRefused) {
    const auto journal = open();
    const auto entry = journal->record(build_request("u1")).value().entry;
    const auto deep = journal->set_step(entry, "spawning", nested(document_limits.max_depth + 1));
    ASSERT_FALSE(deep);
    EXPECT_EQ(deep.error().code, Code::InvalidArgument);
    EXPECT_THAT(deep.error().text, HasSubstr("step data of journal entry 1 for step spawning"));
    EXPECT_THAT(deep.error().text, HasSubstr(cat("deeper than ", document_limits.max_depth)));
    auto request = build_request("u2");
    request.args = nested(document_limits.max_depth + 1);
    EXPECT_EQ(journal->record(request).error().code, Code::InvalidArgument);
    EXPECT_EQ(journal->open_entries().value().size(), 1U);
    EXPECT_TRUE(journal->open_entries().value().at(0).step_data.is_null());
}

TEST_F(JournalTest, BytesThatAreNoTextDoNotMakeAnEntryUnreadable) {
    const auto journal = open();
    const auto entry = journal->record(build_request("u1")).value().entry;
    ASSERT_TRUE(journal->set_step(entry, "undo", Json::object().set("error", "qemu: \xff\xfe")));
    EXPECT_EQ(journal->open_entries().value().at(0).step_data["error"].as_string(),
              "qemu: \ufffd\ufffd");
}

class JournalAttemptsTest : public JournalTest {
  protected:
    /// Another process; the one before was killed unless it ended with `stop`.
    unsigned attempts_of_the_next_process() {
        journal_.reset();
        journal_ = open();
        return journal_->open_entries().value().at(0).attempts;
    }

    std::unique_ptr<Journal> journal_ = open();
    EntryId entry_ = journal_->record(build_request("u1")).value().entry;
};

TEST_F(JournalAttemptsTest, ADeathOverAStepCountsOnce) {
    ASSERT_TRUE(journal_->set_step(entry_, "spawning"));
    EXPECT_EQ(journal_->open_entries().value().at(0).attempts, 1U);
    EXPECT_EQ(attempts_of_the_next_process(), 2U);
    EXPECT_EQ(attempts_of_the_next_process(), 2U) << "that one had not begun yet";
    ASSERT_TRUE(journal_->begin(entry_));
    EXPECT_EQ(attempts_of_the_next_process(), 3U);
}

TEST_F(JournalAttemptsTest, WhoWaitsIsNotCounted) {
    EXPECT_EQ(attempts_of_the_next_process(), 1U);
    ASSERT_TRUE(journal_->begin(entry_));
    ASSERT_TRUE(journal_->set_step(entry_, "spawning"));
    ASSERT_TRUE(journal_->suspend(entry_));
    EXPECT_EQ(attempts_of_the_next_process(), 1U);
    EXPECT_EQ(journal_->open_entries().value().at(0).step, "spawning");
}

TEST_F(JournalAttemptsTest, AnOrderlyEndIsNotCountedEvenWhenWorkGoesOn) {
    for (int outage = 0; outage < 5; ++outage) {
        ASSERT_TRUE(journal_->set_step(entry_, "spawning"));
        ASSERT_TRUE(journal_->stop());
        ASSERT_TRUE(journal_->set_step(entry_, "networking"));
        ASSERT_TRUE(journal_->begin(entry_));
        EXPECT_EQ(attempts_of_the_next_process(), 1U);
    }
    EXPECT_EQ(journal_->open_entries().value().at(0).step, "networking");
}

TEST_F(JournalAttemptsTest, MarksAreForOpenEntriesOnly) {
    EXPECT_EQ(journal_->begin(4711).error().code, Code::NotFound);
    EXPECT_EQ(journal_->suspend(4711).error().code, Code::NotFound);
    ASSERT_TRUE(journal_->close(entry_, Outcome::Done));
    EXPECT_EQ(journal_->begin(entry_).error().code, Code::NotFound);
}

/// Made by the novalet that had schema version 1.
TEST_F(JournalTest, AFileOfVersion1IsRead) {
    std::filesystem::create_directories(options_.path.parent_path());
    std::filesystem::copy_file(
        cat(NOVALET_SOURCE_DIR, "/tests/unit/agent/journal/data/version_1.sqlite"), options_.path);
    clock_.set_wall(WallTime(Seconds(1'790'000'100))); // soon after it was made
    for (int restart = 0; restart < 2; ++restart) {
        const auto journal = open();
        EXPECT_FALSE(journal->damaged_copy());
        const auto entries = journal->open_entries().value();
        ASSERT_EQ(entries.size(), 2U);
        EXPECT_EQ(entries[0].id, 2);
        EXPECT_EQ(entries[0].request.unique_id, "u-build");
        EXPECT_EQ(entries[0].request.method, "build_and_run_instance");
        EXPECT_EQ(entries[0].request.args["admin_password"].as_string(), "s\u00e9same");
        EXPECT_EQ(entries[0].request.context["auth_token"].as_string(), "token-1");
        EXPECT_EQ(entries[0].accepted_at, WallTime(Seconds(1'790'000'000)));
        EXPECT_EQ(entries[0].step, "networking");
        EXPECT_EQ(entries[0].step_data["port"].as_string(), "p1");
        EXPECT_EQ(entries[0].attempts, 1U);
        EXPECT_EQ(entries[1].request.method, "reboot_instance");
        EXPECT_EQ(entries[1].request.name_space, "baseapi");
        EXPECT_EQ(entries[1].request.message_id, "m1");
        EXPECT_EQ(entries[1].request.reply_queue, "reply_1");
        EXPECT_TRUE(entries[1].step_data.is_null());
        EXPECT_FALSE(journal->record(build_request("u-done")).value().fresh);
    }
    const auto journal = open();
    EXPECT_GT(journal->record(build_request("new")).value().entry, 3);
}

TEST_F(JournalTest, WhatWasAcceptedSurvivesAKill) {
    std::filesystem::create_directories(options_.path.parent_path());
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        auto journal = Journal::open(options_, clock_);
        if (!journal || !(*journal)->record(build_request("u1")) ||
            !(*journal)->set_step(1, "spawning"))
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    const auto entries = open()->open_entries().value();
    ASSERT_EQ(entries.size(), 1U);
    EXPECT_EQ(entries[0].step, "spawning");
}

} // namespace
} // namespace novalet::journal
