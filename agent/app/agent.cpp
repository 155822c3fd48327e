#include "agent/app/agent.hpp"

#include "agent/app/compute_host.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/telemetry/endpoint.hpp"
#include "agent/telemetry/readiness.hpp"

#include <algorithm>
#include <filesystem>
#include <vector>

namespace novalet::app {
namespace {

/// The configuration of each host of the process: the given one, or `<host>-1` … `<host>-n` with
/// paths of their own.
std::vector<config::Config> host_configs(const config::Config& config) {
    const unsigned count = config.hypervisor.kind == config::HypervisorKind::Simulated
                               ? config.hypervisor.simulated.hosts
                               : 1;
    if (count <= 1)
        return {config};
    std::vector<config::Config> out;
    for (unsigned number = 1; number <= count; ++number) {
        auto own = config;
        own.host = cat(config.host, '-', number);
        const auto folder = std::filesystem::path(config.state_path) / own.host;
        own.state_path = folder.string();
        own.journal.path = (folder / "journal.sqlite").string();
        out.push_back(std::move(own));
    }
    return out;
}

} // namespace

/// Members in the order of construction; destroyed the other way round.
struct Agent::Parts {
    explicit Parts(const config::Config& c) : config(c), control_plane(c) {}

    [[nodiscard]] Json health() const;
    [[nodiscard]] Result<void> open_endpoint();
    void keep_alive(const std::stop_token& stop);

    const config::Config& config;
    ControlPlane control_plane;
    mutable std::mutex mutex; ///< guards hosts
    std::vector<std::unique_ptr<ComputeHost>> hosts;
    std::unique_ptr<telemetry::Endpoint> endpoint;
    telemetry::Readiness readiness = telemetry::Readiness::from_environment();
    std::jthread watchdog;
};

Json Agent::Parts::health() const {
    const std::lock_guard lock(mutex);
    bool connected = control_plane.connected() && !hosts.empty();
    bool up = !hosts.empty();
    std::size_t running = 0;
    for (const auto& host : hosts) {
        connected = connected && host->connected();
        up = up && host->reported_up();
        running += host->running_tasks();
    }
    Json out = Json::object();
    out.set("ok", connected && up)
        .set("broker", connected)
        .set("reported_up", up)
        .set("hosts", hosts.size())
        .set("running_tasks", running)
        .set("version", NOVALET_VERSION);
    return out;
}

Result<void> Agent::Parts::open_endpoint() {
    if (config.telemetry.listen.empty())
        return {};
    NOVALET_ASSIGN(
        endpoint, telemetry::Endpoint::start(config.telemetry.listen, [this] { return health(); }));
    return {};
}

void Agent::Parts::keep_alive(const std::stop_token& stop) {
    const auto period = readiness.watchdog_period();
    if (!period)
        return;
    std::mutex own;
    std::unique_lock lock(own);
    std::condition_variable_any quiet;
    while (!stop.stop_requested()) {
        discard(readiness.alive(), "the manager restarts an agent it does not hear");
        quiet.wait_for(lock, stop, *period, [] { return false; });
    }
}

Agent::Agent(const config::Config& config) : parts_(std::make_unique<Parts>(config)) {}

Agent::~Agent() = default;

Result<void> Agent::start(const std::stop_token& stop) {
    auto& p = *parts_;
    NOVALET_TRY(p.open_endpoint());
    p.watchdog = std::jthread([&p](const std::stop_token& token) { p.keep_alive(token); });
    NOVALET_TRY(p.control_plane.connect(stop));
    for (auto& config : host_configs(p.config)) {
        if (stop.stop_requested())
            return fail(Code::Cancelled, "stopped while it started");
        auto host = std::make_unique<ComputeHost>(std::move(config), p.control_plane);
        auto& started = *host;
        {
            const std::lock_guard lock(p.mutex);
            p.hosts.push_back(std::move(host));
        }
        NOVALET_TRY(started.start());
    }
    discard(p.readiness.ready("consuming requests"), "without a manager nobody waits for it");
    return {};
}

bool Agent::stop() {
    auto& p = *parts_;
    discard(p.readiness.stopping(), "without a manager nobody waits for it");
    log::info("stopping; guests are left alone");
    for (auto& host : p.hosts)
        host->stop_consuming();
    const auto deadline = Deadline::after(p.config.shutdown.graceful_timeout);
    const bool done = std::all_of(
        p.hosts.begin(), p.hosts.end(), [&](const auto& host) { return host->finish(deadline); });
    if (p.control_plane.calls)
        p.control_plane.calls->drain(Deadline::after(Seconds(5)));
    return done;
}

} // namespace novalet::app
