#include "agent/core/process.hpp"

#include "agent/core/file.hpp"
#include "agent/core/text.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace novalet {
namespace {

struct Pipe {
    Fd read_end;
    Fd write_end;
};

Result<Pipe> make_pipe() {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0)
        return fail(Code::ResourceExhausted, "pipe: " + errno_text(errno));
    return Pipe{Fd(ends[0]), Fd(ends[1])};
}

std::string find_program(const std::string& name) {
    if (name.find('/') != std::string::npos)
        return name;
    for (const char* folder : {"/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"})
        if (const std::string path = folder + name; access(path.c_str(), X_OK) == 0)
            return path;
    return {};
}

/// Between fork and exec only async-signal-safe calls: everything is prepared before.
[[noreturn]] void become(const ProcessRequest& request,
                         const char* path,
                         char* const* argv,
                         char* const* environment,
                         const std::array<int, 3>& streams) {
    for (int i = 0; i < 3; ++i)
        if (dup2(streams[static_cast<std::size_t>(i)], i) < 0)
            _exit(127);
    // Libraries open descriptors without O_CLOEXEC, and so may whoever started the agent.
    if (close_range(3, ~0U, 0) != 0)
        for (int fd = 3; fd < 4096; ++fd)
            close(fd);
    if (request.max_address_space > 0) {
        const rlimit limit{request.max_address_space, request.max_address_space};
        if (setrlimit(RLIMIT_AS, &limit) != 0)
            _exit(127);
    }
    if (request.max_cpu_seconds > 0) {
        const rlimit limit{request.max_cpu_seconds, request.max_cpu_seconds};
        if (setrlimit(RLIMIT_CPU, &limit) != 0)
            _exit(127);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    std::signal(SIGPIPE, SIG_DFL);
    setsid();
    execve(path, argv, environment);
    _exit(127);
}

std::vector<char*> pointers(const std::vector<std::string>& words) {
    std::vector<char*> out;
    out.reserve(words.size() + 1);
    for (const auto& word : words)
        out.push_back(const_cast<char*>(word.c_str())); // execve does not write to them
    out.push_back(nullptr);
    return out;
}

/// How often a stop token is looked at; nothing wakes poll() for it.
constexpr Milliseconds stop_check{200};

void set_nonblocking(const Fd& fd) {
    fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
}

/// Reads what is there; false at the end of the stream.
bool drain(const Fd& fd, std::string& into, std::size_t max) {
    std::array<char, 16384> buffer{};
    for (;;) {
        const auto got = read(fd.get(), buffer.data(), buffer.size());
        if (got > 0) {
            const auto room = max > into.size() ? max - into.size() : 0;
            into.append(buffer.data(), std::min(room, static_cast<std::size_t>(got)));
            continue;
        }
        if (got < 0 && errno == EINTR)
            continue;
        return got < 0 && errno == EAGAIN;
    }
}

/// A program that ends without reading its input must not end the agent: SIGPIPE of this thread is
/// held back, and taken away when it came.
class NoPipeSignal {
  public:
    NoPipeSignal() {
        sigemptyset(&pipe_);
        sigaddset(&pipe_, SIGPIPE);
        sigset_t pending;
        sigemptyset(&pending);
        sigpending(&pending);
        was_pending_ = sigismember(&pending, SIGPIPE) == 1;
        pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
    }
    NoPipeSignal(const NoPipeSignal&) = delete;
    NoPipeSignal& operator=(const NoPipeSignal&) = delete;
    ~NoPipeSignal() {
        const timespec at_once{};
        while (!was_pending_ && sigtimedwait(&pipe_, nullptr, &at_once) < 0 && errno == EINTR) {
        }
        pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }

  private:
    sigset_t pipe_{};
    sigset_t before_{};
    bool was_pending_ = false;
};

/// Feeds the input and collects both outputs until both ends are closed, the deadline passes or the
/// stop token says so.
bool converse(const ProcessRequest& request,
              Fd input,
              const Fd& out,
              const Fd& err,
              ProcessOutcome& outcome,
              const Deadline& deadline) {
    const NoPipeSignal no_pipe_signal;
    set_nonblocking(input);
    set_nonblocking(out);
    set_nonblocking(err);
    std::string_view left = request.input;
    bool out_open = true;
    bool err_open = true;
    while (out_open || err_open) {
        if (left.empty())
            input = Fd();
        std::array<pollfd, 3> waits{pollfd{out_open ? out.get() : -1, POLLIN, 0},
                                    pollfd{err_open ? err.get() : -1, POLLIN, 0},
                                    pollfd{input.get(), POLLOUT, 0}};
        if (deadline.passed() || request.stop.stop_requested())
            return false;
        const auto patience =
            request.stop.stop_possible() ? std::min(stop_check, deadline.left()) : deadline.left();
        if (poll(waits.data(), waits.size(), static_cast<int>(patience.count())) < 0 &&
            errno != EINTR)
            return false;
        if (out_open && waits[0].revents != 0)
            out_open = drain(out, outcome.out, request.max_output);
        if (err_open && waits[1].revents != 0)
            err_open = drain(err, outcome.err, request.max_output);
        if (input && waits[2].revents != 0) {
            const auto put = write(input.get(), left.data(), left.size());
            if (put > 0)
                left.remove_prefix(static_cast<std::size_t>(put));
            else if (errno != EAGAIN && errno != EINTR)
                left = {};
        }
    }
    return true;
}

class SystemProcesses final : public ProcessRunner {
  public:
    Result<ProcessOutcome> run(const ProcessRequest& request) override {
        const std::string path = request.argv.empty() ? "" : find_program(request.argv[0]);
        if (path.empty())
            return fail(Code::NotFound,
                        cat("program '",
                            request.argv.empty() ? "" : request.argv[0],
                            "' is not installed"));
        NOVALET_ASSIGN(auto input, make_pipe());
        NOVALET_ASSIGN(auto out, make_pipe());
        NOVALET_ASSIGN(auto err, make_pipe());
        const auto argv = pointers(request.argv);
        const auto environment = pointers(request.environment);
        const pid_t child = fork();
        if (child < 0)
            return fail(Code::ResourceExhausted, "fork: " + errno_text(errno));
        if (child == 0)
            become(request,
                   path.c_str(),
                   argv.data(),
                   environment.data(),
                   {input.read_end.get(), out.write_end.get(), err.write_end.get()});
        input.read_end = Fd();
        out.write_end = Fd();
        err.write_end = Fd();
        ProcessOutcome outcome;
        const auto deadline = Deadline::after(request.timeout);
        const bool finished = converse(
            request, std::move(input.write_end), out.read_end, err.read_end, outcome, deadline);
        if (!finished) {
            kill(-child, SIGKILL); // there is no such group before the child's setsid
            kill(child, SIGKILL);
        }
        int status = 0;
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        if (!finished && request.stop.stop_requested())
            return fail(Code::Cancelled, request.argv[0] + " was stopped before its end");
        if (!finished)
            return fail(Code::Timeout,
                        cat(request.argv[0],
                            " did not end in ",
                            request.timeout.count(),
                            " ms and was killed"));
        outcome.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        return outcome;
    }
};

} // namespace

Result<ProcessOutcome> ProcessRunner::check(const ProcessRequest& request) {
    NOVALET_ASSIGN(auto outcome, run(request));
    if (outcome.exit_status != 0)
        return fail(Code::Internal,
                    cat(request.argv[0],
                        " failed with ",
                        outcome.exit_status,
                        ": ",
                        cut_utf8(trim(outcome.err), 500)));
    return outcome;
}

ProcessRunner& system_processes() {
    static SystemProcesses one;
    return one;
}

} // namespace novalet
