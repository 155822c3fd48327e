#pragma once
// A RabbitMQ of its own for a test: node name, ports, data, logs, HOME and epmd are private and
// end with it. Needs the package rabbitmq-server. One thread.
#include "agent/core/clock.hpp"
#include "agent/core/file.hpp"
#include "agent/core/process.hpp"
#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"
#include "tests/support/temporary_folder.hpp"

#include <arpa/inet.h>
#include <array>
#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <functional>
#include <netinet/in.h>
#include <poll.h>
#include <spawn.h>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <sys/wait.h>
#include <vector>

namespace novalet::tests {

class RabbitMqBroker {
  public:
    /// More lines of rabbitmq.conf ("key = value"), given the port kept free for TLS.
    using Extra = std::function<std::string(unsigned tls_port)>;

    /// Returns when it takes connections.
    explicit RabbitMqBroker(const Extra& extra = {})
        : node_("novalet-test-" + new_uuid_hex() + "@localhost"), ports_(free_ports()),
          extra_(extra ? extra(ports_[3]) : std::string()) {
        // Made before a static broker is, so that its destructor can still use them.
        static_cast<void>(system_clock());
        static_cast<void>(system_processes());
        start();
    }
    RabbitMqBroker(const RabbitMqBroker&) = delete;
    RabbitMqBroker& operator=(const RabbitMqBroker&) = delete;
    ~RabbitMqBroker() {
        kill(); // its data go with it
        // Only the epmd on our own port.
        discard(system_processes().run(command({"epmd", "-kill"})), "it may be gone already");
    }

    [[nodiscard]] unsigned port() const { return ports_[0]; }
    [[nodiscard]] unsigned tls_port() const { return ports_[3]; }
    [[nodiscard]] const std::string& node() const { return node_; }

    /// With the data of before.
    void start() {
        write_files();
        spawn();
        const auto deadline = Deadline::after(Seconds(90));
        while (!listens(ports_[0])) {
            if (deadline.passed() || waitpid(child_, nullptr, WNOHANG) == child_)
                throw std::runtime_error("rabbitmq-server did not start; its output:\n" +
                                         read_file(folder_ / "output").value_or("(none)"));
            wait_a_little();
        }
        const auto pid = read_file(folder_ / "pid");
        beam_ = to_number<int>(trim(pid.value_or(""))).value_or(0);
        if (beam_ <= 1)
            throw std::runtime_error("rabbitmq-server wrote no process id");
    }
    /// SIGKILL: nothing is flushed, connections end at once.
    void kill() { end(SIGKILL); }
    void stop() { end(SIGTERM); }
    /// The process stands still; its sockets stay.
    void freeze() const { ::kill(beam_, SIGSTOP); }
    void thaw() const { ::kill(beam_, SIGCONT); }
    /// rabbitmqctl; throws when it fails.
    std::string control(std::vector<std::string> arguments) const {
        arguments.insert(arguments.begin(),
                         {"/usr/lib/rabbitmq/bin/rabbitmqctl", "-q", "-n", node_});
        const auto outcome = system_processes().check(command(std::move(arguments)));
        if (!outcome)
            throw std::runtime_error(outcome.error().text);
        return outcome->out;
    }

  private:
    static constexpr const char* server_ = "/usr/lib/rabbitmq/bin/rabbitmq-server";

    /// AMQP, distribution, epmd, TLS. They are free now; nobody else takes loopback ports at random
    /// in the moment until the broker has them.
    static std::array<unsigned, 4> free_ports() {
        std::array<unsigned, 4> out{};
        std::vector<Fd> held; // together, so that they differ
        for (auto& port : out) {
            Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
            sockaddr_in address = loopback(0);
            socklen_t size = sizeof address;
            if (bind(fd.get(), as_sockaddr(address), size) != 0 ||
                getsockname(fd.get(), as_sockaddr(address), &size) != 0)
                throw std::runtime_error("no free loopback port");
            port = ntohs(address.sin_port);
            held.push_back(std::move(fd));
        }
        return out;
    }
    static sockaddr_in loopback(unsigned port) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return address;
    }
    static sockaddr* as_sockaddr(sockaddr_in& address) {
        return reinterpret_cast<sockaddr*>(&address); // the socket interface wants it so
    }
    static bool listens(unsigned port) {
        const Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address = loopback(port);
        return connect(fd.get(), as_sockaddr(address), sizeof address) == 0;
    }
    static void wait_a_little() { poll(nullptr, 0, 50); }

    [[nodiscard]] std::vector<std::string> environment() const {
        const std::string base = folder_.path().string();
        return {"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                "LANG=C.UTF-8",
                "HOME=" + base,
                "ERL_EPMD_ADDRESS=127.0.0.1",
                cat("ERL_EPMD_PORT=", ports_[2]),
                "RABBITMQ_NODENAME=" + node_,
                "RABBITMQ_MNESIA_BASE=" + base + "/mnesia",
                "RABBITMQ_LOG_BASE=" + base + "/log",
                "RABBITMQ_PID_FILE=" + base + "/pid",
                "RABBITMQ_CONF_ENV_FILE=" + base + "/env.conf",
                "RABBITMQ_CONFIG_FILE=" + base + "/rabbitmq.conf",
                "RABBITMQ_ADVANCED_CONFIG_FILE=" + base + "/advanced.config",
                "RABBITMQ_ENABLED_PLUGINS_FILE=" + base + "/plugins",
                "RABBITMQ_GENERATED_CONFIG_DIR=" + base + "/config",
                cat("RABBITMQ_DIST_PORT=", ports_[1]),
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 1:1 -kernel inet_dist_use_interface "
                "{127,0,0,1}"};
    }
    [[nodiscard]] ProcessRequest command(std::vector<std::string> argv) const {
        ProcessRequest request;
        request.argv = std::move(argv);
        request.environment = environment();
        request.timeout = Milliseconds(60000);
        return request;
    }
    void write_files() const {
        std::ofstream(folder_ / "rabbitmq.conf")
            << "listeners.tcp.1 = 127.0.0.1:" << ports_[0] << '\n'
            << "vm_memory_high_watermark.absolute = 1GB\n"
            << "disk_free_limit.absolute = 1MB\n"
            << "log.file.level = warning\n"
            << extra_;
        std::ofstream(folder_ / "env.conf") << "";
        std::ofstream(folder_ / "plugins") << "[].\n";
        std::filesystem::remove(folder_ / "pid");
    }
    void spawn() {
        // It ends with the test, even when the test is killed.
        std::vector<std::string> argv{"/usr/bin/setpriv", "--pdeathsig", "TERM", server_};
        std::vector<std::string> variables = environment();
        std::vector<char*> arguments;
        std::vector<char*> environ_pointers;
        for (auto& text : argv)
            arguments.push_back(text.data());
        for (auto& text : variables)
            environ_pointers.push_back(text.data());
        arguments.push_back(nullptr);
        environ_pointers.push_back(nullptr);
        const std::string output = (folder_ / "output").string();
        posix_spawn_file_actions_t actions{};
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_addopen(
            &actions, 1, output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
        posix_spawn_file_actions_adddup2(&actions, 1, 2);
        const int failed = posix_spawn(
            &child_, argv[0].c_str(), &actions, nullptr, arguments.data(), environ_pointers.data());
        posix_spawn_file_actions_destroy(&actions);
        if (failed != 0)
            throw std::runtime_error("rabbitmq-server: " + errno_text(failed));
    }
    void end(int signal) {
        if (child_ <= 0)
            return;
        ::kill(beam_, SIGCONT);
        ::kill(beam_, signal);
        waitpid(child_, nullptr, 0);
        child_ = -1;
        // The script above is our child, the broker is not: its port tells when it is gone.
        const auto deadline = Deadline::after(Seconds(30));
        while (::kill(beam_, 0) == 0 && !deadline.passed())
            wait_a_little();
    }

    const std::string node_;
    const std::array<unsigned, 4> ports_;
    const std::string extra_;
    TemporaryFolder folder_;
    pid_t child_ = -1;
    pid_t beam_ = 0;
};

/// Started at first use, for all tests of the binary that leave it as they found it.
inline RabbitMqBroker& shared_broker() {
    static RabbitMqBroker broker;
    return broker;
}

} // namespace novalet::tests
