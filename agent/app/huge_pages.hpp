#pragma once
// The kernel's huge pages beside the books: what it has free at a claim, drift between both, and
// pools that follow the guests (compute.huge_page_pools). Reads /sys each time. Any thread may call
// free_pages(); show_drift() and tend() are for one thread at a time (the audit).
#include "agent/tasks/books/resource_tracker.hpp"
#include "config/schema/config.hpp"
#include "scheduler_hooks/claims/page_pools.hpp"
#include "scheduler_hooks/numa/fit.hpp"

#include <filesystem>
#include <map>
#include <set>
#include <vector>

namespace novalet::app {

class HugePages final : public tasks::HostPages {
  public:
    /// `root` is put before /sys.
    explicit HugePages(const config::Compute& config, std::filesystem::path root = "/");

    /// For ClaimRequest::kernel_pages and Ledger::page_drift(). Empty when /sys cannot be read
    /// (logged): then claims go by the books alone.
    [[nodiscard]] std::vector<scheduler_hooks::numa::KernelPages> free_pages() const override;
    /// Shows what Ledger::page_drift() found: metric novalet_huge_page_drift_pages{cell,size_kib},
    /// and a log line when it is the same for the second time, or nothing again: for a moment each
    /// guest that starts or ends is in one of both only.
    void show_drift(const std::vector<scheduler_hooks::numa::KernelPages>& drift) override;
    /// Makes the pools what the policy says for these books (host topology with the usage of all
    /// claims). True: some pool changed, so host facts and inventory are to be read anew. Without a
    /// policy nothing is touched. Each change is a log line with its reason; a kernel that does not
    /// give what was asked is told once. Metric novalet_huge_page_pool_pages{cell,size_kib}.
    bool tend(const scheduler_hooks::model::HostTopology& books) override;

  private:
    using Pool = std::pair<int, std::uint64_t>; ///< cell, size in KiB
    struct Drift {
        std::int64_t pages = 0; ///< the last time
        bool told = false;
    };

    std::vector<scheduler_hooks::claims::PoolPolicy> policies_;
    std::filesystem::path root_;
    std::map<Pool, Drift> drift_;
    std::set<Pool> differ_; ///< the kernel did not give what was asked the last time
};

} // namespace novalet::app
