#pragma once
#include <deque>
#include <string>
#include <unordered_set>

namespace novalet::rpc {

/// The last unique ids of a listener; a second message with one of them is a duplicate
/// (reference 01 §4.4; oslo.messaging keeps 16). One thread.
class RecentIds {
  public:
    explicit RecentIds(std::size_t size) : size_(size) {}
    /// True when the id is new; an empty id is always new.
    bool insert(const std::string& id);
    /// The message will come again and is not a duplicate then.
    void forget(const std::string& id);

  private:
    std::size_t size_;
    std::deque<std::string> order_;
    std::unordered_set<std::string> known_;
};

} // namespace novalet::rpc
