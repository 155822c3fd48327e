#pragma once
// The channels of a session's connection. Private to session*.cpp.
#include "agent/amqp/link.hpp"

namespace novalet::amqp {

constexpr Channel consume_channel = 1;
constexpr Channel publish_channel = 2;
constexpr Channel declare_channel = 3; ///< a refused declaration costs this channel only

} // namespace novalet::amqp
