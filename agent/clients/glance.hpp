#pragma once
// Glance v2 (reference 06 §2).
#include "agent/clients/keystone.hpp"

#include <string>

namespace novalet::clients {

struct Image {
    std::string id;
    std::string status;
    std::string disk_format;
    std::string container_format;
    std::uint64_t size = 0;     ///< bytes; 0 = unknown
    std::string checksum;       ///< md5; may be empty
    std::string hash_algorithm; ///< os_hash_algo; may be empty
    std::string hash_value;
};

/// Thread safe. Calls go with the user's token of the context.
class Glance {
  public:
    Glance(ServiceClient service, unsigned retries);

    /// ImageNotFound / ImageNotAuthorized as Nova names them.
    [[nodiscard]] Result<Image> image(const rpc::Context& context, const std::string& id);
    /// The bytes of an active image to a descriptor, from its start. Size and checksum (multihash
    /// before md5) are verified while writing. ImageNotActive, or Unavailable after the retries.
    [[nodiscard]] Result<void> download(const rpc::Context& context, const Image& image, int fd);

  private:
    [[nodiscard]] Result<void>
    download_once(const rpc::Context& context, const Image& image, int fd);

    ServiceClient service_;
    const unsigned retries_;
};

} // namespace novalet::clients
