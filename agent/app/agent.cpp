#include "agent/app/agent.hpp"

#include "agent/app/options.hpp"
#include "agent/core/log.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"
#include "agent/core/timer.hpp"
#include "agent/objects/detect_release.hpp"
#include "agent/rpc/bus_caller.hpp"
#include "agent/rpc/replier.hpp"
#include "agent/rpc/server.hpp"
#include "agent/tasks/bus_notifier.hpp"
#include "agent/tasks/nova_peers.hpp"
#include "agent/tasks/periodic.hpp"
#include "agent/tasks/resource_tracker.hpp"
#include "agent/tasks/router.hpp"
#include "agent/telemetry/endpoint.hpp"
#include "agent/telemetry/readiness.hpp"
#include "hypervisor/libvirt/libvirt_hypervisor.hpp"

namespace novalet::app {
namespace {

constexpr const char* binary = "nova-compute"; ///< what Service records and schedulers know
constexpr std::size_t network_threads = 16;
constexpr std::size_t task_threads_beside_builds = 64;

} // namespace

/// Members in the order of construction; destroyed the other way round.
struct Agent::Parts {
    const config::Config& config;
    std::unique_ptr<clients::HttpClient> http = clients::make_http_client();
    clients::Keystone placement_account, neutron_account, glance_account, service_account;
    clients::Placement placement;
    clients::Neutron neutron;
    clients::Glance glance;
    std::unique_ptr<journal::Journal> journal;
    Timer timer;
    std::unique_ptr<amqp::Session> requests;
    std::unique_ptr<amqp::Session> calls;
    std::unique_ptr<rpc::BusCaller> bus;
    std::unique_ptr<rpc::Replier> replier;
    std::unique_ptr<objects::Conductor> conductor;
    std::unique_ptr<hypervisor::Hypervisor> hypervisor;
    std::unique_ptr<tasks::TaskPool> network_pool;
    std::unique_ptr<tasks::TaskPool> pool;
    std::unique_ptr<tasks::InstanceQueues> queues;
    tasks::EventWaiters waiters;
    std::unique_ptr<tasks::NovaNetworks> networks;
    std::unique_ptr<tasks::NovaImages> images;
    std::unique_ptr<tasks::Notifier> notifier;
    std::unique_ptr<tasks::ResourceTracker> tracker;
    std::unique_ptr<tasks::Services> services;
    std::unique_ptr<tasks::Router> router;
    std::unique_ptr<rpc::Server> server;
    std::unique_ptr<tasks::Periodic> periodic;
    std::unique_ptr<telemetry::Endpoint> endpoint;
    telemetry::Readiness readiness = telemetry::Readiness::from_environment();
    std::mutex service_mutex; ///< guards service
    objects::Object service;
    std::atomic<bool> reporting{false};

    explicit Parts(const config::Config& c)
        : config(c), placement_account(*http, auth_options(c.placement)),
          neutron_account(*http, auth_options(c.neutron)),
          glance_account(*http, auth_options(c.glance)),
          service_account(*http, auth_options(c.service_user)),
          placement(clients::ServiceClient(
              *http,
              placement_account,
              service_options(c.placement, c.placement.endpoint_override, {"placement"}),
              nullptr)),
          neutron(clients::ServiceClient(
                      *http,
                      neutron_account,
                      service_options(c.neutron, c.neutron.endpoint_override, {"network"}),
                      service_user()),
                  {c.neutron.ovs_bridge, false, c.networking.network_allocate_retries}),
          glance(clients::ServiceClient(
                     *http,
                     glance_account,
                     service_options(c.glance, c.glance.endpoint_override, {"image"}),
                     service_user()),
                 c.glance.num_retries) {}

    clients::Keystone* service_user() {
        return config.service_user.send_service_user_token ? &service_account : nullptr;
    }

    Result<void> open_journal();
    Result<void> connect(const std::stop_token& stop);
    Result<void> know_release();
    Result<void> register_service();
    Result<void> compose();
    void start_periodic();
    void heartbeat();
    void sync_power_state(const InstanceUuid& uuid);
    void on_guest_event(const hypervisor::GuestEvent& event);
    [[nodiscard]] Json health() const;
};

Result<void> Agent::Parts::open_journal() {
    journal::Options options;
    options.path = config.journal.path;
    options.retention = config.journal.retention;
    NOVALET_ASSIGN(journal, journal::Journal::open(options));
    return {};
}

Result<void> Agent::Parts::connect(const std::stop_token& stop) {
    NOVALET_ASSIGN(const auto options, amqp_options(config));
    NOVALET_ASSIGN(const auto topology, topology_options(config));
    requests = std::make_unique<amqp::Session>(options, "requests");
    calls = std::make_unique<amqp::Session>(options, "calls");
    bus = std::make_unique<rpc::BusCaller>(*calls, topology);
    replier = std::make_unique<rpc::Replier>(*calls, timer);
    conductor = std::make_unique<objects::Conductor>(
        *bus, objects::releases().front(), config.transport.rpc_response_timeout);
    return conductor->wait_until_alive(stop);
}

Result<void> Agent::Parts::know_release() {
    objects::ReleaseWish wish;
    wish.release = config.compat.release;
    wish.service_version = static_cast<int>(config.compat.service_version);
    NOVALET_ASSIGN(auto found,
                   objects::detect_release(*conductor, wish, config.intervals.service_down_time));
    const auto context = rpc::Context::admin();
    NOVALET_ASSIGN(service, conductor->service(config.host, binary, context));
    found.release.service_version = objects::version_to_report(found, service);
    log::info("control plane found",
              {{"release", found.release.name},
               {"service_version", found.release.service_version},
               {"source", found.source}});
    conductor->adopt(found.release);
    return {};
}

Result<void> Agent::Parts::register_service() {
    const auto context = rpc::Context::admin();
    const int version = conductor->profile()->service_version;
    if (service.valid()) {
        if (service.get("version").as_int() == version)
            return {};
        service.set("version", version);
        return conductor->save_service(service, context);
    }
    service = conductor->make("Service");
    service.set("host", config.host);
    service.set("binary", binary);
    service.set("topic", "compute");
    service.set("report_count", 0);
    service.set("version", version);
    if (!config.compute.enable_new_services) {
        service.set("disabled", true);
        service.set("disabled_reason", "New compute service disabled due to config option.");
    }
    NOVALET_TRY(conductor->create_service(service, context));
    log::info("service record created", {{"host", config.host}});
    return {};
}

Result<void> Agent::Parts::compose() {
    const auto release = conductor->profile();
    network_pool = std::make_unique<tasks::TaskPool>(network_threads);
    pool =
        std::make_unique<tasks::TaskPool>(task_threads_beside_builds + config.compute.task_threads +
                                          config.compute.max_concurrent_builds);
    queues = std::make_unique<tasks::InstanceQueues>(*pool);
    networks = std::make_unique<tasks::NovaNetworks>(neutron, *conductor, config.host);
    images = std::make_unique<tasks::NovaImages>(glance);
    tracker = std::make_unique<tasks::ResourceTracker>(
        tracker_options(config), *conductor, *hypervisor, placement, *pool);
    const auto options = task_options(config, *release);
    notifier =
        std::make_unique<tasks::BusNotifier>(*bus, *conductor, config.notifications, options);
    services = std::make_unique<tasks::Services>(tasks::Services{options,
                                                                 *bus,
                                                                 *conductor,
                                                                 *hypervisor,
                                                                 *networks,
                                                                 *tracker,
                                                                 *images,
                                                                 *notifier,
                                                                 *journal,
                                                                 *queues,
                                                                 *pool,
                                                                 *network_pool,
                                                                 waiters});
    router = std::make_unique<tasks::Router>(*services, objects::releases().back().rpc_version());
    NOVALET_ASSIGN(const auto topology, topology_options(config));
    server = std::make_unique<rpc::Server>(
        *requests, *replier, *router, topology, "compute", config.host);
    return {};
}

void Agent::Parts::heartbeat() {
    const std::lock_guard lock(service_mutex);
    const auto reported = conductor->report_alive(service, rpc::Context::admin());
    if (reported && !reporting.exchange(true))
        log::info("reported up");
    if (!reported && reporting.exchange(false))
        log::warning("the heartbeat does not reach the conductor",
                     {{"error", reported.error().text}});
}

/// Reference 04 §6.1: the record follows the guest; a guest that ended by itself is stopped.
void Agent::Parts::sync_power_state(const InstanceUuid& uuid) {
    const auto context = rpc::Context::admin();
    auto instance = conductor->get_instance(uuid.str(), {}, context);
    if (!instance || instance->text("host") != config.host ||
        !instance->get("task_state").is_null())
        return;
    const auto info = hypervisor->info(uuid);
    if (!info)
        return;
    const int state = static_cast<int>(info->state);
    if (instance->get("power_state").as_int() != state) {
        instance->set("power_state", state);
        if (const auto saved = tasks::save_instance({*conductor, config.host}, context, *instance);
            !saved) {
            log::warning("a power state could not be saved", {{"error", saved.error().text}});
            return;
        }
    }
    const bool down = info->state == hypervisor::PowerState::Shutdown ||
                      info->state == hypervisor::PowerState::Crashed;
    if (instance->text("vm_state") != "active" || !down)
        return;
    log::info("the guest ended by itself; the server is stopped", {{"instance", uuid.str()}});
    instance->set("vm_state", "stopped");
    if (const auto saved =
            tasks::save_instance({*conductor, config.host}, context, *instance, {std::nullopt});
        !saved)
        log::warning("the server could not be set to stopped", {{"error", saved.error().text}});
}

void Agent::Parts::on_guest_event(const hypervisor::GuestEvent& event) {
    if (!config.compute.handle_virt_lifecycle_events || !queues)
        return;
    if (queues->busy(event.uuid.str())) // an operation of ours causes it
        return;
    queues->post(event.uuid.str(),
                 [this, uuid = event.uuid](const std::stop_token&) { sync_power_state(uuid); });
}

void Agent::Parts::start_periodic() {
    periodic = std::make_unique<tasks::Periodic>(*pool);
    const auto add =
        [this](const char* name, Seconds interval, Seconds first, std::function<void()> body) {
            if (interval > Seconds(0))
                periodic->add(name, interval, first, std::move(body));
        };
    const auto& every = config.intervals;
    add("heartbeat", every.report_interval, every.report_interval, [this] { heartbeat(); });
    add("audit", every.update_resources, every.update_resources, [this] { tracker->audit(); });
    add("scheduler_sync", every.scheduler_instance_sync, every.scheduler_instance_sync, [this] {
        if (!config.compute.track_instance_changes)
            return;
        const auto context = rpc::Context::admin();
        if (const auto uuids = conductor->instance_uuids_by_host(config.host, context))
            discard(conductor->sync_scheduler(config.host, *uuids, context),
                    "the next turn tries again");
    });
    add("power_sync", every.sync_power_state, every.sync_power_state, [this] {
        if (const auto guests = hypervisor->list())
            for (const auto& guest : *guests)
                if (!queues->busy(guest.uuid.str()))
                    queues->post(guest.uuid.str(),
                                 [this, uuid = guest.uuid](const std::stop_token&) {
                                     sync_power_state(uuid);
                                 });
    });
    if (const auto period = readiness.watchdog_period())
        periodic->add("watchdog", *period, *period, [this] {
            discard(readiness.alive(), "the manager restarts an agent it does not hear");
        });
    periodic->start();
}

Json Agent::Parts::health() const {
    Json out = Json::object();
    const bool connected = requests && requests->connected() && calls && calls->connected();
    out.set("ok", connected && reporting.load());
    out.set("broker", connected);
    out.set("reported_up", reporting.load());
    out.set("running_tasks", pool ? pool->running() : 0);
    out.set("version", NOVALET_VERSION);
    return out;
}

Agent::Agent(const config::Config& config) : parts_(std::make_unique<Parts>(config)) {}

Agent::~Agent() = default;

Result<void> Agent::start(const std::stop_token& stop) {
    auto& p = *parts_;
    NOVALET_TRY(p.open_journal());
    if (!p.config.telemetry.listen.empty()) {
        NOVALET_ASSIGN(p.endpoint, telemetry::Endpoint::start(p.config.telemetry.listen, [&p] {
                           return p.health();
                       }));
    }
    NOVALET_TRY(p.connect(stop));
    NOVALET_TRY(p.know_release());
    p.hypervisor = std::make_unique<hypervisor::libvirt::LibvirtHypervisor>(
        libvirt_options(p.config, p.conductor->profile()->name), system_processes());
    NOVALET_TRY(p.hypervisor->start(
        [&p](const hypervisor::GuestEvent& event) { p.on_guest_event(event); }));
    NOVALET_TRY(p.compose());
    NOVALET_TRY(p.register_service());
    NOVALET_TRY(p.tracker->start());
    // What was accepted before goes first; then servers that no entry explains; then new work.
    NOVALET_ASSIGN(const auto carried_on, p.router->recover());
    tasks::repair_instances(*p.services);
    p.server->start();
    p.heartbeat();
    p.start_periodic();
    log::info("consuming requests", {{"host", p.config.host}, {"carried_on", carried_on}});
    discard(p.readiness.ready("consuming requests"), "without a manager nobody waits for it");
    return {};
}

void Agent::stop() {
    auto& p = *parts_;
    discard(p.readiness.stopping(), "without a manager nobody waits for it");
    log::info("stopping; guests are left alone");
    if (p.server)
        p.server->stop_consuming(Deadline::after(Seconds(5)));
    if (p.periodic)
        p.periodic->stop();
    if (p.pool && !p.pool->wait_idle(Deadline::after(p.config.shutdown.graceful_timeout)))
        log::warning("work is left for the next start", {{"tasks", p.pool->running()}});
    if (p.calls)
        p.calls->drain(Deadline::after(Seconds(5)));
    if (p.hypervisor)
        p.hypervisor->stop();
}

} // namespace novalet::app
