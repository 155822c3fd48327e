#include "scheduler_hooks/numa/fit.hpp"

#include "agent/core/text.hpp"
#include "scheduler_hooks/numa/cell_fit.hpp"
#include "scheduler_hooks/numa/side_conditions.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>
#include <unordered_set>

namespace novalet::scheduler_hooks::numa {
namespace {

using model::GuestTopology;

constexpr std::size_t nowhere = ~std::size_t{0};

/// Bipartite matching of guest cells (rows) to host cells (columns). Columns are in the order of
/// preference. Kuhn's augmenting paths: rows·columns each.
class Matching {
  public:
    Matching(std::size_t rows, std::size_t columns)
        : columns_(columns), fits_(rows * columns, 0), row_of_(columns, nowhere),
          column_of_(rows, nowhere), seen_(columns, 0) {}

    void set(std::size_t row, std::size_t column) { fits_[row * columns_ + column] = 1; }
    [[nodiscard]] bool fits(std::size_t row, std::size_t column) const {
        return fits_[row * columns_ + column] != 0;
    }
    [[nodiscard]] std::size_t columns() const { return columns_; }
    [[nodiscard]] std::size_t rows() const { return column_of_.size(); }
    [[nodiscard]] const std::vector<std::size_t>& column_of() const { return column_of_; }

    /// Finds a place for every row; otherwise the row that has none.
    [[nodiscard]] std::optional<std::size_t> first_unmatched() {
        for (std::size_t row = 0; row < rows(); ++row)
            if (column_of_[row] == nowhere && !augment(row))
                return row;
        return std::nullopt;
    }

    /// Makes the matching the first one in lexicographic order of columns. Each row takes its
    /// earliest column that leaves the later rows a place.
    void make_first() {
        for (std::size_t row = 0; row < rows(); ++row)
            for (std::size_t column = 0; column < column_of_[row]; ++column)
                if (fits(row, column) && try_move(row, column))
                    break;
    }

    /// Columns the last failed search went through: the rows on them and the failed one share too
    /// few.
    [[nodiscard]] const std::vector<char>& seen() const { return seen_; }
    [[nodiscard]] std::size_t row_of(std::size_t column) const { return row_of_[column]; }

  private:
    bool augment(std::size_t row, std::size_t fixed_rows = 0) {
        std::fill(seen_.begin(), seen_.end(), 0);
        // Columns of rows that are settled already are not to be touched.
        for (std::size_t settled = 0; settled < fixed_rows; ++settled)
            seen_[column_of_[settled]] = 1;
        return search(row);
    }

    bool search(std::size_t row) {
        for (std::size_t column = 0; column < columns_; ++column) {
            if (!fits(row, column) || seen_[column] != 0)
                continue;
            seen_[column] = 1;
            if (row_of_[column] == nowhere || search(row_of_[column])) {
                row_of_[column] = row;
                column_of_[row] = column;
                return true;
            }
        }
        return false;
    }

    /// Puts the row there and finds another place for who was there; undone when there is none.
    bool try_move(std::size_t row, std::size_t column) {
        const std::size_t displaced = row_of_[column];
        if (displaced != nowhere && displaced < row)
            return false;
        const std::size_t before = column_of_[row];
        row_of_[before] = nowhere;
        row_of_[column] = row;
        column_of_[row] = column;
        if (displaced == nowhere || augment(displaced, row + 1))
            return true;
        row_of_[column] = displaced;
        column_of_[displaced] = column;
        row_of_[before] = row;
        column_of_[row] = before;
        return false;
    }

    std::size_t columns_;
    std::vector<char> fits_;
    std::vector<std::size_t> row_of_;
    std::vector<std::size_t> column_of_;
    std::vector<char> seen_;
};

/// Host cells in the order in which they are tried (reference 08 §4.2): indexes into the host.
std::vector<std::size_t> preference(const FitInput& in, const HostCounts& counts) {
    const auto& cells = in.host.cells;
    std::vector<std::size_t> order(cells.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (cells.size() <= in.guest.cells.size())
        return order;
    const bool pinned = in.guest.cells.front().wants_pins();
    const bool requested = in.pci_requests != nullptr && !in.pci_requests->empty();
    const auto devices = in.pci_pools != nullptr && (requested || in.options.avoid_pci_cells)
                             ? SideConditions::devices_per_cell(in.host, *in.pci_pools)
                             : std::vector<std::int64_t>(cells.size(), 0);
    // Smaller keys first; the first key is the strongest, the last one is the cell's index.
    std::vector<std::array<std::int64_t, 4>> keys(cells.size());
    const std::int64_t spread = in.options.packing ? -1 : 1;
    for (std::size_t i = 0; i < cells.size(); ++i) {
        keys[i] = {requested ? -devices[i] : devices[i],
                   pinned ? -spread * counts[i].free_dedicated() : spread * cells[i].cpu_usage,
                   -spread * cells[i].available_memory(),
                   static_cast<std::int64_t>(i)};
    }
    std::sort(keys.begin(), keys.end());
    for (std::size_t i = 0; i < cells.size(); ++i)
        order[i] = static_cast<std::size_t>(keys[i].back());
    return order;
}

/// All the guest cells, all the host cells, and which pairs may be.
class Search {
  public:
    explicit Search(const FitInput& in)
        : in_(in), own_counts_(in.counts == nullptr ? count_host(in.host) : HostCounts()),
          counts_(in.counts == nullptr ? own_counts_ : *in.counts), order_(preference(in, counts_)),
          matching_(in.guest.cells.size(), in.host.cells.size()),
          page_sizes_(in.guest.cells.size() * in.host.cells.size(), 0) {
        views_.reserve(order_.size());
        for (const std::size_t index : order_)
            views_.push_back(view_of(in.host.cells[index], in.kernel_pages, counts_[index]));
        terms_.reserve(in.guest.cells.size());
        for (std::size_t g = 0; g < in.guest.cells.size(); ++g) {
            terms_.push_back(terms(g));
            const std::size_t like = first_like(g);
            for (std::size_t c = 0; c < order_.size(); ++c) {
                std::int64_t& size = page_size(g, c);
                size = page_size(like, c);
                const bool fits =
                    like < g ? matching_.fits(like, c)
                             : pair_fits(views_[c], in.guest.cells[g], terms_[g], size, nullptr);
                if (fits)
                    matching_.set(g, c);
            }
        }
    }

    [[nodiscard]] std::optional<GuestTopology> run() {
        if (in_.host.cells.size() < in_.guest.cells.size())
            return std::nullopt;
        if (matching_.first_unmatched())
            return std::nullopt;
        SideConditions side(in_.host, in_.limits, in_.pci_requests, in_.pci_pools);
        if (side.none()) {
            matching_.make_first();
            return placed(matching_.column_of());
        }
        std::vector<std::size_t> columns;
        if (!with_conditions(side, columns))
            return std::nullopt;
        return placed(columns);
    }

    [[nodiscard]] Refusal explain();

  private:
    [[nodiscard]] PairTerms terms(std::size_t guest_cell) const {
        const model::GuestCell& cell = in_.guest.cells[guest_cell];
        const bool isolate = in_.guest.emulator_policy == model::EmulatorPolicy::Isolate;
        return {static_cast<std::int64_t>(cell.pcpuset.size()),
                static_cast<std::int64_t>(cell.cpuset.size()),
                isolate && guest_cell == 0 ? 1U : 0U,
                in_.limits};
    }

    [[nodiscard]] std::int64_t& page_size(std::size_t guest_cell, std::size_t column) {
        return page_sizes_[guest_cell * order_.size() + column];
    }

    /// The first guest cell that asks the same of a host cell: often all do, and are checked once.
    [[nodiscard]] std::size_t first_like(std::size_t guest_cell) const {
        std::size_t first = 0;
        while (first < guest_cell && !ask_same(first, guest_cell))
            ++first;
        return first;
    }

    [[nodiscard]] bool ask_same(std::size_t one, std::size_t other) const {
        const model::GuestCell& a = in_.guest.cells[one];
        const model::GuestCell& b = in_.guest.cells[other];
        return terms_[one] == terms_[other] && a.memory_mib == b.memory_mib &&
               a.page_size_kib == b.page_size_kib && a.cpu_policy == b.cpu_policy &&
               a.thread_policy == b.thread_policy;
    }

    [[nodiscard]] GuestTopology placed(const std::vector<std::size_t>& columns) {
        GuestTopology out;
        out.emulator_policy = in_.guest.emulator_policy;
        out.cells.reserve(columns.size());
        for (std::size_t g = 0; g < columns.size(); ++g)
            out.cells.push_back(place(views_[columns[g]],
                                      in_.guest.cells[g],
                                      terms_[g].reserved,
                                      page_size(g, columns[g])));
        return out;
    }

    /// Depth first in the order of preference. What lies below a state depends only on the set of
    /// cells used so far, so a set that failed once is not entered again; of host cells that are
    /// alike only the first unused one is tried.
    [[nodiscard]] bool with_conditions(SideConditions& side, std::vector<std::size_t>& columns) {
        if (order_.size() > max_side_cells)
            return false;
        make_twins(side);
        failed_.clear();
        columns.reserve(matching_.rows());
        return descend(side, 0, columns);
    }

    [[nodiscard]] bool
    descend(SideConditions& side, CellMask used, std::vector<std::size_t>& columns) {
        const std::size_t row = columns.size();
        if (row == matching_.rows())
            return side.satisfied(used);
        if (failed_.count(used) != 0 || !side.reachable(used, matching_.rows() - row))
            return false;
        CellMask tried = 0; // columns
        for (std::size_t c = 0; c < order_.size(); ++c) {
            const CellMask cell = CellMask{1} << order_[c];
            if (!matching_.fits(row, c) || (used & cell) != 0)
                continue;
            if (twin_[c] != c && (tried & (CellMask{1} << twin_[c])) != 0)
                continue;
            tried |= CellMask{1} << twin_[c];
            columns.push_back(c);
            if (descend(side, used | cell, columns))
                return true;
            columns.pop_back();
        }
        failed_.insert(used);
        return false;
    }

    /// twin_[c]: the first column that is like c for every guest cell and every condition.
    void make_twins(const SideConditions& side) {
        twin_.assign(order_.size(), 0);
        for (std::size_t c = 0; c < order_.size(); ++c) {
            twin_[c] = c;
            for (std::size_t other = 0; other < c && twin_[c] == c; ++other) {
                bool alike = side.kinds()[order_[c]] == side.kinds()[order_[other]];
                for (std::size_t g = 0; alike && g < matching_.rows(); ++g)
                    alike = matching_.fits(g, c) == matching_.fits(g, other);
                if (alike)
                    twin_[c] = twin_[other];
            }
        }
    }

    void explain_pairs(Refusal& out) const;
    void explain_shortage(Refusal& out);

    const FitInput& in_;
    const HostCounts own_counts_;
    const HostCounts& counts_;
    std::vector<std::size_t> order_; ///< columns of the matching: indexes of host cells
    std::vector<CellView> views_;
    std::vector<PairTerms> terms_; ///< by guest cell
    Matching matching_;
    std::vector<std::int64_t> page_sizes_;
    std::vector<std::size_t> twin_;
    std::unordered_set<CellMask> failed_;
};

void Search::explain_pairs(Refusal& out) const {
    for (std::size_t g = 0; g < in_.guest.cells.size(); ++g) {
        if (first_like(g) < g)
            continue; // explained already
        for (std::size_t i = 0; i < in_.host.cells.size(); ++i) {
            const auto at = std::find(order_.begin(), order_.end(), i);
            const auto column = static_cast<std::size_t>(at - order_.begin());
            std::vector<std::string> why;
            std::int64_t page_size = 0;
            if (!pair_fits(views_[column], in_.guest.cells[g], terms_[g], page_size, &why))
                out.cells.push_back({static_cast<int>(g), in_.host.cells[i].id, join(why, "; ")});
        }
    }
}

/// Guest cells that fit one by one but not together: which ones share too few host cells.
void Search::explain_shortage(Refusal& out) {
    const auto missing = matching_.first_unmatched();
    if (!missing)
        return;
    std::vector<std::size_t> guests{*missing};
    std::vector<std::string> hosts;
    for (std::size_t c = 0; c < matching_.columns(); ++c)
        if (matching_.seen()[c] != 0) {
            guests.push_back(matching_.row_of(c));
            hosts.push_back(cat(views_[c].cell->id));
        }
    if (hosts.empty())
        return; // it fits nowhere at all: the pairs say why
    std::sort(guests.begin(), guests.end());
    std::vector<std::string> names;
    for (const std::size_t guest : guests)
        names.push_back(cat(guest));
    const bool one = hosts.size() == 1;
    out.general.push_back(cat("guest cells ",
                              join(names, ", "),
                              one ? " fit only host cell " : " fit only host cells ",
                              join(hosts, ", "),
                              one ? ", which takes one" : ", one each"));
}

/// Short enough for the 255 bytes of an instance fault behind Nova's own sentence.
std::string summary_of(const Refusal& refusal) {
    constexpr std::size_t max_bytes = 150;
    std::string text;
    std::size_t left_out = 0;
    for (const std::string& line : refusal.lines()) {
        if (text.empty())
            text = cut_utf8(line, max_bytes);
        else if (text.size() + line.size() + 2 <= max_bytes)
            text += cat("; ", line);
        else
            ++left_out;
    }
    if (left_out != 0)
        text += cat("; ", left_out, " more");
    return text;
}

Refusal Search::explain() {
    Refusal out;
    if (in_.host.cells.empty()) {
        out.general.emplace_back("host has no NUMA cells");
    } else if (in_.host.cells.size() < in_.guest.cells.size()) {
        out.general.push_back(
            cat("guest has ", in_.guest.cells.size(), " cells, host has ", in_.host.cells.size()));
    } else {
        explain_shortage(out);
        explain_pairs(out);
        SideConditions side(in_.host, in_.limits, in_.pci_requests, in_.pci_pools);
        if (out.general.empty() && !matching_.first_unmatched())
            out.general = side.lines();
    }
    out.summary = summary_of(out);
    return out;
}

} // namespace

std::vector<std::string> Refusal::lines() const {
    std::vector<std::string> out = general;
    for (const CellReason& reason : cells)
        out.push_back(cat("guest cell ",
                          reason.guest_cell,
                          " on host cell ",
                          reason.host_cell,
                          ": ",
                          reason.text));
    return out;
}

std::optional<GuestTopology> fit_quietly(const FitInput& input) {
    if (input.guest.cells.empty() || input.host.cells.size() < input.guest.cells.size())
        return std::nullopt;
    return Search(input).run();
}

FitResult fit(const FitInput& input) {
    FitResult result;
    if (input.guest.cells.empty()) {
        result.refusal.emplace();
        result.refusal->summary = "guest topology has no cells";
        result.refusal->general.push_back(result.refusal->summary);
        return result;
    }
    Search search(input);
    result.topology = search.run();
    if (!result.topology)
        result.refusal = search.explain();
    return result;
}

} // namespace novalet::scheduler_hooks::numa
