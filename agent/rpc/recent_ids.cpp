#include "agent/rpc/recent_ids.hpp"

#include <algorithm>

namespace novalet::rpc {

bool RecentIds::insert(const std::string& id) {
    if (id.empty())
        return true;
    if (!known_.insert(id).second)
        return false;
    order_.push_back(id);
    if (order_.size() > size_) {
        known_.erase(order_.front());
        order_.pop_front();
    }
    return true;
}

void RecentIds::forget(const std::string& id) {
    if (known_.erase(id) > 0)
        order_.erase(std::find(order_.begin(), order_.end(), id));
}

} // namespace novalet::rpc
