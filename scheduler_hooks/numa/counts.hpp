#pragma once
// What the fit asks of every host cell and what changes only with a claim: CPUs and cores, counted.
// Kept beside the host by whoever fits often (the ledger); cheap to copy. Plain values, any thread.
#include "scheduler_hooks/model/host_topology.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace novalet::scheduler_hooks::numa {

/// A core as one word of CPUs; `cpus` 0: its threads lie in several words, see the sibling set.
struct CoreWord {
    std::size_t word = 0;
    model::CpuSet::Word cpus = 0;
    [[nodiscard]] bool operator==(const CoreWord&) const = default;
};

class CellCounts {
  public:
    CellCounts() = default;
    explicit CellCounts(const model::HostCell& cell);

    [[nodiscard]] std::int64_t shared() const noexcept { return shared_; }       ///< |cpuset|
    [[nodiscard]] std::int64_t dedicated() const noexcept { return dedicated_; } ///< |pcpuset|
    /// |pcpuset − pinned_cpus|
    [[nodiscard]] std::int64_t free_dedicated() const noexcept { return free_dedicated_; }
    /// One CPU set for shared and pinned guests, as on hosts of old.
    [[nodiscard]] bool legacy() const noexcept { return legacy_; }
    /// Threads of the largest core; 1 for a cell without sibling sets.
    [[nodiscard]] std::size_t threads() const noexcept { return threads_; }
    /// The most free threads that a core has.
    [[nodiscard]] std::size_t most_free() const noexcept { return most_free_; }
    /// Cores with at least that many free threads (from 1 on).
    [[nodiscard]] std::int64_t cores_with(std::size_t free_threads) const noexcept {
        if (free_threads > most_free_)
            return 0;
        return most_free_ <= inline_threads ? few_[free_threads - 1] : many_[free_threads - 1];
    }
    /// Cores with all threads() free.
    [[nodiscard]] std::int64_t whole_cores() const noexcept { return cores_with(threads_); }
    /// The sibling sets in their order, side by side in memory.
    [[nodiscard]] const std::vector<CoreWord>& cores() const noexcept { return cores_; }
    [[nodiscard]] bool operator==(const CellCounts&) const = default;

  private:
    /// No machine has cores with more threads; a document may claim so.
    static constexpr std::size_t inline_threads = 8;

    std::int64_t shared_ = 0;
    std::int64_t dedicated_ = 0;
    std::int64_t free_dedicated_ = 0;
    std::size_t threads_ = 1;
    std::size_t most_free_ = 0;
    std::array<std::int32_t, inline_threads> few_{}; ///< [t-1]: cores with at least t free threads
    std::vector<std::int32_t> many_;                 ///< instead, when a core has more threads
    std::vector<CoreWord> cores_;
    bool legacy_ = false;
};

/// One for each cell of the host, in its order.
using HostCounts = std::vector<CellCounts>;

[[nodiscard]] HostCounts count_host(const model::HostTopology& host);

} // namespace novalet::scheduler_hooks::numa
