#pragma once
// A unix socket that hands every byte on to another one, until it is cut: a libvirtd that goes away
// and comes back without touching the real one.
#include <atomic>
#include <filesystem>
#include <memory>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace novalet::tests {

class SocketRelay {
  public:
    SocketRelay(std::string path, std::string target)
        : path_(std::move(path)), target_(std::move(target)) {}
    ~SocketRelay() { cut(); }

    void open() {
        std::filesystem::remove(path_);
        listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const auto address = address_of(path_);
        const void* raw = &address;
        if (bind(listener_, static_cast<const sockaddr*>(raw), sizeof(address)) != 0 ||
            listen(listener_, 8) != 0)
            throw std::runtime_error("cannot listen on " + path_);
        thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
    }
    /// The socket and all connections are gone.
    void cut() {
        if (!thread_.joinable())
            return;
        thread_.request_stop();
        thread_.join();
        close(listener_);
        std::filesystem::remove(path_);
    }

  private:
    static sockaddr_un address_of(const std::string& path) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof(address.sun_path) - 1);
        return address;
    }
    void accept_one(std::vector<std::pair<int, int>>& pairs) const {
        const int near = accept(listener_, nullptr, nullptr);
        const int far = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const auto address = address_of(target_);
        const void* raw = &address;
        if (connect(far, static_cast<const sockaddr*>(raw), sizeof(address)) != 0) {
            close(near);
            close(far);
            return;
        }
        pairs.emplace_back(near, far);
        pairs.emplace_back(far, near);
    }
    void run(const std::stop_token& stop) const {
        std::vector<std::pair<int, int>> pairs; // from, to
        std::vector<char> buffer(1U << 16U);
        while (!stop.stop_requested()) {
            std::vector<pollfd> waiting{{listener_, POLLIN, 0}};
            for (const auto& [from, to] : pairs)
                waiting.push_back({from, POLLIN, 0});
            constexpr int look_at_stop_ms = 50;
            poll(waiting.data(), waiting.size(), look_at_stop_ms);
            for (std::size_t i = 1; i < waiting.size(); ++i) {
                if (waiting[i].revents == 0)
                    continue;
                const auto got = read(pairs[i - 1].first, buffer.data(), buffer.size());
                if (got <= 0) {
                    shutdown(pairs[i - 1].first, SHUT_RDWR);
                    shutdown(pairs[i - 1].second, SHUT_RDWR);
                    continue;
                }
                for (ssize_t sent = 0; sent < got;) {
                    const auto n = send(pairs[i - 1].second,
                                        buffer.data() + sent,
                                        static_cast<std::size_t>(got - sent),
                                        MSG_NOSIGNAL);
                    if (n <= 0)
                        break;
                    sent += n;
                }
            }
            if (waiting[0].revents != 0)
                accept_one(pairs);
        }
        for (const auto& [from, to] : pairs)
            close(from); // each end is the first of one pair
    }

    const std::string path_;
    const std::string target_;
    int listener_ = -1;
    std::jthread thread_;
};

} // namespace novalet::tests
