#include "agent/tasks/catalogue/nova_methods.hpp"

#include "agent/tasks/catalogue/nova_method_tables.hpp"

#include <algorithm>
#include <vector>

namespace novalet::tasks {
namespace {

std::vector<MethodFacts> merged() {
    std::vector<MethodFacts> all;
    for (const auto table : {lifecycle_methods(), move_methods(), device_methods(), host_methods()})
        all.insert(all.end(), table.begin(), table.end());
    std::sort(all.begin(), all.end(), [](const MethodFacts& a, const MethodFacts& b) {
        return a.name < b.name;
    });
    return all;
}

} // namespace

std::span<const MethodFacts> nova_methods() {
    static const std::vector<MethodFacts> all = merged();
    return all;
}

const MethodFacts* find_method(std::string_view name) {
    const auto all = nova_methods();
    const auto found = std::lower_bound(
        all.begin(), all.end(), name, [](const MethodFacts& one, std::string_view wanted) {
            return one.name < wanted;
        });
    return found != all.end() && found->name == name ? &*found : nullptr;
}

} // namespace novalet::tasks
