// Moves in the ledger, one by one and beside a model that is simple enough to be believed.
#include "agent/core/text.hpp"
#include "scheduler_hooks/claims/ledger.hpp"

#include <gtest/gtest.h>
#include <random>

namespace novalet::scheduler_hooks::claims {
namespace {

using namespace model;

HostCapacity host(unsigned pinned_cpus = 8) {
    HostCell cell;
    cell.pcpuset = CpuSet::range(2, 1 + pinned_cpus);
    cell.cpuset = {0, 1};
    for (unsigned cpu = 0; cpu < 2 + pinned_cpus; ++cpu)
        cell.siblings.push_back({cpu});
    cell.memory_mib = 1U << 20U;
    cell.mempages = {{4, 262144, 0, 0}};
    return {2, 1 << 20, 1000, 0, 0, 0, {{cell}}};
}

ClaimRequest request(const std::string& name, unsigned vcpus) {
    ClaimRequest out;
    out.instance = InstanceUuid(name);
    out.amounts = {vcpus, vcpus * 100, vcpus, 0, 0};
    GuestCell cell;
    cell.pcpuset = CpuSet::range(0, vcpus - 1);
    cell.memory_mib = vcpus * 100;
    cell.cpu_policy = CpuPolicy::Dedicated;
    out.topology.emplace();
    out.topology->cells.push_back(cell);
    return out;
}

const InstanceUuid a("a");
const MigrationUuid m("m");
const Move source{m, Side::Source};
const Move destination{m, Side::Destination};

std::size_t pinned(const Ledger& ledger) {
    return ledger.topology().cells[0].pinned_cpus.size();
}

TEST(LedgerMoves, TheDestinationOfAResizeOnOneHostSeesWhatTheServerHas) {
    Ledger ledger(host(8));
    ASSERT_TRUE(ledger.claim(request("a", 5)));
    const auto refused = ledger.claim_move(m, request("a", 4));
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text.find("needs 4 dedicated CPUs, 3 of 8 free"), std::string::npos)
        << refused.error().text;
    const auto claimed = ledger.claim_move(m, request("a", 3));
    ASSERT_TRUE(claimed) << claimed.error().text;
    EXPECT_EQ(claimed->topology->cells[0].taken_cpus().str(), "7-9");
    EXPECT_EQ(ledger.usage().vcpus_used, 8);
    EXPECT_EQ(ledger.usage().running_vms, 1) << "one server";
}

TEST(LedgerMoves, OnOneHost_BothSidesAreHeldUntilTheMoveIsFinal) {
    for (const bool confirmed : {true, false}) {
        Ledger ledger(host());
        const auto old_claim = ledger.claim(request("a", 2));
        const auto new_claim = ledger.claim_move(m, request("a", 3));
        ASSERT_TRUE(old_claim && new_claim);
        EXPECT_FALSE(ledger.depart(a, m)) << "the server stays on this host";
        EXPECT_TRUE(ledger.arrive(a, m));
        EXPECT_FALSE(ledger.arrive(a, m)) << "a repeat";
        EXPECT_FALSE(ledger.depart(a, m)) << "it came by this very move";
        EXPECT_EQ(ledger.find(a)->topology, new_claim->topology);
        EXPECT_EQ(ledger.find_move(source)->topology, old_claim->topology);
        EXPECT_EQ(pinned(ledger), 5U);
        EXPECT_TRUE(confirmed ? ledger.settle(a, m) : ledger.revert(a, m));
        EXPECT_FALSE(confirmed ? ledger.settle(a, m) : ledger.revert(a, m)) << "a repeat";
        EXPECT_EQ(ledger.find(a)->topology, (confirmed ? new_claim : old_claim)->topology);
        EXPECT_EQ(pinned(ledger), confirmed ? 3U : 2U);
        EXPECT_EQ(ledger.usage().vcpus_used, confirmed ? 3 : 2);
        EXPECT_TRUE(ledger.moves().empty());
    }
}

TEST(LedgerMoves, TheSourceHoldsWhatTheServerHadUntilTheMoveIsFinal) {
    for (const bool confirmed : {true, false}) {
        Ledger ledger(host());
        ASSERT_TRUE(ledger.claim(request("a", 2)));
        EXPECT_TRUE(ledger.depart(a, m));
        EXPECT_FALSE(ledger.depart(a, m)) << "a repeat";
        EXPECT_TRUE(ledger.instances().empty());
        EXPECT_EQ(ledger.usage().running_vms, 0);
        EXPECT_EQ(ledger.usage().vcpus_used, 2);
        EXPECT_EQ(pinned(ledger), 2U);
        EXPECT_TRUE(confirmed ? ledger.settle(a, m) : ledger.revert(a, m));
        EXPECT_EQ(pinned(ledger), confirmed ? 0U : 2U);
        EXPECT_EQ(ledger.instances().size(), confirmed ? 0U : 1U);
        EXPECT_TRUE(ledger.moves().empty());
    }
}

TEST(LedgerMoves, TheDestinationIsGivenBackAlsoAfterItsArrival) {
    for (const bool arrived : {true, false}) {
        Ledger ledger(host());
        ASSERT_TRUE(ledger.claim_move(m, request("a", 3)));
        if (arrived) {
            EXPECT_TRUE(ledger.arrive(a, m));
        }
        EXPECT_TRUE(ledger.revert(a, m));
        EXPECT_EQ(pinned(ledger), 0U);
        EXPECT_TRUE(ledger.instances().empty());
    }
}

TEST(LedgerMoves, AFinalMoveCannotBeReverted) {
    Ledger ledger(host());
    ASSERT_TRUE(ledger.claim_move(m, request("a", 3)));
    EXPECT_TRUE(ledger.settle(a, m));
    EXPECT_FALSE(ledger.revert(a, m));
    EXPECT_EQ(pinned(ledger), 3U);
}

TEST(LedgerMoves, AnEarlierSourceOfTheSameMoveIsNotCountedForEver) {
    Ledger ledger(host());
    ASSERT_TRUE(ledger.claim(request("a", 2)));
    EXPECT_TRUE(ledger.depart(a, m));
    ASSERT_TRUE(ledger.claim(request("a", 1)));
    ASSERT_TRUE(ledger.claim_move(m, request("a", 3)));
    EXPECT_TRUE(ledger.arrive(a, m));
    EXPECT_EQ(pinned(ledger), 4U);
    EXPECT_TRUE(ledger.settle(a, m));
    EXPECT_EQ(pinned(ledger), 3U);
}

TEST(LedgerMoves, OnlyTheLatestMoveOfAServerHasADestination) {
    Ledger ledger(host(4));
    ASSERT_TRUE(ledger.claim_move(MigrationUuid("earlier"), request("a", 3)));
    ASSERT_TRUE(ledger.claim_move(m, request("a", 4)));
    EXPECT_EQ(ledger.moves().size(), 1U);
    EXPECT_EQ(ledger.claim_move(m, request("a", 1)).error().code, Code::AlreadyExists);
}

TEST(LedgerMoves, TheAuditDropsADestinationThatTheRecordsDoNotShow_UnlessItIsOwned) {
    Ledger ledger(host());
    ASSERT_TRUE(ledger.claim_move(m, request("a", 3)));
    ledger.reconcile({}, ledger.revision());
    EXPECT_NE(ledger.find_move(destination), nullptr) << "its records are being written";
    const auto before = ledger.revision();
    ledger.mark_recorded(m);
    ledger.reconcile({}, before);
    EXPECT_NE(ledger.find_move(destination), nullptr) << "the records are older";
    ledger.reconcile({}, ledger.revision());
    EXPECT_EQ(ledger.find_move(destination), nullptr);
    EXPECT_EQ(pinned(ledger), 0U);
}

TEST(LedgerMoves, AnOwnedDestinationDoesNotCountBesideTheServerThatHasCome) {
    Ledger ledger(host());
    const auto claim = ledger.claim_move(m, request("a", 3));
    ASSERT_TRUE(claim);
    Record here{a, {}, claim->amounts, claim->state, claim->topology, true};
    ledger.reconcile({here}, ledger.revision());
    EXPECT_EQ(ledger.usage().vcpus_used, 3);
    EXPECT_EQ(pinned(ledger), 3U);
    EXPECT_FALSE(ledger.settle(a, m)) << "the records said it first";
    EXPECT_EQ(ledger.usage().vcpus_used, 3);
}

TEST(LedgerMoves, AnAuditWithOlderRecordsDoesNotUndoAStepOfTheMove) {
    Ledger ledger(host());
    const auto old_claim = ledger.claim(request("a", 2));
    ASSERT_TRUE(old_claim);
    ledger.mark_started(a);
    const auto new_claim = ledger.claim_move(m, request("a", 3));
    ASSERT_TRUE(new_claim);
    ledger.mark_recorded(m);
    const std::vector<Record> before{
        {a, {}, old_claim->amounts, old_claim->state, old_claim->topology, true},
        {a, destination, new_claim->amounts, new_claim->state, new_claim->topology, false}};
    const auto as_of = ledger.revision();
    EXPECT_TRUE(ledger.arrive(a, m));
    ledger.reconcile(before, as_of);
    EXPECT_EQ(ledger.find(a)->topology, new_claim->topology);
    EXPECT_EQ(pinned(ledger), 5U);
    EXPECT_TRUE(ledger.settle(a, m));
    ledger.reconcile(before, as_of);
    EXPECT_EQ(pinned(ledger), 3U);
}

/// The books as a list: everything that is open, each with its place.
struct Model {
    struct Open {
        std::string instance;
        std::optional<Side> side; ///< none: the instance's own
        std::string migration;    ///< of the side; of an own claim: what it came by
        std::int64_t vcpus = 0;
    };
    std::vector<Open> open;

    Open* own(const std::string& instance) { return at(instance, {}, nullptr); }
    Open* side(const std::string& instance, Side which, const std::string& migration) {
        return at(instance, which, &migration);
    }
    Open* at(const std::string& instance, std::optional<Side> which, const std::string* migration) {
        for (Open& one : open)
            if (one.instance == instance && one.side == which &&
                (migration == nullptr || one.migration == *migration))
                return &one;
        return nullptr;
    }
    void remove(const Open* one) {
        if (one != nullptr)
            open.erase(open.begin() + (one - open.data()));
    }
    void depart(const std::string& instance, const std::string& migration) {
        Open* claim = own(instance);
        if (claim != nullptr && claim->migration != migration &&
            side(instance, Side::Source, migration) == nullptr &&
            side(instance, Side::Destination, migration) == nullptr)
            *claim = {instance, Side::Source, migration, claim->vcpus};
    }
    void arrive(const std::string& instance, const std::string& migration) {
        if (side(instance, Side::Destination, migration) == nullptr)
            return;
        if (own(instance) != nullptr) {
            remove(side(instance, Side::Source, migration));
            Open* claim = own(instance);
            *claim = {instance, Side::Source, migration, claim->vcpus};
        }
        side(instance, Side::Destination, migration)->side.reset();
    }
    void settle(const std::string& instance, const std::string& migration) {
        arrive(instance, migration);
        if (Open* claim = own(instance); claim != nullptr && claim->migration == migration)
            claim->migration.clear();
        remove(side(instance, Side::Source, migration));
    }
    void revert(const std::string& instance, const std::string& migration) {
        remove(side(instance, Side::Destination, migration));
        if (const Open* claim = own(instance); claim != nullptr && claim->migration == migration)
            remove(claim);
        if (side(instance, Side::Source, migration) == nullptr)
            return;
        remove(own(instance));
        Open* claim = side(instance, Side::Source, migration);
        claim->side.reset();
        claim->migration.clear();
    }
    void claim_move(const std::string& instance, const std::string& migration, std::int64_t vcpus) {
        open.push_back({instance, Side::Destination, migration, vcpus});
    }
    void forget_destinations(const std::string& instance) {
        std::erase_if(open, [&](const Open& one) {
            return one.instance == instance && one.side == Side::Destination;
        });
    }
    [[nodiscard]] std::int64_t usage() const {
        std::int64_t sum = 0;
        for (const Open& one : open)
            sum += one.vcpus;
        return sum;
    }
};

/// What records would say of the ledger's own content.
std::vector<Record> records_of(const Ledger& ledger) {
    std::vector<Record> out;
    const auto add = [&](const Claim& claim, std::optional<Move> move) {
        out.push_back({claim.instance,
                       std::move(move),
                       claim.amounts,
                       claim.state,
                       claim.topology,
                       true,
                       claim.came_by});
    };
    for (const auto& uuid : ledger.instances())
        add(*ledger.find(uuid), {});
    for (const auto& [move, claim] : ledger.moves())
        add(claim, move);
    return out;
}

class Game {
  public:
    explicit Game(unsigned seed) : dice_(seed) {}

    void turn() {
        const std::string instance = cat("i", upto(3));
        const std::string migration = cat(instance, "-m", upto(1));
        const InstanceUuid uuid(instance);
        const MigrationUuid move(migration);
        const unsigned vcpus = 1 + upto(3);
        const unsigned verb = upto(8);
        last = cat("verb ", verb, " of ", migration);
        switch (verb) {
        case 0:
            if (const auto made = ledger.claim(request(instance, vcpus)); made)
                model.open.push_back({instance, {}, "", vcpus});
            break;
        case 1:
            ledger.drop(uuid);
            model.remove(model.own(instance));
            break;
        case 2:
        case 3:
            claim_move(instance, migration, vcpus);
            break;
        case 4:
            ledger.depart(uuid, move);
            model.depart(instance, migration);
            break;
        case 5:
            ledger.arrive(uuid, move);
            model.arrive(instance, migration);
            break;
        case 6:
            ledger.settle(uuid, move);
            model.settle(instance, migration);
            break;
        case 7:
            ledger.revert(uuid, move);
            model.revert(instance, migration);
            break;
        default:
            audit();
        }
    }
    void claim_move(const std::string& instance, const std::string& migration, unsigned vcpus) {
        const MigrationUuid move(migration);
        const auto made = ledger.claim_move(move, request(instance, vcpus));
        if (!made && made.error().code == Code::AlreadyExists)
            return;
        model.forget_destinations(instance);
        if (made)
            model.claim_move(instance, migration, vcpus);
        if (upto(1) == 0)
            ledger.mark_recorded(move);
    }
    /// With records that were read some verbs ago, or now.
    void audit() {
        if (upto(1) == 0)
            read();
        ledger.reconcile(records, as_of);
        read();
    }
    void read() {
        records = records_of(ledger);
        as_of = ledger.revision();
    }
    unsigned upto(unsigned most) { return std::uniform_int_distribution<unsigned>(0, most)(dice_); }

    Ledger ledger{host(16)};
    Model model;
    std::vector<Record> records;
    std::uint64_t as_of = 0;
    std::string last; ///< what the turn was

  private:
    std::mt19937 dice_;
};

TEST(LedgerMoves, RandomVerbs_CountWhatIsOpen_NothingLostNothingTwice) {
    for (unsigned seed = 1; seed <= 20; ++seed) {
        Game game(seed);
        for (int turn = 0; turn < 600; ++turn) {
            if (turn % 7 == 0)
                game.read();
            game.turn();
            const auto where = cat("seed ", seed, " turn ", turn, ": ", game.last);
            ASSERT_EQ(game.ledger.usage().vcpus_used, game.model.usage()) << where;
            ASSERT_EQ(pinned(game.ledger), static_cast<std::size_t>(game.model.usage())) << where;
            ASSERT_TRUE(game.ledger.conflicts().empty()) << where;
            ASSERT_EQ(game.ledger.moves().size() + game.ledger.instances().size(),
                      game.model.open.size())
                << where;
            for (const auto& uuid : game.ledger.instances()) {
                const auto* own = game.model.own(uuid.str());
                ASSERT_NE(own, nullptr) << where;
                ASSERT_EQ(game.ledger.find(uuid)->amounts.vcpus, own->vcpus) << where;
            }
        }
    }
}

} // namespace
} // namespace novalet::scheduler_hooks::claims
