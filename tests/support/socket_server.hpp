#pragma once
// A TCP server of the loopback whose connections a test plays itself, byte by byte: what a server
// does wrong can be said exactly. No HTTP library takes part.
#include <arpa/inet.h>
#include <atomic>
#include <functional>
#include <mutex>
#include <netinet/in.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/time.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace novalet::tests {

/// One accepted connection. Waits are bounded: a client that never speaks ends the script.
class Connection {
  public:
    explicit Connection(int fd) : fd_(fd) {
        const timeval limit{20, 0};
        setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() { close(); }

    /// Head and body (by Content-Length) of the next request; empty when the client closed.
    std::string request() {
        for (;;) {
            const auto head = input_.find("\r\n\r\n");
            if (head != std::string::npos) {
                const auto size = head + 4 + body_size(input_.substr(0, head));
                if (input_.size() >= size) {
                    std::string whole = input_.substr(0, size);
                    input_.erase(0, size);
                    return whole;
                }
            }
            if (!read_some())
                return {};
        }
    }
    /// Takes some bytes of the next request; false when the client closed.
    bool read_some() {
        char piece[4096];
        const auto got = recv(fd_, piece, sizeof piece, 0);
        if (got > 0)
            input_.append(piece, static_cast<std::size_t>(got));
        return got > 0;
    }
    /// False when the client no longer takes it.
    bool send(std::string_view bytes) {
        while (!bytes.empty()) {
            const auto put = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (put <= 0)
                return false;
            bytes.remove_prefix(static_cast<std::size_t>(put));
        }
        return true;
    }
    bool answer(int status, std::string_view body, std::string_view headers = {}) {
        return send("HTTP/1.1 " + std::to_string(status) +
                    " Status\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
                    std::string(headers) + "\r\n" + std::string(body));
    }
    [[nodiscard]] int fd() const { return fd_; }
    /// Gone at once, whatever is still under way: the peer sees a reset.
    void reset() {
        const linger hard{1, 0};
        setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        close();
    }
    void close() {
        if (fd_ >= 0)
            ::close(fd_);
        fd_ = -1;
    }

  private:
    static std::size_t body_size(const std::string& head) {
        const std::string name = "Content-Length:";
        const auto at = head.find(name);
        return at == std::string::npos ? 0 : std::stoul(head.substr(at + name.size()));
    }
    int fd_;
    std::string input_;
};

/// Runs the script for each connection on a thread of its own, with the connection's number from 0.
class SocketServer {
  public:
    using Script = std::function<void(Connection&, unsigned number)>;
    explicit SocketServer(Script script) : script_(std::move(script)) {
        listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        auto* plain = reinterpret_cast<sockaddr*>(&address);
        if (bind(listener_, plain, size) != 0 || listen(listener_, 16) != 0 ||
            getsockname(listener_, plain, &size) != 0)
            throw std::runtime_error("no listening socket on the loopback");
        port_ = ntohs(address.sin_port);
        acceptor_ = std::jthread([this] { accept_all(); });
    }
    SocketServer(const SocketServer&) = delete;
    SocketServer& operator=(const SocketServer&) = delete;
    ~SocketServer() {
        shutdown(listener_, SHUT_RDWR); // wakes accept
        acceptor_.join();
        players_.clear(); // joins; scripts end when their client has gone
        close(listener_);
    }
    [[nodiscard]] std::string url(std::string_view path = "/") const {
        return "http://127.0.0.1:" + std::to_string(port_) + std::string(path);
    }
    [[nodiscard]] unsigned connections() const { return count_; }

  private:
    void accept_all() {
        for (;;) {
            const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
            if (fd < 0)
                return;
            const unsigned number = count_++;
            players_.emplace_back([this, fd, number] {
                Connection connection(fd);
                script_(connection, number);
            });
        }
    }
    const Script script_;
    int listener_ = -1;
    std::uint16_t port_ = 0;
    std::atomic<unsigned> count_{0};
    std::vector<std::jthread> players_; ///< of the acceptor until it ended
    std::jthread acceptor_;
};

} // namespace novalet::tests
