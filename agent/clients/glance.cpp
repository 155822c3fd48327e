#include "agent/clients/glance.hpp"

#include "agent/core/digest.hpp"
#include "agent/core/file.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <unistd.h>

namespace novalet::clients {
namespace {

constexpr Milliseconds longest_silence{120000}; ///< of a download: Glance may open a slow store
constexpr Milliseconds retry_pause{1000};

Result<void> write_all(int fd, std::string_view piece) {
    while (!piece.empty()) {
        const auto put = write(fd, piece.data(), piece.size());
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return fail(errno == ENOSPC || errno == EDQUOT ? Code::ResourceExhausted
                                                           : Code::Internal,
                        cat("write of the image: ", errno_text(errno)));
        piece.remove_prefix(static_cast<std::size_t>(put));
    }
    return {};
}

/// What the bytes of an image are checked against while they come.
struct Check {
    std::optional<Digest> digest; ///< none: nothing usable was promised
    std::string promised;
};

Check check_for(const Image& image) {
    if (!image.hash_value.empty() && !image.hash_algorithm.empty()) {
        if (auto digest = Digest::create(image.hash_algorithm))
            return {std::move(*digest), image.hash_value};
        log::warning("the hash algorithm of an image is not known here; md5 is checked instead",
                     {{"image", image.id}, {"algorithm", image.hash_algorithm}});
    }
    if (!image.checksum.empty()) {
        if (auto digest = Digest::create("md5")) // not on a host in FIPS mode
            return {std::move(*digest), image.checksum};
    }
    log::warning("an image has no checksum that can be verified", {{"image", image.id}});
    return {};
}

/// Whether the next endpoint, or the same a second later, may do better.
bool worth_a_retry(const Error& error) {
    return error.code == Code::Unavailable || error.code == Code::Timeout ||
           error.code == Code::DataLoss;
}

} // namespace

Glance::Glance(ServiceClient service, unsigned retries)
    : service_(std::move(service)), retries_(retries) {}

template <class Work> auto Glance::retried(const std::string& what, const Work& work) {
    for (unsigned attempt = 0;; ++attempt) {
        auto done = work(attempt);
        if (done || !worth_a_retry(done.error()))
            return done;
        log::warning("request to Glance failed",
                     {{"what", what},
                      {"attempt", attempt + 1},
                      {"of", retries_ + 1},
                      {"error", done.error().text}});
        if (attempt >= retries_ || !service_.pause(retry_pause)) {
            Error error = done.error();
            if (error.code != Code::DataLoss) {
                error.exception = "GlanceConnectionFailed";
                error.module = "nova.exception";
            }
            done = Failure(std::move(error));
            return done;
        }
    }
}

Result<HttpResponse> Glance::ask(const rpc::Context& context, const std::string& image, Call call) {
    call.resend = false; // retried() does it, at the next endpoint
    NOVALET_ASSIGN(auto response, service_.as_user(context, std::move(call)));
    if (response.status == 404)
        return fail_as(
            "ImageNotFound", Code::NotFound, cat("Image ", image, " could not be found."));
    if (response.status == 401 || response.status == 403)
        return fail_as(
            "ImageNotAuthorized", Code::Unauthorized, cat("Not authorized for image ", image, "."));
    return response;
}

Result<Image> Glance::image(const rpc::Context& context, const std::string& id) {
    if (!is_uuid(id)) // never into a URL unchecked
        return fail_as("ImageNotFound", Code::NotFound, cat("Image ", id, " could not be found."));
    return retried("image " + id, [&](unsigned attempt) -> Result<Image> {
        Call call;
        call.path = "/v2/images/" + id;
        call.endpoint = attempt;
        NOVALET_ASSIGN(const Json body, json_of("image " + id, ask(context, id, std::move(call))));
        Image image;
        image.id = id;
        image.status = body["status"].as_string();
        image.disk_format = body["disk_format"].as_string();
        image.container_format = body["container_format"].as_string();
        image.size = static_cast<std::uint64_t>(std::max<std::int64_t>(body["size"].as_int(), 0));
        image.checksum = body["checksum"].as_string();
        image.hash_algorithm = body["os_hash_algo"].as_string();
        image.hash_value = body["os_hash_value"].as_string();
        return image;
    });
}

Result<void> Glance::delete_image(const rpc::Context& context, const std::string& id) {
    if (!is_uuid(id)) // never into a URL unchecked
        return fail_as("ImageNotFound", Code::NotFound, cat("Image ", id, " could not be found."));
    const std::string what = "deletion of image " + id;
    return retried(what, [&](unsigned attempt) -> Result<void> {
        Call call;
        call.method = "DELETE";
        call.path = "/v2/images/" + id;
        call.endpoint = attempt;
        NOVALET_ASSIGN(const auto response, ask(context, id, std::move(call)));
        if (response.ok())
            return {};
        const auto refused = unexpected_status(what, response);
        if (response.status == 409)
            return fail_as("ImageDeleteConflict",
                           Code::Conflict,
                           cat("Conflict deleting image. Reason: ", refused.text, '.'));
        return Failure(refused);
    });
}

Result<void>
Glance::download_once(const rpc::Context& context, const Image& image, int fd, unsigned endpoint) {
    if (ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0)
        return fail(Code::Internal, "image file: " + errno_text(errno));
    auto check = check_for(image);
    std::uint64_t received = 0;
    Call call;
    call.path = cat("/v2/images/", image.id, "/file");
    call.headers["Accept"] = "application/octet-stream";
    call.timeout = longest_silence;
    call.endpoint = endpoint;
    call.sink = [&](std::string_view piece) -> Result<void> {
        received += piece.size();
        if (image.size > 0 && received > image.size)
            return fail(Code::DataLoss,
                        cat("image ", image.id, ": Glance sends more than ", image.size, " bytes"));
        if (check.digest)
            check.digest->update(piece);
        return write_all(fd, piece);
    };
    NOVALET_ASSIGN(const auto response, ask(context, image.id, std::move(call)));
    if (response.status == 204)
        return fail(Code::NotFound, cat("image ", image.id, " has no data"));
    if (!response.ok())
        return Failure(unexpected_status("data of image " + image.id, response));
    if (image.size > 0 && received != image.size)
        return fail(Code::Unavailable,
                    cat("image ", image.id, ": ", received, " of ", image.size, " bytes arrived"));
    if (!check.digest)
        return {};
    if (const auto found = check.digest->finish(); found != check.promised)
        return fail(Code::DataLoss,
                    cat("image ",
                        image.id,
                        ": the checksum of the received data is ",
                        found,
                        ", Glance promised ",
                        check.promised));
    return {};
}

Result<void> Glance::download(const rpc::Context& context, const Image& image, int fd) {
    if (!is_uuid(image.id)) // never into a URL unchecked
        return fail_as(
            "ImageNotFound", Code::NotFound, cat("Image ", image.id, " could not be found."));
    if (image.status != "active")
        return fail_as(
            "ImageNotActive", Code::Conflict, cat("Image ", image.id, " is not active."));
    return retried("data of image " + image.id,
                   [&](unsigned attempt) { return download_once(context, image, fd, attempt); });
}

} // namespace novalet::clients
