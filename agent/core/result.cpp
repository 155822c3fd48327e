#include "agent/core/result.hpp"

namespace novalet {

const char* name_of(Code code) noexcept {
    switch (code) {
    case Code::InvalidArgument:
        return "invalid_argument";
    case Code::NotFound:
        return "not_found";
    case Code::AlreadyExists:
        return "already_exists";
    case Code::Conflict:
        return "conflict";
    case Code::Unavailable:
        return "unavailable";
    case Code::Timeout:
        return "timeout";
    case Code::Unauthorized:
        return "unauthorized";
    case Code::ResourceExhausted:
        return "resource_exhausted";
    case Code::Unsupported:
        return "unsupported";
    case Code::Cancelled:
        return "cancelled";
    case Code::DataLoss:
        return "data_loss";
    case Code::Remote:
        return "remote";
    case Code::Internal:
        return "internal";
    }
    return "unknown";
}

} // namespace novalet
