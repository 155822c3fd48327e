#pragma once
// External programs: an argument vector, never a shell. Each program has a type of its own beside
// its user (for example hypervisor/storage/qemu_img) that builds the vector.
#include "agent/core/clock.hpp"
#include "agent/core/result.hpp"

#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

namespace novalet {

struct ProcessRequest {
    std::vector<std::string> argv; ///< argv[0] is looked up in /usr/sbin:/usr/bin:/sbin:/bin
    std::vector<std::string> environment = {"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
    std::string input;                   ///< given on standard input
    Milliseconds timeout{30000};         ///< then SIGKILL
    std::uint64_t max_address_space = 0; ///< bytes (RLIMIT_AS); 0 = no limit
    std::uint64_t max_cpu_seconds = 0;   ///< RLIMIT_CPU; 0 = no limit
    std::size_t max_output = 4U << 20U;  ///< bytes kept of each stream; the rest is dropped
    std::stop_token stop{};              ///< asked to stop: SIGKILL within 200 ms
};

struct ProcessOutcome {
    int exit_status = 0; ///< exit code, or 128 + signal
    std::string out;
    std::string err;
};

/// Thread safe. Faked in tests.
class ProcessRunner {
  public:
    virtual ~ProcessRunner() = default;
    /// Ok even when the program failed (see exit_status); an error when it could not be started
    /// (NotFound) or was killed at the deadline (Timeout) or by the stop token (Cancelled).
    [[nodiscard]] virtual Result<ProcessOutcome> run(const ProcessRequest& request) = 0;
    /// Like run, but a non-zero exit is an error whose text has the first line of stderr.
    [[nodiscard]] Result<ProcessOutcome> check(const ProcessRequest& request);
};

/// Runs real processes (posix_spawn-like, all descriptors closed, own limits).
[[nodiscard]] ProcessRunner& system_processes();

} // namespace novalet
