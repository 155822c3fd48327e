#include "agent/clients/glance.hpp"

#include "agent/core/digest.hpp"
#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"

#include <cerrno>
#include <unistd.h>

namespace novalet::clients {
namespace {

constexpr Milliseconds download_timeout{3600000};

Result<void> write_all(int fd, std::string_view piece) {
    while (!piece.empty()) {
        const auto put = write(fd, piece.data(), piece.size());
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return fail(errno == ENOSPC || errno == EDQUOT ? Code::ResourceExhausted
                                                           : Code::Unavailable,
                        cat("write of the image: ", errno_text(errno)));
        piece.remove_prefix(static_cast<std::size_t>(put));
    }
    return {};
}

/// The digest that the image promises; empty when it promises none.
Result<std::optional<Digest>> digest_for(const Image& image) {
    const std::string algorithm = !image.hash_value.empty() ? image.hash_algorithm
                                  : !image.checksum.empty() ? "md5"
                                                            : "";
    if (algorithm.empty())
        return std::optional<Digest>();
    NOVALET_ASSIGN(auto digest, Digest::create(algorithm));
    return std::optional<Digest>(std::move(digest));
}

} // namespace

Glance::Glance(ServiceClient service, unsigned retries)
    : service_(std::move(service)), retries_(retries) {}

Result<Image> Glance::image(const rpc::Context& context, const std::string& id) {
    if (!is_uuid(id)) // never into a URL unchecked
        return fail_as("ImageNotFound", Code::NotFound, cat("Image ", id, " could not be found."));
    ServiceClient::Call call;
    call.path = "/v2/images/" + id;
    NOVALET_ASSIGN(const auto response, service_.as_user(context, std::move(call)));
    if (response.status == 404)
        return fail_as("ImageNotFound", Code::NotFound, cat("Image ", id, " could not be found."));
    if (response.status == 401 || response.status == 403)
        return fail_as(
            "ImageNotAuthorized", Code::Unauthorized, cat("Not authorized for image ", id, "."));
    NOVALET_ASSIGN(const Json body, json_of("image " + id, response));
    Image image;
    image.id = id;
    image.status = body["status"].as_string();
    image.disk_format = body["disk_format"].as_string();
    image.container_format = body["container_format"].as_string();
    image.size = body["size"].as_int() > 0 ? static_cast<std::uint64_t>(body["size"].as_int()) : 0;
    image.checksum = body["checksum"].as_string();
    image.hash_algorithm = body["os_hash_algo"].as_string();
    image.hash_value = body["os_hash_value"].as_string();
    return image;
}

Result<void> Glance::download_once(const rpc::Context& context, const Image& image, int fd) {
    if (ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0)
        return fail(Code::Internal, "image file: " + errno_text(errno));
    NOVALET_ASSIGN(auto digest, digest_for(image));
    std::uint64_t received = 0;
    ServiceClient::Call call;
    call.path = cat("/v2/images/", image.id, "/file");
    call.headers["Accept"] = "application/octet-stream";
    call.timeout = download_timeout;
    call.sink = [&](std::string_view piece) -> Result<void> {
        received += piece.size();
        if (image.size > 0 && received > image.size)
            return fail(Code::DataLoss, "Glance sends more bytes than the image has");
        if (digest)
            digest->update(piece);
        return write_all(fd, piece);
    };
    NOVALET_ASSIGN(const auto response, service_.as_user(context, std::move(call)));
    if (response.status == 404)
        return fail_as(
            "ImageNotFound", Code::NotFound, cat("Image ", image.id, " could not be found."));
    if (!response.ok() || response.status == 204)
        return Failure(unexpected_status("data of image " + image.id, response));
    if (image.size > 0 && received != image.size)
        return fail(Code::Unavailable,
                    cat("image ", image.id, ": ", received, " of ", image.size, " bytes arrived"));
    if (!digest)
        return {};
    const std::string& promised = image.hash_value.empty() ? image.checksum : image.hash_value;
    if (const auto found = digest->finish(); found != promised)
        return fail(Code::DataLoss,
                    cat("image ",
                        image.id,
                        ": the checksum of the received data is ",
                        found,
                        ", Glance promised ",
                        promised));
    return {};
}

Result<void> Glance::download(const rpc::Context& context, const Image& image, int fd) {
    if (image.status != "active")
        return fail_as(
            "ImageNotActive", Code::Conflict, cat("Image ", image.id, " is not active."));
    Result<void> done;
    for (unsigned attempt = 0; attempt <= retries_; ++attempt) {
        done = download_once(context, image, fd);
        if (done || (done.error().code != Code::Unavailable && done.error().code != Code::Timeout &&
                     done.error().code != Code::DataLoss))
            return done;
        log::warning("image download failed",
                     {{"image", image.id}, {"attempt", attempt + 1}, {"error", done.error().text}});
    }
    return done;
}

} // namespace novalet::clients
