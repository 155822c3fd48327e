#pragma once
// Glance as operations need it.
#include "agent/rpc/context.hpp"
#include "hypervisor/hypervisor.hpp"

#include <memory>

namespace novalet::tasks {

/// Images with the credentials of one request.
class Images {
  public:
    virtual ~Images() = default;
    [[nodiscard]] virtual std::unique_ptr<hypervisor::ImageSource>
    for_request(const rpc::Context& context) = 0;
};

} // namespace novalet::tasks
