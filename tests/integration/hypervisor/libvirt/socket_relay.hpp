#pragma once
// A unix socket that hands every byte on to another one: a libvirtd that goes away, comes back or
// stands still without touching the real one. It reads libvirt's packets as they pass and knows
// which calls are under way.
#include "agent/core/clock.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <poll.h>
#include <set>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace novalet::tests {

/// Cuts one direction of a connection into libvirt's packets. Each begins with its length, itself
/// included, and a header: program, version, procedure, type, serial, status; all of 4 bytes, big
/// end first.
class PacketReader {
  public:
    enum class Type : std::uint32_t { Call = 0, Reply = 1 };
    struct Header {
        std::uint32_t program = 0;
        std::uint32_t procedure = 0;
        std::uint32_t type = 0;
        std::uint32_t serial = 0;
    };
    template <class Sink> void take(const char* data, std::size_t size, const Sink& sink) {
        seen_.append(data, size);
        constexpr std::size_t with_header = 28;
        while (seen_.size() >= with_header && seen_.size() >= word(0)) {
            const auto length = word(0);
            sink(Header{word(1), word(3), word(4), word(5)});
            seen_.erase(0, length);
        }
    }

  private:
    [[nodiscard]] std::uint32_t word(std::size_t index) const {
        std::uint32_t out = 0;
        for (std::size_t i = 0; i < 4; ++i)
            out = out << 8U | static_cast<unsigned char>(seen_[4 * index + i]);
        return out;
    }
    std::string seen_;
};

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
    /// All connections are gone; new ones are taken.
    void drop() {
        const std::lock_guard lock(mutex_);
        drop_ = true;
    }
    /// Nothing passes any more, in either direction, as if libvirtd stood still: what is asked is
    /// read and counted, and handed on by go_on().
    void hold() {
        const std::lock_guard lock(mutex_);
        held_ = true;
    }
    void go_on() {
        const std::lock_guard lock(mutex_);
        held_ = false;
    }
    /// Waits until so many calls are under way at the same time.
    [[nodiscard]] bool reaches(std::size_t calls) {
        std::unique_lock lock(mutex_);
        return changed_.wait_until(
            lock, Deadline::after(Seconds(20)).time(), [&] { return calls_.size() >= calls; });
    }
    /// The most calls that were ever under way at the same time.
    [[nodiscard]] std::size_t most() {
        const std::lock_guard lock(mutex_);
        return most_;
    }
    /// How often this procedure of libvirt's remote protocol was called.
    [[nodiscard]] unsigned asked(std::uint32_t procedure) {
        const std::lock_guard lock(mutex_);
        return asked_[procedure];
    }

  private:
    struct Lane {
        int from;
        int to;
        PacketReader reader;
        std::string held; ///< what go_on() hands on
    };
    static constexpr std::uint32_t keepalive = 0x6b656570;

    static sockaddr_un address_of(const std::string& path) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof(address.sun_path) - 1);
        return address;
    }
    void accept_one(std::vector<Lane>& lanes) const {
        const int near = accept(listener_, nullptr, nullptr);
        const int far = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const auto address = address_of(target_);
        const void* raw = &address;
        if (connect(far, static_cast<const sockaddr*>(raw), sizeof(address)) != 0) {
            close(near);
            close(far);
            return;
        }
        lanes.push_back({near, far, {}, {}});
        lanes.push_back({far, near, {}, {}});
    }
    /// A call counts from the moment it is seen until its reply is handed on.
    void count(int client, const PacketReader::Header& packet) {
        if (packet.program == keepalive)
            return;
        const auto key = std::pair(client, packet.serial);
        const std::lock_guard lock(mutex_);
        if (packet.type == static_cast<std::uint32_t>(PacketReader::Type::Call)) {
            calls_.insert(key);
            ++asked_[packet.procedure];
        } else if (packet.type == static_cast<std::uint32_t>(PacketReader::Type::Reply)) {
            calls_.erase(key);
        }
        most_ = std::max(most_, calls_.size());
        changed_.notify_all();
    }
    static void hand_on(int to, const char* data, std::size_t size) {
        for (std::size_t sent = 0; sent < size;) {
            const auto n = send(to, data + sent, size - sent, MSG_NOSIGNAL);
            if (n <= 0)
                return;
            sent += static_cast<std::size_t>(n);
        }
    }
    void move(Lane& lane, bool from_client, bool held) {
        std::vector<char> buffer(1U << 16U);
        const auto got = read(lane.from, buffer.data(), buffer.size());
        if (got <= 0) {
            shutdown(lane.from, SHUT_RDWR);
            shutdown(lane.to, SHUT_RDWR);
            return;
        }
        const auto size = static_cast<std::size_t>(got);
        lane.reader.take(buffer.data(), size, [&](const PacketReader::Header& packet) {
            count(from_client ? lane.from : lane.to, packet);
        });
        if (held)
            lane.held.append(buffer.data(), size);
        else
            hand_on(lane.to, buffer.data(), size);
    }
    void close_all(std::vector<Lane>& lanes) {
        for (const auto& lane : lanes)
            close(lane.from); // each end is the first of one lane
        lanes.clear();
        const std::lock_guard lock(mutex_);
        calls_.clear();
    }
    void run(const std::stop_token& stop) {
        std::vector<Lane> lanes; // by turns from a client and from libvirtd
        while (!stop.stop_requested()) {
            bool held = false;
            bool drop = false;
            {
                const std::lock_guard lock(mutex_);
                held = held_;
                drop = std::exchange(drop_, false);
            }
            if (drop)
                close_all(lanes);
            std::vector<pollfd> waiting{{listener_, POLLIN, 0}};
            for (std::size_t i = 0; i < lanes.size(); ++i) {
                if (!held)
                    hand_on(lanes[i].to, lanes[i].held.data(), lanes[i].held.size());
                if (!held)
                    lanes[i].held.clear();
                const bool listens = !held || i % 2 == 0; // libvirtd's side stands still
                waiting.push_back({listens ? lanes[i].from : -1, POLLIN, 0});
            }
            constexpr int look_at_flags_ms = 20;
            poll(waiting.data(), waiting.size(), look_at_flags_ms);
            for (std::size_t i = 1; i < waiting.size(); ++i)
                if (waiting[i].revents != 0)
                    move(lanes[i - 1], i % 2 == 1, held);
            if (waiting[0].revents != 0)
                accept_one(lanes);
        }
        close_all(lanes);
    }

    const std::string path_;
    const std::string target_;
    int listener_ = -1;
    std::mutex mutex_; ///< guards all below
    std::condition_variable changed_;
    bool held_ = false;
    bool drop_ = false;
    std::set<std::pair<int, std::uint32_t>> calls_; ///< under way: client and serial
    std::size_t most_ = 0;
    std::map<std::uint32_t, unsigned> asked_;
    std::jthread thread_;
};

} // namespace novalet::tests
