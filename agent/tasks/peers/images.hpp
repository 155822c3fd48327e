#pragma once
// Glance as operations need it.
#include "agent/rpc/context.hpp"
#include "hypervisor/hypervisor.hpp"

#include <memory>
#include <string>

namespace novalet::tasks {

/// Images with the credentials of one request. Thread safe.
class Images {
  public:
    virtual ~Images() = default;
    [[nodiscard]] virtual std::unique_ptr<hypervisor::ImageSource>
    for_request(const rpc::Context& context) = 0;
    /// The image of a snapshot that failed is deleted. An image that is gone is no news, any other
    /// failure is logged as an error: the reason of the failed snapshot is what matters
    /// (nova.compute.manager.delete_image_on_error, nova.compute.utils.delete_image).
    virtual void remove(const rpc::Context& context, const std::string& image_id) = 0;
};

} // namespace novalet::tasks
