// Files that are not what the journal left, at its start and while it is open.
#include "agent/core/file.hpp"
#include "agent/core/text.hpp"
#include "agent/journal/database.hpp"
#include "agent/journal/journal.hpp"
#include "tests/support/fake_clock.hpp"
#include "tests/support/temporary_folder.hpp"

#include <algorithm>
#include <fstream>
#include <gmock/gmock.h>
#include <random>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace novalet::journal {
namespace {

using testing::HasSubstr;

Accepted request_of(const std::string& unique_id) {
    Accepted request;
    request.unique_id = unique_id;
    request.method = "build_and_run_instance";
    request.instance_uuid = "b2cdb0e6-7dd8-4a2f-8c5a-000000000001";
    request.args.set("filter_properties", Json::object());
    request.context.set("request_id", "req-1");
    return request;
}

void put(const std::filesystem::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

std::string with_bit(std::string bytes, std::size_t bit) {
    bytes[bit / 8] =
        static_cast<char>(static_cast<unsigned char>(bytes[bit / 8]) ^ (1U << (bit % 8)));
    return bytes;
}

class JournalDamageTest : public testing::Test {
  protected:
    JournalDamageTest() {
        std::filesystem::create_directory(path_.parent_path());
        chmod(path_.parent_path().c_str(), 0700);
    }

    std::unique_ptr<Journal> open() {
        auto journal = Journal::open({path_}, clock_);
        EXPECT_TRUE(journal) << (journal ? "" : journal.error().text);
        return journal ? std::move(*journal) : nullptr;
    }
    /// The bytes of a journal with one closed and two open entries, none of it in a WAL.
    std::string sample() {
        {
            const auto journal = open();
            const auto closed = journal->record(request_of("closed")).value().entry;
            EXPECT_TRUE(journal->close(closed, Outcome::Done));
            EXPECT_TRUE(journal->record(request_of("u1")));
            const auto second = journal->record(request_of("u2")).value().entry;
            EXPECT_TRUE(journal->set_step(second, "spawning", Json::object().set("version", 1)));
        }
        return read_file(path_).value();
    }
    /// The same bytes while a WAL holds all changes: a process that was killed leaves this.
    void leave_wal() {
        sample();
        const pid_t child = fork();
        if (child == 0) {
            auto journal = Journal::open({path_}, clock_);
            const bool good = journal && (*journal)->record(request_of("u3")) &&
                              (*journal)->record(request_of("u4"));
            _exit(good ? 0 : 1); // no destructors: the WAL stays
        }
        int status = 0;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        ASSERT_EQ(status, 0);
        ASSERT_GT(std::filesystem::file_size(wal_), 0U);
    }
    void clear() {
        for (const auto& file : std::filesystem::directory_iterator(path_.parent_path()))
            std::filesystem::remove_all(file.path());
    }
    static std::vector<std::string> ids(Journal& journal) {
        std::vector<std::string> out;
        const auto entries = journal.open_entries();
        EXPECT_TRUE(entries) << (entries ? "" : entries.error().text);
        if (entries)
            for (const auto& entry : *entries)
                out.push_back(entry.request.unique_id);
        return out;
    }
    /// Whatever lies there: either all of it is read, or it is moved aside and a new journal works.
    /// Returns whether it was moved aside.
    bool opens_with_all_or_anew(const std::string& what) {
        auto journal = open();
        if (!journal) {
            ADD_FAILURE() << what << ": the start ends";
            return false;
        }
        const bool moved = journal->damaged_copy().has_value();
        std::vector<std::string> expected;
        if (!moved)
            expected = {"u1", "u2"};
        EXPECT_EQ(ids(*journal), expected) << what;
        const auto next = journal->record(request_of("next"));
        EXPECT_TRUE(next && next->fresh) << what;
        expected.emplace_back("next");
        journal.reset();
        journal = open();
        EXPECT_TRUE(journal) << what << ": the second start ends";
        if (journal) {
            EXPECT_EQ(ids(*journal), expected) << what;
            EXPECT_FALSE(journal->damaged_copy()) << what << ": moved aside a second time";
        }
        return moved;
    }

    tests::TemporaryFolder folder_{tests::memory_folder()}; // thousands of journals are opened
    tests::FakeClock clock_;
    std::filesystem::path path_ = folder_ / "novalet/journal.sqlite";
    std::filesystem::path wal_ = path_.string() + "-wal";
};

TEST_F(JournalDamageTest, NoBitOfTheHeaderStopsTheHost) {
    const auto good = sample();
    std::size_t moved = 0;
    for (std::size_t bit = 0; bit < 108U * 8U && !HasFailure(); ++bit) {
        clear();
        put(path_, with_bit(good, bit));
        moved += opens_with_all_or_anew(cat("bit ", bit % 8, " of byte ", bit / 8)) ? 1U : 0U;
    }
    EXPECT_GT(moved, 128U) << "the magic alone has as many bits";
}

TEST_F(JournalDamageTest, NoBitOfTheFirstPageStopsTheHost) {
    const auto good = sample();
    for (std::size_t bit = 108U * 8U; bit < 800U * 8U; ++bit) {
        const auto bytes = with_bit(good, bit);
        put(path_, bytes);
        {
            const auto journal = open();
            ASSERT_TRUE(journal) << bit;
            ASSERT_EQ(ids(*journal).size(), journal->damaged_copy() ? 0U : 2U) << bit;
        }
        if (read_file(path_).value() != bytes)
            clear();
    }
}

TEST_F(JournalDamageTest, NoByteOfTheHeaderStopsTheHost) {
    const auto good = sample();
    std::mt19937 random(4711); // NOLINT: the same bytes every time
    for (std::size_t at = 0; at < 108 && !HasFailure(); ++at)
        for (const unsigned value : {0U, 0xffU, static_cast<unsigned>(random() % 256)}) {
            clear();
            auto bytes = good;
            bytes[at] = static_cast<char>(value);
            put(path_, bytes);
            opens_with_all_or_anew(cat("byte ", at, " is ", value));
        }
}

TEST_F(JournalDamageTest, ACutFileIsMovedAside) {
    const auto good = sample();
    for (std::size_t bytes = 0; bytes < good.size() && !HasFailure(); bytes += 2048) {
        clear();
        put(path_, good.substr(0, bytes));
        EXPECT_TRUE(opens_with_all_or_anew(cat(bytes, " bytes are left")));
    }
}

TEST_F(JournalDamageTest, RandomBytesAreMovedAside) {
    std::mt19937 random(4712); // NOLINT: the same bytes every time
    for (const std::size_t size : {1U, 99U, 100U, 512U, 4096U, 20000U}) {
        clear();
        std::string bytes(size, '\0');
        std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<char>(random()); });
        put(path_, bytes);
        EXPECT_TRUE(opens_with_all_or_anew(cat(size, " random bytes")));
    }
}

TEST_F(JournalDamageTest, RubbishBesideTheFileDoesNoHarm) {
    const auto good = sample();
    for (const char* suffix : {"-wal", "-shm", "-journal", ".new"})
        for (const auto& rubbish : {std::string("x"), std::string(9000, '\xd9')}) {
            clear();
            put(path_, good);
            put(path_.string() + suffix, rubbish);
            const auto journal = open();
            ASSERT_TRUE(journal);
            EXPECT_EQ(ids(*journal), (std::vector<std::string>{"u1", "u2"})) << suffix;
            const std::string name = suffix;
            EXPECT_EQ(journal->damaged_copy().has_value(), name == "-wal" || name == "-journal");
        }
    for (const char* suffix : {"-wal", "-shm", "-journal"}) {
        clear();
        put(path_, good);
        std::filesystem::create_directory(path_.string() + suffix);
        EXPECT_EQ(ids(*open()), (std::vector<std::string>{"u1", "u2"})) << suffix;
    }
}

TEST_F(JournalDamageTest, AWalOfAKilledProcessIsReadUpToWhereItIsDamagedAndThatIsSaid) {
    leave_wal();
    const auto file = read_file(path_).value();
    const auto wal = read_file(wal_).value();
    {
        const auto journal = open();
        EXPECT_EQ(ids(*journal), (std::vector<std::string>{"u1", "u2", "u3", "u4"}));
        EXPECT_FALSE(journal->damaged_copy()) << "nothing is wrong with it";
    }
    for (std::size_t byte = 0; byte < wal.size() && !HasFailure(); byte += byte < 64 ? 1 : 509) {
        clear();
        put(path_, file);
        auto bytes = wal;
        bytes[byte] = static_cast<char>(static_cast<unsigned char>(bytes[byte]) ^ 0x10U);
        put(wal_, bytes);
        const auto journal = open();
        ASSERT_TRUE(journal) << byte;
        const auto left = ids(*journal);
        ASSERT_GE(left.size(), 2U) << byte;
        EXPECT_EQ(left[0], "u1");
        EXPECT_EQ(left[1], "u2");
        ASSERT_TRUE(journal->damaged_copy()) << byte << " of the WAL: lost without a word";
        EXPECT_EQ(read_file(*journal->damaged_copy()).value(), bytes);
        EXPECT_TRUE(journal->record(request_of("next")).value().fresh);
    }
}

TEST_F(JournalDamageTest, AMissingFileWithItsWalThereIsDamage) {
    leave_wal();
    std::filesystem::remove(path_);
    const auto journal = open();
    ASSERT_TRUE(journal->damaged_copy());
    EXPECT_TRUE(std::filesystem::exists(*journal->damaged_copy()));
    EXPECT_TRUE(journal->record(request_of("u1")).value().fresh);
}

TEST_F(JournalDamageTest, WhatIsNoFileIsRefusedWithItsName) {
    std::filesystem::create_directory(path_);
    const auto in_place = Journal::open({path_}, clock_);
    ASSERT_FALSE(in_place);
    EXPECT_THAT(in_place.error().text, HasSubstr(path_.string() + " is a folder"));
    std::filesystem::remove(path_);
    ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
    const auto pipe = Journal::open({path_}, clock_);
    ASSERT_FALSE(pipe);
    EXPECT_THAT(pipe.error().text, HasSubstr("not a regular file"));
}

TEST_F(JournalDamageTest, AReadOnlyFileIsReadOrRefusedButNeverReplaced) {
    const auto good = sample();
    ASSERT_EQ(chmod(path_.c_str(), 0400), 0);
    const auto journal = Journal::open({path_}, clock_);
    if (geteuid() == 0) { // to whom modes mean nothing: it is made writable again
        ASSERT_TRUE(journal);
        EXPECT_EQ(ids(**journal), (std::vector<std::string>{"u1", "u2"}));
    } else {
        ASSERT_FALSE(journal);
        EXPECT_EQ(journal.error().code, Code::Unauthorized);
        EXPECT_THAT(journal.error().text, HasSubstr(path_.string()));
        EXPECT_EQ(read_file(path_).value(), good);
    }
}

class JournalLossTest : public JournalDamageTest {
  protected:
    void SetUp() override {
        sample();
        journal_ = open();
        ASSERT_TRUE(journal_);
        const auto entries = journal_->open_entries().value();
        ASSERT_EQ(entries.size(), 2U);
        second_ = entries[1].id;
    }
    /// The entries are there, in this process and for the next one; closed ids are known.
    void expect_nothing_lost() {
        const auto next = journal_->record(request_of("next"));
        ASSERT_TRUE(next) << next.error().text;
        EXPECT_GT(next->entry, second_) << "a number was given twice";
        EXPECT_FALSE(journal_->record(request_of("closed")).value().fresh);
        EXPECT_EQ(ids(*journal_), (std::vector<std::string>{"u1", "u2", "next"}));
        ASSERT_TRUE(journal_->set_step(second_, "networking", Json::object().set("port", "p")));
        journal_.reset();
        const auto again = open();
        EXPECT_FALSE(again->damaged_copy());
        const auto entries = again->open_entries().value();
        ASSERT_EQ(entries.size(), 3U);
        EXPECT_EQ(entries[0].request.args, request_of("u1").args);
        EXPECT_EQ(entries[0].request.context, request_of("u1").context);
        EXPECT_EQ(entries[1].id, second_);
        EXPECT_EQ(entries[1].step, "networking");
        EXPECT_EQ(entries[1].step_data["port"].as_string(), "p");
    }
    /// What this process has in its cache is read from the file again.
    void overwrite(std::size_t from) {
        auto bytes = read_file(path_).value();
        std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(from), bytes.end(), '\xdb');
        std::fstream(path_, std::ios::binary | std::ios::in | std::ios::out) << bytes;
    }

    std::unique_ptr<Journal> journal_;
    EntryId second_ = 0;
};

TEST_F(JournalLossTest, ARemovedFileIsWrittenAnew) {
    std::filesystem::remove(path_);
    expect_nothing_lost();
}

TEST_F(JournalLossTest, ARemovedFolderContentIsWrittenAnew) {
    ASSERT_TRUE(journal_->record(request_of("closed"))); // a WAL is there
    clear();
    expect_nothing_lost();
}

TEST_F(JournalLossTest, AReplacedFileIsMovedAside) {
    std::filesystem::remove(path_);
    put(path_, std::string(100000, 'x'));
    ASSERT_TRUE(journal_->suspend(second_));
    ASSERT_TRUE(journal_->damaged_copy());
    EXPECT_EQ(read_file(*journal_->damaged_copy()).value(), std::string(100000, 'x'));
    expect_nothing_lost();
}

TEST_F(JournalLossTest, ACutFileIsWrittenAnew) {
    ASSERT_EQ(truncate(path_.c_str(), 4096), 0);
    expect_nothing_lost();
}

TEST_F(JournalLossTest, AnEmptiedFileIsWrittenAnew) {
    ASSERT_EQ(truncate(path_.c_str(), 0), 0);
    expect_nothing_lost();
}

TEST_F(JournalLossTest, ACutWalIsWrittenAnew) {
    ASSERT_TRUE(journal_->set_step(second_, "block_device_mapping"));
    ASSERT_EQ(truncate(wal_.c_str(), 100), 0);
    expect_nothing_lost();
}

TEST_F(JournalLossTest, ALossIsFoundByAQuestionToo) {
    std::filesystem::remove(path_);
    EXPECT_EQ(ids(*journal_), (std::vector<std::string>{"u1", "u2"}));
    EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(JournalLossTest, AnOrderlyEndFindsALoss) {
    std::filesystem::remove(path_);
    ASSERT_TRUE(journal_->stop());
    journal_.reset();
    EXPECT_EQ(ids(*open()), (std::vector<std::string>{"u1", "u2"}));
}

TEST_F(JournalLossTest, DamagedPagesOfALargeFileAreNoticedAndWrittenAnew) {
    // More than the cache holds, so that pages are read again.
    auto large = request_of("large");
    large.args.set("blob", std::string(3U << 20U, 'b'));
    const auto entry = journal_->record(large).value().entry;
    ASSERT_TRUE(journal_->close(entry, Outcome::Done));
    const auto other = journal_->record(large).value();
    EXPECT_FALSE(other.fresh);
    journal_.reset();
    for (int i = 0; i < 3; ++i) {
        const auto filler = open();
        for (int one = 0; one < 200; ++one)
            ASSERT_TRUE(
                filler->record(request_of(cat("filler-", i, '-', one, std::string(3000, 'f')))));
    }
    journal_ = open();
    const auto before = ids(*journal_).size();
    overwrite(4096);
    // Closing touches the pages of every entry, those outside of the cache included.
    const auto entries = journal_->open_entries().value();
    for (std::size_t i = 0; i < 100; ++i)
        ASSERT_TRUE(journal_->close(entries[i + 2].id, Outcome::Done));
    EXPECT_TRUE(journal_->damaged_copy());
    EXPECT_EQ(ids(*journal_).size(), before - 100);
    journal_.reset();
    EXPECT_EQ(ids(*open()).size(), before - 100);
}

TEST_F(JournalDamageTest, ANewerNovaletIsToldFromABitThatFellOver) {
    sample();
    {
        auto database = Database::open(path_).value();
        ASSERT_TRUE(database.execute("PRAGMA user_version = 3"));
    }
    EXPECT_TRUE(open()->damaged_copy()) << "its content still says 2";
    clear();
    sample();
    {
        auto database = Database::open(path_).value();
        // FNV-1a, 32 bits, of "novalet journal 3".
        std::uint32_t sum = 2166136261U;
        for (const char c : std::string_view("novalet journal 3"))
            sum = (sum ^ static_cast<unsigned char>(c)) * 16777619U;
        ASSERT_TRUE(database.execute(cat("PRAGMA user_version = 3; "
                                         "UPDATE format SET version = 3, checksum = ",
                                         sum)));
    }
    const auto good = read_file(path_).value();
    const auto newer = Journal::open({path_}, clock_);
    ASSERT_FALSE(newer);
    EXPECT_EQ(newer.error().code, Code::Unsupported);
    EXPECT_THAT(newer.error().text, HasSubstr("schema version 3 is newer"));
    EXPECT_EQ(read_file(path_).value(), good) << "it is left alone";
}

} // namespace
} // namespace novalet::journal
