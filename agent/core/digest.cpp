#include "agent/core/digest.hpp"

#include "agent/core/text.hpp"

#include <array>
#include <openssl/evp.h>
#include <stdexcept>

namespace novalet {

struct Digest::State {
    EVP_MD_CTX* context = EVP_MD_CTX_new();
    State() = default;
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() { EVP_MD_CTX_free(context); }
};

Digest::Digest(std::unique_ptr<State> state) : state_(std::move(state)) {}
Digest::Digest(Digest&&) noexcept = default;
Digest& Digest::operator=(Digest&&) noexcept = default;
Digest::~Digest() = default;

Result<Digest> Digest::create(const std::string& algorithm) {
    const EVP_MD* method = EVP_get_digestbyname(algorithm.c_str());
    if (method == nullptr)
        return fail(Code::InvalidArgument, "unknown digest algorithm '" + algorithm + "'");
    auto state = std::make_unique<State>();
    if (state->context == nullptr || EVP_DigestInit_ex(state->context, method, nullptr) != 1)
        return fail(Code::Unsupported, "digest '" + algorithm + "' is not available here");
    return Digest(std::move(state));
}

void Digest::update(std::string_view bytes) {
    if (EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) != 1)
        throw std::runtime_error("digest update failed");
}

std::string Digest::finish() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> raw{};
    unsigned size = 0;
    if (EVP_DigestFinal_ex(state_->context, raw.data(), &size) != 1)
        throw std::runtime_error("digest final failed");
    return hex({reinterpret_cast<const char*>(raw.data()), size});
}

std::string sha1_hex(std::string_view text) {
    auto digest = Digest::create("sha1");
    if (!digest)
        throw std::runtime_error(digest.error().text);
    digest->update(text);
    return digest->finish();
}

} // namespace novalet
