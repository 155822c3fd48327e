#pragma once
// Every method of the compute interface, one row each: what Nova says of it and what serves it
// here. Router, recovery and refusals read this table and nothing else.
#include "agent/tasks/catalogue/nova_methods.hpp"
#include "agent/tasks/instance_operation.hpp"

#include <memory>
#include <span>
#include <string_view>

namespace novalet::tasks {

/// Limits on parallel work of one kind; the router has a gate for each.
enum class Limit {
    None,
    Builds ///< max_concurrent_builds
};

struct Row {
    const MethodFacts* facts = nullptr;
    /// An operation on a server; none: see `ask`.
    std::unique_ptr<Saga> (*make)(const Services& services, OperationCall call) = nullptr;
    /// A question, answered on the pool without a journal entry.
    Result<Json> (*ask)(Services& services, const rpc::Request& request) = nullptr;
    Limit limit = Limit::None;
    bool at_once = false;   ///< `ask` does not block: answered on the accept thread
    bool overtakes = false; ///< the operation that is under way on the server gives way

    /// Does this agent do it? Otherwise it is refused, by the policy of the method.
    [[nodiscard]] bool is_served() const noexcept { return make != nullptr || ask != nullptr; }
    /// Is it written down before it is acknowledged?
    [[nodiscard]] bool has_effects() const noexcept {
        return make != nullptr || (ask == nullptr && facts->lane != Lane::Question);
    }
};

/// All rows, sorted by name. Valid for the life of the process; any thread.
[[nodiscard]] std::span<const Row> catalogue();
/// nullptr for a method that Nova does not know.
[[nodiscard]] const Row* find_row(std::string_view method);

/// The answer to what this agent does not do: the class that the caller turns into a 4xx or 501,
/// and the reason.
[[nodiscard]] Error refusal(const MethodFacts& method, const std::string& host);
/// The operation of a row: what serves it, or a refusal that leaves the records as a failed
/// operation of nova-compute would.
[[nodiscard]] std::unique_ptr<Saga> make_operation(const Row& row,
                                                   const Services& services,
                                                   std::shared_ptr<const rpc::Request> request);

} // namespace novalet::tasks
