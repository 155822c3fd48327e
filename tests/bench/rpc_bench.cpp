// Both ends of the RPC bench: an RPC server with one trivial method, and a load that many servers
// can be asked with, so that tests/bench/run gives novalet's server and oslo.messaging's the same
// work on the same broker. The broker's URL, with its password, is read from standard input.
//
//   bench_rpc serve HOST                      until SIGTERM
//   bench_rpc load HOST CALLS CONCURRENCY     prints {"calls", "seconds", "failed"}
#include "agent/core/file.hpp"
#include "agent/core/json.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/core/timer.hpp"
#include "agent/rpc/bus_caller.hpp"
#include "agent/rpc/endpoint_table.hpp"
#include "agent/rpc/server.hpp"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <thread>
#include <vector>

namespace {

using namespace novalet;

constexpr const char* topic = "compute";

Result<amqp::Options> read_options() {
    std::string url;
    if (!std::getline(std::cin, url))
        return fail(Code::InvalidArgument, "no broker's URL on standard input");
    amqp::Options options;
    NOVALET_ASSIGN(options.url, amqp::TransportUrl::parse(url));
    options.connection_name = "novalet-bench";
    return options;
}

/// The way of a request that has no effects: nothing is written down.
class Endpoints final : public rpc::Dispatcher {
  public:
    Endpoints() { rpc::add_base_api(table_); }
    Result<Admission> accept(const rpc::Request& /*request*/) override { return Admission{}; }
    void dispatch(rpc::Request request, rpc::Responder responder) override {
        table_.dispatch(std::move(request), std::move(responder));
    }

  private:
    rpc::EndpointTable table_;
};

/// As the agent does it: one connection for requests, one for answers.
Result<void> serve(const amqp::Options& options, const std::string& host) {
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ends, nullptr); // before other threads start: they inherit it
    Endpoints endpoints;
    amqp::Session requests(options, "requests");
    amqp::Session answers(options, "calls");
    Timer timer;
    rpc::Replier replier(answers, timer);
    rpc::Server server(requests, replier, endpoints, {}, topic, host);
    server.start();
    int signal = 0;
    sigwait(&ends, &signal);
    server.stop_consuming(Deadline::after(Seconds(10)));
    return {};
}

/// Calls of `concurrency` callers at once, each waiting for its answer before it asks again.
class Load {
  public:
    Load(const amqp::Options& options, const std::string& host)
        : session_(options, "load"), caller_(session_, {}) {
        target_.topic = topic;
        target_.server = host;
        target_.name_space = "baseapi";
        target_.version = "1.0";
    }

    /// A server that has just started may not listen yet; a call to no queue is lost.
    Result<void> wait_for_server() {
        rpc::CallOptions impatient;
        impatient.timeout = Seconds(1);
        const auto deadline = Deadline::after(Seconds(60));
        while (true) {
            const auto answer = ping("there", impatient);
            if (answer)
                return {};
            if (deadline.passed())
                return Failure(answer.error());
        }
    }

    Json run(long calls, unsigned concurrency) {
        std::atomic<long> left = calls;
        const auto start = system_clock().monotonic();
        {
            std::vector<std::jthread> callers;
            for (unsigned i = 0; i < concurrency; ++i)
                callers.emplace_back([&] {
                    while (left.fetch_sub(1) > 0)
                        if (!ping("an argument of usual length, as names of hosts are", {}))
                            ++failed_;
                });
        }
        const std::chrono::duration<double> spent = system_clock().monotonic() - start;
        Json report = Json::object();
        report.set("calls", calls).set("seconds", spent.count()).set("failed", failed_.load());
        return report;
    }

  private:
    Result<Json> ping(const std::string& text, const rpc::CallOptions& how) {
        Json args = Json::object();
        args.set("arg", text);
        NOVALET_ASSIGN(auto answer, caller_.call(target_, "ping", args, context_, how));
        if (answer["arg"].as_string() != text)
            return fail(Code::Internal, cat("ping answered ", answer.dump()));
        return answer;
    }

    amqp::Session session_;
    rpc::BusCaller caller_;
    rpc::Target target_;
    const rpc::Context context_ = rpc::Context::admin();
    std::atomic<long> failed_ = 0;
};

Result<void>
load(const amqp::Options& options, const std::string& host, long calls, unsigned concurrency) {
    Load work(options, host);
    NOVALET_TRY(work.wait_for_server());
    std::puts(work.run(calls, concurrency).dump().c_str());
    return {};
}

Result<void> run(const std::vector<std::string>& words) {
    const bool serves = words.size() == 2 && words[0] == "serve";
    const bool loads = words.size() == 4 && words[0] == "load";
    if (!serves && !loads)
        return fail(Code::InvalidArgument,
                    "usage: bench_rpc serve HOST | load HOST CALLS CONCURRENCY");
    NOVALET_ASSIGN(const auto options, read_options());
    if (serves)
        return serve(options, words[1]);
    const auto calls = to_number<long>(words[2]);
    const auto concurrency = to_number<unsigned>(words[3]);
    if (!calls || !concurrency || *calls < 1 || *concurrency < 1 || *concurrency > 1000)
        return fail(Code::InvalidArgument, "CALLS and CONCURRENCY (to 1000) are positive numbers");
    return load(options, words[1], *calls, *concurrency);
}

} // namespace

int main(int argc, char** argv) {
    log::configure(log::Level::Warning);
    const auto result = run({argv + 1, argv + argc});
    if (result)
        return 0;
    std::fprintf(stderr, "bench_rpc: %s\n", result.error().text.c_str());
    return 1;
}
