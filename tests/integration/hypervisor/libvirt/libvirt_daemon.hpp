#pragma once
// A libvirtd for tests: the system's when one answers, else one (with virtlogd) that this process
// starts and ends again.
#include "agent/core/clock.hpp"
#include "agent/core/process.hpp"

#include <condition_variable>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <mutex>
#include <spawn.h>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace novalet::tests {

class LibvirtDaemon {
  public:
    LibvirtDaemon() {
        if (answers(libvirt_socket))
            return;
        if (!answers(virtlogd_socket))
            start({"/usr/sbin/virtlogd"}, virtlogd_socket);
        start({"/usr/sbin/libvirtd"}, libvirt_socket);
    }
    LibvirtDaemon(const LibvirtDaemon&) = delete;
    LibvirtDaemon& operator=(const LibvirtDaemon&) = delete;
    ~LibvirtDaemon() {
        for (auto pid = pids_.rbegin(); pid != pids_.rend(); ++pid) {
            kill(*pid, SIGTERM);
            waitpid(*pid, nullptr, 0);
        }
    }
    [[nodiscard]] bool is_up() const { return answers(libvirt_socket); }

  private:
    static constexpr const char* libvirt_socket = "/run/libvirt/libvirt-sock";
    static constexpr const char* virtlogd_socket = "/run/libvirt/virtlogd-sock";

    static bool answers(const std::string& path) {
        const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof(address.sun_path) - 1);
        void* const raw = &address;
        const bool ok = connect(fd, static_cast<const sockaddr*>(raw), sizeof(address)) == 0;
        close(fd);
        return ok;
    }
    void start(std::vector<std::string> argv, const std::string& socket_path) {
        if (!std::filesystem::exists(argv[0]))
            return;
        std::filesystem::create_directories("/run/libvirt");
        std::vector<char*> raw;
        for (auto& word : argv)
            raw.push_back(word.data());
        raw.push_back(nullptr);
        posix_spawn_file_actions_t quiet;
        posix_spawn_file_actions_init(&quiet);
        for (const int fd : {1, 2}) // ctest waits for everybody who holds its pipe
            posix_spawn_file_actions_addopen(&quiet, fd, "/dev/null", O_WRONLY, 0);
        pid_t pid = 0;
        const int failed = posix_spawn(&pid, argv[0].c_str(), &quiet, nullptr, raw.data(), environ);
        posix_spawn_file_actions_destroy(&quiet);
        if (failed != 0)
            return;
        pids_.push_back(pid);
        const auto deadline = Deadline::after(Seconds(60));
        std::mutex mutex;
        std::unique_lock lock(mutex);
        std::condition_variable never;
        while (!answers(socket_path) && !deadline.passed())
            never.wait_until(lock, Deadline::after(Milliseconds(100)).time());
    }

    std::vector<pid_t> pids_;
};

} // namespace novalet::tests
