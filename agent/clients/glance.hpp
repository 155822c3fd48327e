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

/// Thread safe. Calls go with the user's token of the context. What Glance could not answer (no
/// connection, HTTP 5xx) is asked again, a second later and at its next endpoint.
class Glance {
  public:
    Glance(ServiceClient service, unsigned retries);

    /// ImageNotFound / ImageNotAuthorized / GlanceConnectionFailed as Nova names them.
    [[nodiscard]] Result<Image> image(const rpc::Context& context, const std::string& id);
    /// The bytes of an active image to a descriptor, from its start. Size and checksum are verified
    /// while writing: the multihash, or md5 where there is none or its algorithm is not known here.
    /// ImageNotActive, GlanceConnectionFailed after the retries, or DataLoss when the bytes are not
    /// those that were promised.
    [[nodiscard]] Result<void> download(const rpc::Context& context, const Image& image, int fd);
    /// ImageNotFound, ImageNotAuthorized, ImageDeleteConflict (in use) or
    /// GlanceConnectionFailed, as nova.image.glance.delete. When an answer is lost, the repetition
    /// finds no image: ImageNotFound.
    [[nodiscard]] Result<void> delete_image(const rpc::Context& context, const std::string& id);

  private:
    using Call = ServiceClient::Call;
    [[nodiscard]] Result<HttpResponse>
    ask(const rpc::Context& context, const std::string& image, Call call);
    [[nodiscard]] Result<void>
    download_once(const rpc::Context& context, const Image& image, int fd, unsigned endpoint);
    /// `work(attempt)` until it is done, fails for good, or the retries are over.
    template <class Work> [[nodiscard]] auto retried(const std::string& what, const Work& work);

    ServiceClient service_;
    const unsigned retries_;
};

} // namespace novalet::clients
