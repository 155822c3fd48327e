#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace novalet::amqp {

/// Deliveries of one channel that the broker still keeps for us, and how to tell it of many in one
/// frame. Bookkeeping only; one thread.
class Unsettled {
  public:
    struct Acknowledgement {
        std::uint64_t tag = 0;
        bool multiple = false; ///< this one and all before it that are unsettled
        bool operator==(const Acknowledgement&) const = default;
    };

    /// It was handed out.
    void delivered(std::uint64_t tag) { acknowledged_.emplace(tag, false); }
    /// It may be acknowledged. False: not one of these, nothing is known of it.
    [[nodiscard]] bool acknowledge(std::uint64_t tag);
    /// It was rejected: the broker does not keep it for us any more.
    void rejected(std::uint64_t tag) { acknowledged_.erase(tag); }
    /// The channel is gone, and its tags with it.
    void clear();
    /// What has to be sent for all that `acknowledge` was called for since the last time. Never
    /// covers a delivery that it was not called for.
    [[nodiscard]] std::vector<Acknowledgement> take();
    [[nodiscard]] std::size_t size() const noexcept { return acknowledged_.size(); }

  private:
    std::map<std::uint64_t, bool> acknowledged_; ///< by tag, all that are unsettled
    std::vector<std::uint64_t> ready_;           ///< those that are true above, as they came
};

} // namespace novalet::amqp
