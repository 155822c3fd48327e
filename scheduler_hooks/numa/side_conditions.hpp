#pragma once
// What the chosen host cells must offer together: PCI devices (reference 08 §4.7) and networks
// (§4.8). Internal to the fit; pure.
#include "scheduler_hooks/model/host_topology.hpp"
#include "scheduler_hooks/model/limits.hpp"
#include "scheduler_hooks/model/pci.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace novalet::scheduler_hooks::numa {

/// Set of host cells, by their index in the topology.
using CellMask = std::uint64_t;
constexpr std::size_t max_side_cells = 64;

class SideConditions {
  public:
    /// The references must outlive this. Null: nothing asked.
    SideConditions(const model::HostTopology& host,
                   const model::NumaLimits* limits,
                   const std::vector<model::PciRequest>* requests,
                   const std::vector<model::PciPool>* pools);

    /// Nothing is asked of the cells together: every combination is as good.
    [[nodiscard]] bool none() const noexcept { return !ask_pci_ && items_ == 0 && !too_many_; }
    /// Do these cells satisfy everything?
    [[nodiscard]] bool satisfied(CellMask cells);
    /// Can they, with `more` further cells? True when unsure, never false when they can.
    [[nodiscard]] bool reachable(CellMask cells, std::size_t more) const;
    /// Cells with the same value are alike for these conditions.
    [[nodiscard]] const std::vector<std::uint64_t>& kinds() const noexcept { return kinds_; }
    /// Free devices on each cell, whoever asks for them (order of preference).
    [[nodiscard]] static std::vector<std::int64_t>
    devices_per_cell(const model::HostTopology& host, const std::vector<model::PciPool>& pools);
    /// What the host as a whole has of what is asked, for a refusal.
    [[nodiscard]] std::vector<std::string> lines() const;

  private:
    struct Request {
        const model::PciRequest* asked = nullptr;
        std::vector<std::size_t> matching;  ///< pools that match the spec, in order
        std::vector<bool> allowed;          ///< by pool: kind of device may be given
        std::vector<std::int64_t> per_cell; ///< matching devices by cell index
        std::int64_t nowhere = 0;           ///< matching devices without a cell
        std::int64_t total = 0;
    };

    void read_networks(const model::NumaLimits& limits);
    void read_requests(const std::vector<model::PciRequest>& requests);
    void make_kinds();
    [[nodiscard]] bool networks_satisfied(CellMask cells) const;
    [[nodiscard]] bool devices_satisfied(CellMask cells) const;
    [[nodiscard]] std::vector<std::size_t>
    filtered(const Request& request, CellMask cells, const std::vector<std::int64_t>& left) const;
    [[nodiscard]] CellMask same_sockets(CellMask cells) const;

    const model::HostTopology& host_;
    const std::vector<model::PciPool>* pools_ = nullptr;
    bool ask_pci_ = false;
    bool too_many_ = false; ///< more cells or networks than a mask holds: refused
    std::vector<Request> requests_;
    std::vector<std::optional<std::size_t>> pool_cell_; ///< index of the pool's cell
    std::vector<std::string> item_names_;               ///< physnets asked, then "tunnels"
    std::uint64_t items_ = 0;                           ///< one bit for each
    std::vector<std::uint64_t> covers_;                 ///< items of each cell
    std::vector<std::uint64_t> kinds_;
    std::map<CellMask, bool> known_; ///< answers about devices, by relevant cells
    CellMask relevant_ = 0;          ///< cells that make a difference for devices
};

} // namespace novalet::scheduler_hooks::numa
