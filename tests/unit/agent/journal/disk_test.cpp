// A disk that is full, or does not read and write, while the journal is open.
#include "agent/core/text.hpp"
#include "agent/journal/database.hpp"
#include "agent/journal/journal.hpp"
#include "tests/support/fake_clock.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/unit/agent/journal/faulty_disk.hpp"

#include <csignal>
#include <gmock/gmock.h>
#include <set>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace novalet::journal {
namespace {

using testing::HasSubstr;
using tests::FaultyDisk;

Accepted request_of(const std::string& unique_id) {
    Accepted request;
    request.unique_id = unique_id;
    request.method = "stop_instance";
    request.args.set("clean_shutdown", true);
    request.context.set("request_id", "req-1");
    return request;
}

class JournalDiskTest : public testing::Test {
  protected:
    std::unique_ptr<Journal> open() {
        auto journal = Journal::open({path_}, clock_);
        EXPECT_TRUE(journal) << (journal ? "" : journal.error().text);
        return journal ? std::move(*journal) : nullptr;
    }
    static std::vector<std::string> ids(Journal& journal) {
        std::vector<std::string> out;
        const auto entries = journal.open_entries().value();
        for (const auto& entry : entries)
            out.push_back(entry.request.unique_id);
        return out;
    }
    /// In a process of its own, which dies without an orderly end; 0 = as it should be.
    template <class Body> static int in_a_process(Body body) {
        const pid_t child = fork();
        if (child == 0) {
            signal(SIGXFSZ, SIG_IGN);
            _exit(body());
        }
        int status = 0;
        EXPECT_EQ(waitpid(child, &status, 0), child);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    /// No byte of a file beyond this one can be written by this process, as when the disk is full.
    static void limit_files(rlim_t bytes) {
        rlimit limit{};
        getrlimit(RLIMIT_FSIZE, &limit);
        limit.rlim_cur = bytes;
        setrlimit(RLIMIT_FSIZE, &limit);
    }

    tests::TemporaryFolder folder_{tests::memory_folder()}; // many journals are made
    tests::FakeClock clock_;
    std::filesystem::path path_ = folder_ / "novalet/journal.sqlite";
};

TEST_F(JournalDiskTest, AFullDiskIsSaidAndAKeptCloseIsWrittenWhenThereIsRoom) {
    enum Wrong : int { None, Open, Record, Step, Close, Retry, Room, Owed };
    const int wrong = in_a_process([&]() -> int {
        auto journal = Journal::open({path_}, clock_);
        if (!journal)
            return Open;
        const auto one = (*journal)->record(request_of("u1"));
        const auto two = (*journal)->record(request_of("u2"));
        if (!one || !two)
            return Record;
        limit_files(1);
        const auto step = (*journal)->set_step(one->entry, "power_off");
        if (step || step.error().code != Code::ResourceExhausted ||
            step.error().text.find("power_off") == std::string::npos)
            return Step;
        const auto closed = (*journal)->close(two->entry, Outcome::Failed, "as it was");
        if (closed || closed.error().code != Code::ResourceExhausted ||
            (*journal)->owed_closes() != 1)
            return Close;
        if ((*journal)->retry_closes() || (*journal)->record(request_of("u3")))
            return Retry;
        limit_files(RLIM_INFINITY);
        if (!(*journal)->set_step(one->entry, "destroy"))
            return Room;
        return (*journal)->owed_closes() == 0 ? None : Owed;
    });
    ASSERT_EQ(wrong, None);
    const auto journal = open();
    EXPECT_FALSE(journal->damaged_copy());
    EXPECT_EQ(ids(*journal), (std::vector<std::string>{"u1"}));
    EXPECT_EQ(journal->open_entries().value()[0].step, "destroy");
    EXPECT_FALSE(journal->record(request_of("u2")).value().fresh);
    EXPECT_TRUE(journal->record(request_of("u3")).value().fresh);
}

TEST_F(JournalDiskTest, TheRoomThatTheWalHasIsUsedAgainWhenTheDiskIsFull) {
    const int wrong = in_a_process([&]() -> int {
        auto journal = Journal::open({path_}, clock_);
        const auto entry = journal ? (*journal)->record(request_of("u1")) : Admission{};
        for (int i = 0; i < 20; ++i)
            if (!entry || !(*journal)->set_step(entry->entry, cat("step ", i)))
                return 1;
        limit_files(std::filesystem::file_size(path_.string() + "-wal"));
        for (int i = 0; i < 100; ++i)
            if (!(*journal)->set_step(entry->entry, cat("late ", i)))
                return 2;
        return (*journal)->close(entry->entry, Outcome::Done) ? 0 : 3;
    });
    EXPECT_EQ(wrong, 0);
    EXPECT_TRUE(ids(*open()).empty());
}

TEST_F(JournalDiskTest, AWriteThatFailsIsAnErrorAndNothingOfItIsThere) {
    FaultyDisk disk;
    const auto journal = open();
    const auto entry = journal->record(request_of("u1")).value().entry;
    ASSERT_TRUE(journal->set_step(entry, "first"));
    for (const int code : {SQLITE_IOERR_WRITE, SQLITE_FULL, SQLITE_IOERR_FSYNC}) {
        disk.fail(code == SQLITE_IOERR_FSYNC ? FaultyDisk::Sync : FaultyDisk::Write, code);
        const auto step = journal->set_step(entry, "second");
        ASSERT_FALSE(step) << code;
        EXPECT_EQ(step.error().code,
                  code == SQLITE_FULL ? Code::ResourceExhausted : Code::Unavailable);
        EXPECT_THAT(step.error().text, HasSubstr(path_.string()));
        EXPECT_FALSE(journal->record(request_of("u2")));
        disk.mend();
        EXPECT_EQ(journal->open_entries().value().at(0).step, "first");
        EXPECT_FALSE(journal->damaged_copy()) << "it is not damaged";
    }
    EXPECT_TRUE(journal->set_step(entry, "second"));
    EXPECT_EQ(ids(*journal), (std::vector<std::string>{"u1"}));
}

TEST_F(JournalDiskTest, ACloseThatFailedIsKeptUntilItIsWritten) {
    FaultyDisk disk;
    auto journal = open();
    const auto one = journal->record(request_of("u1")).value().entry;
    const auto two = journal->record(request_of("u2")).value().entry;
    disk.fail(FaultyDisk::Write, SQLITE_IOERR_WRITE);
    const auto closed = journal->close(one, Outcome::Rescheduled, "first");
    ASSERT_FALSE(closed);
    EXPECT_EQ(closed.error().code, Code::Unavailable);
    EXPECT_THAT(closed.error().text, HasSubstr("tried again"));
    EXPECT_FALSE(journal->close(one, Outcome::Done, "second"));
    EXPECT_EQ(journal->owed_closes(), 1U);
    EXPECT_FALSE(journal->retry_closes());
    EXPECT_FALSE(journal->stop());
    EXPECT_EQ(ids(*journal), (std::vector<std::string>{"u2"})) << "to this process it is over";
    EXPECT_EQ(journal->set_step(one, "spawning").error().code, Code::NotFound);
    disk.mend();
    EXPECT_TRUE(journal->retry_closes());
    EXPECT_EQ(journal->owed_closes(), 0U);
    EXPECT_TRUE(journal->close(two, Outcome::Done));
    journal.reset();
    EXPECT_TRUE(ids(*open()).empty());
    auto database = Database::open(path_).value();
    ASSERT_TRUE(database.execute("PRAGMA locking_mode = EXCLUSIVE")); // no shared memory here
    EXPECT_EQ(database.value_of("SELECT note FROM requests WHERE id = 1").value(), "first");
}

/// Each call to the disk of a whole life fails once: what was said to be written is there.
TEST_F(JournalDiskTest, WhicheverCallFailsWhatWasSaidToBeWrittenIsThere) {
    bool failed = true;
    int nth = 1;
    for (; failed && nth < 2000 && !HasFailure(); ++nth)
        for (const int code : {SQLITE_IOERR_WRITE, SQLITE_FULL}) {
            std::filesystem::remove_all(path_.parent_path());
            FaultyDisk disk;
            std::set<std::string> expected;
            std::set<std::string> unknown; // an error was reported
            disk.fail(FaultyDisk::Write | FaultyDisk::Sync | FaultyDisk::Truncate, code, nth, 1);
            {
                auto opened = Journal::open({path_}, clock_);
                if (opened) {
                    auto& journal = **opened;
                    for (const char* id : {"u1", "u2", "u3"}) {
                        const auto admission = journal.record(request_of(id));
                        if (!admission) {
                            EXPECT_FALSE(ids(journal).size() > expected.size());
                            unknown.insert(id);
                            continue;
                        }
                        expected.insert(id);
                        discard(journal.set_step(admission->entry, "step"), "this or nothing");
                    }
                    if (expected.contains("u2")) {
                        const auto entries = journal.open_entries().value();
                        for (const auto& entry : entries)
                            if (entry.request.unique_id == "u2")
                                discard(journal.close(entry.id, Outcome::Done), "kept");
                        EXPECT_TRUE(journal.retry_closes()) << "it was one call only";
                        expected.erase("u2");
                    }
                }
                failed = disk.has_failed();
                disk.mend();
            }
            const auto journal = open();
            ASSERT_TRUE(journal) << nth;
            EXPECT_FALSE(journal->damaged_copy()) << nth;
            for (const auto& id : ids(*journal))
                EXPECT_TRUE(expected.erase(id) == 1 || unknown.contains(id)) << nth << ' ' << id;
            EXPECT_TRUE(expected.empty()) << nth << ": lost";
        }
    EXPECT_GT(nth, 20) << "hardly a call was tried";
    EXPECT_LT(nth, 2000);
}

/// The same for reads that fail or bring nonsense: the file is replaced, nothing is lost.
TEST_F(JournalDiskTest, AFileThatCannotBeReadIsReplacedFromMemory) {
    for (const int code : {SQLITE_IOERR_READ, SQLITE_CORRUPT, SQLITE_NOTADB}) {
        std::filesystem::remove_all(path_.parent_path());
        FaultyDisk disk;
        auto journal = open();
        // More than SQLite's cache holds.
        auto large = request_of("large");
        large.args.set("blob", std::string(2U << 20U, 'b'));
        const auto entry = journal->record(large).value().entry;
        const auto small = journal->record(request_of("small")).value().entry;
        ASSERT_TRUE(journal->set_step(small, "spawning"));
        disk.fail(FaultyDisk::Read, code, 1, 1);
        for (int i = 0; i < 50 && !disk.has_failed(); ++i) {
            EXPECT_TRUE(journal->set_step(entry, "spawning"));
            EXPECT_TRUE(journal->record(request_of(cat("u", i))));
        }
        EXPECT_TRUE(journal->close(entry, Outcome::Done));
        ASSERT_TRUE(disk.has_failed());
        EXPECT_TRUE(journal->damaged_copy()) << code;
        disk.mend();
        const auto before = ids(*journal);
        EXPECT_EQ(journal->open_entries().value().at(0).step, "spawning");
        EXPECT_FALSE(journal->record(large).value().fresh);
        journal.reset();
        EXPECT_EQ(ids(*open()), before);
    }
}

TEST_F(JournalDiskTest, ADiskThatIsGoneIsAnErrorUntilItIsBack) {
    FaultyDisk disk;
    auto journal = open();
    const auto entry = journal->record(request_of("u1")).value().entry;
    std::filesystem::remove(path_);
    disk.fail(FaultyDisk::Write, SQLITE_IOERR_WRITE);
    const auto step = journal->set_step(entry, "spawning");
    ASSERT_FALSE(step);
    EXPECT_THAT(step.error().text, HasSubstr("the file was removed"));
    EXPECT_FALSE(journal->close(entry, Outcome::Done));
    disk.mend();
    EXPECT_TRUE(journal->record(request_of("u2")));
    EXPECT_EQ(journal->owed_closes(), 0U);
    journal.reset();
    EXPECT_EQ(ids(*open()), (std::vector<std::string>{"u2"}));
}

TEST_F(JournalDiskTest, MarksCostNoFsyncAndStepsCostOne) {
    FaultyDisk disk;
    const auto journal = open();
    const auto entry = journal->record(request_of("u1")).value().entry;
    ASSERT_TRUE(journal->set_step(entry, "warm"));
    const int before = disk.syncs();
    ASSERT_TRUE(journal->suspend(entry));
    ASSERT_TRUE(journal->begin(entry));
    ASSERT_TRUE(journal->set_step(entry, "look", {}, Durability::Process));
    EXPECT_EQ(disk.syncs(), before);
    ASSERT_TRUE(journal->set_step(entry, "effect"));
    EXPECT_EQ(disk.syncs(), before + 1);
}

} // namespace
} // namespace novalet::journal
