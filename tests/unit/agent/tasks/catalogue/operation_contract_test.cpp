// The contract of every operation in the catalogue: whatever happens at whatever call, nothing is
// left without an owner, and the records are those that nova-compute would leave.
#include "operation_scenarios.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <optional>

namespace novalet::tests {
namespace {

using tasks::MigrationAfter;
using tasks::Row;
using tasks::VmStateAfter;

/// One server and one operation on it, to its end.
class Trial {
  public:
    Trial(const Row& row, const Scenario& scenario) : row_(row), scenario_(scenario) {
        scenario_.prepare(host);
        const auto before = host.bench.bus.instance(server_uuid);
        vm_before_ = before["vm_state"].as_string();
        task_before_ = before["task_state"].as_string("None");
        host.interference.on_delete = [this] { delete_server(); };
    }

    void plan(const CallPoint& point, Mishap mishap) {
        host.interference.plan(point, mishap);
        point_ = point;
        mishap_ = mishap;
    }
    void expect_failure() { must_fail_ = true; }
    /// From this call on the journal cannot be written, until the next process.
    void break_journal_at(const CallPoint& point) {
        journal_breaks_ = true;
        host.interference.on_watched = [this] { broken_.emplace(host.bench.folder.path()); };
        host.interference.watch(point);
    }

    void go() {
        host.bench.send(std::string(row_.facts->name), scenario_.arguments(host));
        settled_ = host.settle();
        if (!journal_breaks_)
            return;
        settled_ = settled_ && !host.interference.dead();
        broken_.reset();
        host.start_again();
        settled_ = settled_ && host.settle();
    }
    [[nodiscard]] std::vector<CallPoint> calls() const { return host.interference.calls(); }

    /// What is not as it has to be.
    [[nodiscard]] std::vector<std::string> problems() {
        if (!settled_)
            return {"it does not come to an end"};
        check(host.interference.spent(), "the planned mishap did not happen");
        check(host.bench.open_entries() == 0, "a journal entry is open");
        check_owners();
        if (mishap_ == Mishap::Deleted && row_.facts->arguments.size() > 0 && deleted_) {
            check(gone(), cat("a deleted server is ", host.bench.states()));
            return problems_;
        }
        check_event();
        if (!failed_ && row_.make != nullptr)
            check_success();
        else
            check_failure();
        return problems_;
    }

    MortalHost host;

  private:
    void check(bool good, const std::string& problem) {
        if (!good)
            problems_.push_back(problem);
    }
    [[nodiscard]] bool gone() const {
        return host.bench.bus.instance(server_uuid)["deleted"].as_bool();
    }
    [[nodiscard]] bool killed() const {
        return journal_breaks_ || mishap_ == Mishap::KilledBefore || mishap_ == Mishap::KilledAfter;
    }
    /// The planned failure was that of this record itself: the record may lack.
    [[nodiscard]] bool refused_record(const char* call) const {
        return (mishap_ == Mishap::NovaException || mishap_ == Mishap::PlainError) && point_ &&
               point_->call.starts_with(call);
    }
    [[nodiscard]] bool may_be_repeated(const char* call) const {
        return killed() || (mishap_ == Mishap::AnswerLost && point_->call.starts_with(call));
    }

    /// As nova-api does it: at once where no host has the server, else through its host.
    void delete_server() {
        deleted_ = true;
        const auto record = host.bench.bus.instance(server_uuid);
        if (record["deleted"].as_bool())
            return;
        if (record["host"].as_string().empty()) {
            host.things.remove_ports_of(server_uuid);
            host.things.remove_allocation(server_uuid);
            host.bench.bus.change(server_uuid, "deleted", true);
            return;
        }
        host.bench.bus.change(server_uuid, "task_state", "deleting");
        host.bench.send("terminate_instance", host.bench.arguments().set("bdms", Json::array()));
    }

    void check_owners() {
        const auto owned = [&](const std::set<std::string>& servers, const char* what) {
            for (const auto& uuid : servers)
                check(host.is_here(uuid), cat("a ", what, " without an owner"));
        };
        std::set<std::string> guests;
        const auto list = host.bench.host->list();
        check(list.has_value(), "the guests cannot be listed");
        for (const auto& guest : *list)
            guests.insert(guest.uuid.str());
        owned(guests, "guest");
        owned(host.things.port_owners(), "port");
        owned(host.things.allocations(), "allocation");
        owned(host.things.claims(), "claim");
        if (!host.is_here(server_uuid) ||
            host.bench.bus.instance(server_uuid)["vm_state"].as_string() == "error")
            return;
        check(guests.contains(server_uuid), "a server without its guest");
        check(host.things.port_owners().contains(server_uuid), "a server without its port");
        if (!scenario_.allocation_is_given_back)
            check(host.things.allocations().contains(server_uuid),
                  "a server without its allocation");
        check(host.things.claims().contains(server_uuid), "a server without its claim");
    }

    void check_event() {
        const std::string event(row_.facts->event);
        if (event.empty()) {
            failed_ = row_.make == nullptr;
            return;
        }
        const auto begun = host.bench.diary.count(cat("InstanceActionEvent.event_start ", event));
        const auto ends =
            host.bench.diary.of(cat("InstanceActionEvent.event_finish_with_failure ", event));
        begun_ = begun > 0;
        failed_ = ends.empty() ? !begun_ || row_.make == nullptr : ends.back().ends_with(" Error");
        // Without its journal a process does not know what another one has recorded: events and
        // faults may be there again, but what the server is, and what is owned, must be right.
        if (journal_breaks_) {
            failed_ = row_.make == nullptr ||
                      (scenario_.done.empty() ? !gone() : host.bench.states() != scenario_.done);
            return;
        }
        if (!refused_record("InstanceActionEvent.event_start")) {
            check(begun >= 1, "the event was not started");
            check(begun <= (may_be_repeated("InstanceActionEvent.event_start") ? 2U : 1U),
                  cat("the event was started ", begun, " times"));
        }
        if (begun_ && !refused_record("InstanceActionEvent.event_finish")) {
            check(!ends.empty(), "the event was not finished");
            check(ends.size() <= (may_be_repeated("InstanceActionEvent.event_finish") ? 2U : 1U),
                  cat("the event was finished ", ends.size(), " times"));
        }
        for (const auto& end : ends)
            check(end == ends.back(), "the event was finished in two ways");
        if (is_build()) { // its event is one of success in any case
            check(!failed_, "the event of a build says Error");
            failed_ = host.bench.states() != scenario_.done;
        }
    }
    [[nodiscard]] bool is_build() const { return row_.facts->name == "build_and_run_instance"; }

    void check_success() {
        check(!must_fail_ || journal_breaks_, "it succeeds after a failure");
        check(scenario_.done.empty() ? gone() : host.bench.states() == scenario_.done,
              cat("after success the server is ", host.bench.states()));
        check(host.bench.bus.casts("build_instances").empty(),
              "built here and handed over as well");
        const bool fault_is_no_failure = row_.facts->name == "reboot_instance";
        check(host.bench.bus.faults().empty() || fault_is_no_failure || journal_breaks_,
              "a fault after a success");
    }

    void check_failure() {
        const bool waits = mishap_ && !journal_breaks_ && !must_fail_ &&
                           *mishap_ != Mishap::NovaException && *mishap_ != Mishap::PlainError &&
                           (killed() || (!point_->call.starts_with("networks.") &&
                                         !point_->call.starts_with("resources.") &&
                                         !point_->call.starts_with("allocations.")));
        if (row_.make != nullptr)
            check(!waits && (mishap_ || journal_breaks_ || must_fail_),
                  "it fails although nothing but an answer was lost");
        if (is_build())
            return check_failed_build();
        check_fault();
        check_states();
        check_migration();
    }
    void check_fault() {
        if (refused_record("InstanceFault") || (!begun_ && !row_.facts->event.empty()))
            return;
        const auto faults = host.bench.bus.faults().size();
        if (!row_.facts->on_failure.fault)
            return check(faults == 0, "a fault that Nova would not record");
        check(faults >= 1, "there is no fault");
        check(journal_breaks_ || faults <= (may_be_repeated("InstanceFault.create") ? 2U : 1U),
              cat("there are ", faults, " faults"));
    }
    void check_states() {
        const auto& policy = row_.facts->on_failure;
        if (row_.make == nullptr && refused_record("Instance.save"))
            return;
        // A reboot that failed over anything but the guest leaves the server as the guest is.
        const bool spared = row_.facts->name == "reboot_instance" &&
                            host.bench.guest_state() == hypervisor::PowerState::Running;
        const bool into_error =
            row_.make != nullptr && policy.vm_state == VmStateAfter::Error && begun_ && !spared;
        const std::string vm = into_error ? "error" : vm_before_;
        const std::string task = policy.reverts_task_state ? "None" : task_before_;
        // A refused save is made up for by the next one, as in Nova (reverts_task_state saves the
        // same object): the server is said to be what its guest is.
        const bool made_up = row_.make != nullptr && refused_record("Instance.save");
        const auto states = host.bench.states();
        check(made_up ? states.ends_with(cat('/', task)) : states == cat(vm, '/', task),
              cat("after the failure the server is ", states, ", not ", vm, '/', task));
    }
    void check_migration() {
        const auto migration = host.bench.bus.migration(migration_id);
        if (migration.is_null() || refused_record("Migration.save") || !begun_)
            return;
        const auto after = row_.facts->on_failure.migration;
        const std::string wanted = after == MigrationAfter::Untouched ? "preparing"
                                   : after == MigrationAfter::Failed  ? "failed"
                                                                      : "error";
        check(migration["status"].as_string() == wanted,
              cat("the migration is ", migration["status"].as_string(), ", not ", wanted));
    }
    void check_failed_build() {
        const auto record = host.bench.bus.instance(server_uuid);
        check(record["host"].is_null(), "a server that was not built has a host");
        std::set<std::string> messages;
        for (const auto& cast : host.bench.bus.casts("build_instances"))
            messages.insert(cast.target.message_id);
        if (host.bench.states() == "building/scheduling") {
            check(messages.size() == 1, cat(messages.size(), " messages hand the build over"));
            check(host.bench.bus.faults().empty(), "a fault of a build that goes on elsewhere");
            return;
        }
        check(host.bench.states() == "error/None",
              cat("a build that failed is ", host.bench.states()));
        check(messages.empty(), "a build in ERROR was handed over");
        check_fault();
    }

    const Row& row_;
    const Scenario& scenario_;
    std::string vm_before_;
    std::string task_before_;
    std::optional<CallPoint> point_;
    std::optional<Mishap> mishap_;
    std::optional<UnwritableJournal> broken_;
    std::vector<std::string> problems_;
    bool must_fail_ = false;
    bool journal_breaks_ = false;
    bool settled_ = false;
    bool deleted_ = false;
    bool begun_ = true;
    bool failed_ = false;
};

struct Case {
    const Row* row = nullptr;
    Scenario scenario;
};

std::vector<Case> cases() {
    std::vector<Case> out;
    for (const auto& row : tasks::catalogue()) {
        if (!row.has_effects())
            continue;
        if (row.make == nullptr) {
            for (auto& scenario : refusals_of(*row.facts))
                out.push_back({&row, std::move(scenario)});
            continue;
        }
        for (auto& scenario : scenarios_of(std::string(row.facts->name)))
            out.push_back({&row, std::move(scenario)});
    }
    return out;
}

class OperationContract : public testing::TestWithParam<Case> {
  protected:
    [[nodiscard]] static const Row& row() { return *GetParam().row; }
    [[nodiscard]] static const Scenario& scenario() { return GetParam().scenario; }

    static void expect_good(Trial& run, const std::string& what) {
        run.go();
        std::string all;
        for (const auto& problem : run.problems())
            all += cat("\n  - ", problem);
        std::string happened;
        if (!all.empty())
            for (const auto& line : run.host.bench.diary.lines())
                happened += cat("\n    ", line);
        EXPECT_EQ(all, "") << what << " of " << row().facts->name << "; what happened:" << happened;
        EXPECT_EQ(run.host.bench.bus.unknown(), std::vector<std::string>());
    }
    /// The calls of a run to which nothing happens.
    static std::vector<CallPoint> forward() {
        Trial run(row(), scenario());
        expect_good(run, "nothing");
        return run.calls();
    }
    [[nodiscard]] static bool can_fail() { return !scenario().fails_at.call.empty(); }
    /// The calls after the one that is made to fail.
    static std::vector<CallPoint> back() {
        Trial run(row(), scenario());
        run.plan(scenario().fails_at, Mishap::PlainError);
        run.expect_failure();
        expect_good(run, "a failure");
        auto calls = run.calls();
        const auto failure = std::find(calls.begin(), calls.end(), scenario().fails_at);
        calls.erase(calls.begin(), failure == calls.end() ? failure : failure + 1);
        return calls;
    }
    static void on_the_way(Mishap mishap) {
        for (const auto& point : forward()) {
            Trial run(row(), scenario());
            run.plan(point, mishap);
            expect_good(run, cat(name_of(mishap), " at ", point.text()));
        }
    }
    static void on_the_way_back(Mishap mishap) {
        if (!can_fail())
            return;
        for (const auto& point : back()) {
            Trial run(row(), scenario());
            run.host.interference.plan(scenario().fails_at, Mishap::PlainError);
            run.plan(point, mishap);
            run.expect_failure();
            expect_good(run, cat(name_of(mishap), " on the way back at ", point.text()));
        }
    }
};

TEST_P(OperationContract, ACallFails) {
    on_the_way(Mishap::NovaException);
    on_the_way(Mishap::PlainError);
}

TEST_P(OperationContract, ACallIsLost) {
    on_the_way(Mishap::CallLost);
    on_the_way_back(Mishap::CallLost);
}

TEST_P(OperationContract, AnAnswerIsLost) {
    on_the_way(Mishap::AnswerLost);
    on_the_way_back(Mishap::AnswerLost);
}

TEST_P(OperationContract, TheProcessIsKilledBeforeACall) {
    on_the_way(Mishap::KilledBefore);
    on_the_way_back(Mishap::KilledBefore);
}

TEST_P(OperationContract, TheProcessIsKilledAfterACall) {
    on_the_way(Mishap::KilledAfter);
    on_the_way_back(Mishap::KilledAfter);
}

TEST_P(OperationContract, TheServerIsDeletedMeanwhile) {
    on_the_way(Mishap::Deleted);
    on_the_way_back(Mishap::Deleted);
}

TEST_P(OperationContract, TheJournalCannotBeWritten) {
    for (const auto& point : forward()) {
        Trial run(row(), scenario());
        run.break_journal_at(point);
        expect_good(run, cat("no journal from ", point.text()));
    }
    if (!can_fail())
        return;
    for (const auto& point : back()) {
        Trial run(row(), scenario());
        run.host.interference.plan(scenario().fails_at, Mishap::PlainError);
        run.expect_failure();
        run.break_journal_at(point);
        expect_good(run, cat("no journal on the way back from ", point.text()));
    }
}

/// The next process takes up a step that may have had its effect, and cannot note anything.
TEST_P(OperationContract, TheJournalCannotBeWrittenAfterAKill) {
    unsigned reads = 0; // of the record, before the kill: the next one is the next process's first
    for (const auto& point : forward()) {
        reads += point.call == "Instance.get_by_uuid" ? 1U : 0U;
        Trial run(row(), scenario());
        run.plan(point, Mishap::KilledAfter);
        run.break_journal_at({"Instance.get_by_uuid", reads});
        expect_good(run, cat("no journal after a kill at ", point.text()));
    }
}

INSTANTIATE_TEST_SUITE_P(Catalogue,
                         OperationContract,
                         testing::ValuesIn(cases()),
                         [](const testing::TestParamInfo<Case>& one) {
                             return cat(one.param.row->facts->name, one.param.scenario.name);
                         });

TEST(OperationContractTable, EveryOperationThatIsServedHasAScenario) {
    for (const auto& row : tasks::catalogue())
        if (row.make != nullptr) {
            EXPECT_FALSE(scenarios_of(std::string(row.facts->name)).empty())
                << row.facts->name << " is served: say in operation_scenarios.hpp what it needs";
        }
}

} // namespace
} // namespace novalet::tests
