#include "agent/amqp/socket_options.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace novalet::amqp {

void give_up_after(int socket, Seconds silence) {
    const auto milliseconds = static_cast<unsigned>(Milliseconds(silence).count());
    setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof milliseconds);
}

Packing::Packing(int socket) : socket_(socket) {
    const int on = 1;
    setsockopt(socket_, IPPROTO_TCP, TCP_CORK, &on, sizeof on);
}

Packing::~Packing() {
    const int off = 0;
    setsockopt(socket_, IPPROTO_TCP, TCP_CORK, &off, sizeof off);
}

} // namespace novalet::amqp
