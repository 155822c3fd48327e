#pragma once
// Digests through OpenSSL. Any thread; one Digest object belongs to one thread.
#include "agent/core/result.hpp"

#include <memory>
#include <string>
#include <string_view>

namespace novalet {

class Digest {
  public:
    /// `algorithm` as OpenSSL names it: md5, sha1, sha256, sha512 … Unknown → InvalidArgument.
    [[nodiscard]] static Result<Digest> create(const std::string& algorithm);
    Digest(Digest&&) noexcept;
    Digest& operator=(Digest&&) noexcept;
    ~Digest();
    void update(std::string_view bytes);
    /// Lower-case hex; the object is used up afterwards.
    [[nodiscard]] std::string finish();

  private:
    struct State;
    explicit Digest(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

/// sha1 of a short text as lower-case hex (image cache names).
[[nodiscard]] std::string sha1_hex(std::string_view text);

} // namespace novalet
