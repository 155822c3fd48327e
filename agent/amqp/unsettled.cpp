#include "agent/amqp/unsettled.hpp"

namespace novalet::amqp {

bool Unsettled::acknowledge(std::uint64_t tag) {
    const auto found = acknowledged_.find(tag);
    if (found == acknowledged_.end() || found->second)
        return false;
    found->second = true;
    ready_.push_back(tag);
    return true;
}

void Unsettled::clear() {
    acknowledged_.clear();
    ready_.clear();
}

std::vector<Unsettled::Acknowledgement> Unsettled::take() {
    std::vector<Acknowledgement> out;
    Acknowledgement oldest; // up to the first that is still worked on
    std::size_t covered = 0;
    while (!acknowledged_.empty() && acknowledged_.begin()->second) {
        oldest.tag = acknowledged_.begin()->first;
        oldest.multiple = ++covered > 1;
        acknowledged_.erase(acknowledged_.begin());
    }
    if (covered > 0)
        out.push_back(oldest);
    for (const auto tag : ready_)
        if (acknowledged_.erase(tag) > 0)
            out.push_back({tag, false});
    ready_.clear();
    return out;
}

} // namespace novalet::amqp
