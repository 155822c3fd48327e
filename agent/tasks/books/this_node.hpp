#pragma once
// What records call this host: read by everybody, written by the resource tracker.
#include "agent/core/result.hpp"

#include <cstdint>
#include <mutex>
#include <string>

namespace novalet::tasks {

/// Thread safe; no verb waits for anything but a copy.
class ThisNode {
  public:
    explicit ThisNode(std::string host) : host_(std::move(host)) {}

    struct Record {
        std::int64_t id = 0;
        std::string uuid; ///< of the ComputeNode and of its provider
    };
    [[nodiscard]] const std::string& host() const noexcept { return host_; }
    /// hypervisor_hostname; empty before the first look at the hypervisor.
    [[nodiscard]] std::string name() const;
    /// NotFound before the host has a ComputeNode.
    [[nodiscard]] Result<Record> record() const;

    /// Of the ComputeNode; 0 = not known yet.
    [[nodiscard]] std::int64_t id() const;

    void set_name(std::string name);
    void set_record(Record record);

  private:
    const std::string host_;
    mutable std::mutex mutex_; ///< guards the next, held for copies only
    std::string name_;
    Record record_;
};

} // namespace novalet::tasks
