#pragma once
// The kernel's huge pages beside the books: what it has free at a claim, drift between both, and
// pools that follow the guests (compute.huge_page_pools). Any thread; reads /sys each time.
#include "agent/tasks/resource_tracker.hpp"
#include "config/schema/config.hpp"
#include "scheduler_hooks/claims/page_pools.hpp"
#include "scheduler_hooks/numa/fit.hpp"

#include <filesystem>
#include <map>
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
    /// and a log line when it changes to or from nothing.
    void show_drift(const std::vector<scheduler_hooks::numa::KernelPages>& drift) override;
    /// Makes the pools what the policy says for these books (host topology with the usage of all
    /// claims). True: some pool changed, so host facts and inventory are to be read anew. Without a
    /// policy nothing is touched. Metric novalet_huge_page_pool_pages{cell,size_kib}.
    bool tend(const scheduler_hooks::model::HostTopology& books) override;

  private:
    std::vector<scheduler_hooks::claims::PoolPolicy> policies_;
    std::filesystem::path root_;
    std::map<std::pair<int, std::uint64_t>, std::int64_t> drift_;
};

} // namespace novalet::app
