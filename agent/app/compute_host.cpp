#include "agent/app/compute_host.hpp"

#include "agent/app/image_cache_pass.hpp"
#include "agent/app/options.hpp"
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/tasks/start/repair.hpp"
#include "hypervisor/libvirt/libvirt_hypervisor.hpp"
#include "hypervisor/simulated/simulated_hypervisor.hpp"
#include "hypervisor/storage/storage_users.hpp"
#include "hypervisor/topology/host_check.hpp"

#include <malloc.h>
#include <random>

namespace novalet::app {
namespace {

constexpr const char* binary = "nova-compute"; ///< what Service records and schedulers know
constexpr const char* automatic = "AUTO: ";    ///< marks a disable that is ours to take back
constexpr std::size_t network_threads = 16;
constexpr std::size_t question_threads = 16;
constexpr std::size_t periodic_threads = 11; ///< as many as there are periodic tasks
constexpr const char* link_lane = "link of the hypervisor";
constexpr std::size_t task_threads_beside_builds = 64;
constexpr Seconds close_patience{5};
constexpr Seconds closes_pause{30}; ///< between tries to write what the journal still owes
/// Rare, and not before what an earlier process left open had time to end.
constexpr Seconds leftovers_interval{3600};
constexpr Seconds leftovers_first{600};

std::unique_ptr<hypervisor::Hypervisor> make_hypervisor(const config::Config& config,
                                                        const std::string& release) {
    if (config.hypervisor.kind == config::HypervisorKind::Simulated)
        return std::make_unique<hypervisor::simulated::SimulatedHypervisor>(
            simulated_options(config));
    return std::make_unique<hypervisor::libvirt::LibvirtHypervisor>(
        libvirt_options(config, release), system_processes());
}

} // namespace

ComputeHost::ComputeHost(config::Config config, ControlPlane& shared)
    : config_(std::move(config)), shared_(shared) {}

/// Everything that runs refers to the members: nothing new begins, then what is queued ends.
ComputeHost::~ComputeHost() {
    periodic_.reset();
    server_.reset();
    alt_server_.reset();
    serving_ = false;
    if (hypervisor_)
        hypervisor_->stop();
    if (queues_)
        queues_->stop(); // what waits is the next start's
    periodic_pool_.reset();
    question_pool_.reset();
    pool_.reset();
    network_pool_.reset();
}

Result<void> ComputeHost::open_journal() {
    journal::Options options;
    options.path = config_.journal.path;
    options.retention = config_.journal.retention;
    NOVALET_ASSIGN(journal_, journal::Journal::open(options));
    return {};
}

/// Reference 07 §1: a host whose libvirt is away gets no new guests, and takes its own disable
/// back; what an operator disabled stays so.
void ComputeHost::follow_link(bool reachable, const std::string& reason) {
    {
        const std::lock_guard lock(service_mutex_);
        if (!service_.valid()) // still starting
            return;
    }
    const auto context = rpc::Context::admin();
    auto fresh = shared_.conductor->service(config_.host, binary, context);
    if (!fresh || !fresh->valid())
        return;
    const bool disabled = fresh->get("disabled").as_bool();
    const bool ours = fresh->text("disabled_reason").starts_with(automatic);
    if (disabled == !reachable || (reachable && !ours))
        return;
    fresh->set("disabled", !reachable);
    fresh->set("disabled_reason", reachable ? Json() : Json(cat(automatic, reason)));
    log::warning(reachable ? "the hypervisor is back: the service is enabled"
                           : "the hypervisor is out of reach: the service is disabled",
                 {{"reason", reason}});
    if (const auto saved = shared_.conductor->save_service(*fresh, context); !saved)
        log::warning("the service record could not be changed", {{"error", saved.error().text}});
    if (const auto told = tracker_->set_enabled(reachable); !told)
        log::warning("the provider's status trait could not be changed",
                     {{"error", told.error().text}});
}

void ComputeHost::make_pools() {
    network_pool_ = std::make_unique<TaskPool>(network_threads);
    question_pool_ = std::make_unique<TaskPool>(question_threads);
    pool_ = std::make_unique<TaskPool>(task_threads_beside_builds + config_.compute.task_threads +
                                       config_.compute.max_concurrent_builds);
    periodic_pool_ = std::make_unique<TaskPool>(periodic_threads);
    queues_ = std::make_unique<tasks::InstanceQueues>(*pool_);
}

Result<void> ComputeHost::start_hypervisor() {
    hypervisor_ = make_hypervisor(config_, shared_.release.release.name);
    // Told on the event thread, or in the middle of any call that connects again, perhaps under
    // locks of the caller: only noted there, in order.
    hypervisor_->on_link([this](bool reachable, const std::string& reason) {
        queues_->post(link_lane, [this, reachable, reason](const std::stop_token&) {
            follow_link(reachable, reason);
        });
    });
    return hypervisor_->start([this](const hypervisor::GuestEvent& event) {
        if (serving_ && config_.compute.handle_virt_lifecycle_events)
            upkeep_->sync_power_state_of(event.uuid);
    });
}

Result<void> ComputeHost::register_service() {
    const auto context = rpc::Context::admin();
    const std::lock_guard lock(service_mutex_);
    NOVALET_ASSIGN(service_, shared_.conductor->service(config_.host, binary, context));
    const int version = objects::version_to_report(shared_.release, service_);
    if (service_.valid()) {
        if (service_.get("version").as_int() == version)
            return {};
        service_.set("version", version);
        return shared_.conductor->save_service(service_, context);
    }
    service_ = shared_.conductor->make("Service");
    service_.set("host", config_.host);
    service_.set("binary", binary);
    service_.set("topic", "compute");
    service_.set("report_count", 0);
    service_.set("version", version);
    if (!config_.compute.enable_new_services) {
        service_.set("disabled", true);
        service_.set("disabled_reason", "New compute service disabled due to config option.");
    }
    NOVALET_TRY(shared_.conductor->create_service(service_, context));
    log::info("service record created", {{"host", config_.host}, {"version", version}});
    return {};
}

/// CPU sets that leave no CPU for a guest of this host end the start, as they do in Nova.
Result<void> ComputeHost::check_guests() {
    if (config_.hypervisor.kind != config::HypervisorKind::Libvirt)
        return {};
    namespace topology = hypervisor::topology;
    NOVALET_ASSIGN(const auto kernel, topology::read_kernel_state());
    NOVALET_ASSIGN(const auto instances,
                   shared_.conductor->instances_by_host(
                       config_.host, std::nullopt, {"numa_topology"}, rpc::Context::admin()));
    std::vector<topology::GuestOnHost> guests;
    for (const auto& instance : instances) {
        topology::GuestOnHost guest;
        guest.uuid = instance.text("uuid");
        NOVALET_ASSIGN(
            guest.topology,
            scheduler_hooks::model::guest_topology_from_json(instance.get("numa_topology")));
        guests.push_back(std::move(guest));
    }
    const auto options = libvirt_options(config_, shared_.release.release.name);
    const auto found = topology::check_guests(options.topology, kernel.online, guests);
    for (const auto& warning : found.warnings)
        log::warning(warning.text, {{"option", warning.option}});
    std::vector<std::string> errors;
    for (const auto& error : found.errors)
        errors.push_back(cat(error.option, ": ", error.text));
    return errors.empty() ? Result<void>() : fail(Code::InvalidArgument, join(errors, "; "));
}

Result<void> ComputeHost::compose() {
    const auto options = task_options(config_, shared_.release.release);
    auto& conductor = *shared_.conductor;
    networks_ = std::make_unique<tasks::NovaNetworks>(shared_.neutron, conductor, config_.host);
    images_ = std::make_unique<tasks::NovaImages>(shared_.glance);
    volumes_ = std::make_unique<tasks::NovaVolumes>(
        shared_.cinder, conductor, tasks::VolumeHost{config_.host, config_.my_ip});
    notifier_ = std::make_unique<tasks::BusNotifier>(
        *shared_.bus, conductor, config_.notifications, options);
    if (config_.hypervisor.kind == config::HypervisorKind::Libvirt)
        huge_pages_ = std::make_unique<HugePages>(config_.compute);
    tracker_ = std::make_unique<tasks::ResourceTracker>(tracker_options(config_),
                                                        conductor,
                                                        *hypervisor_,
                                                        shared_.placement,
                                                        *pool_,
                                                        huge_pages_.get());
    services_ = std::make_unique<tasks::Services>(
        tasks::Services{{conductor, *notifier_, *shared_.bus, options},
                        {*hypervisor_, *images_},
                        {*volumes_},
                        {*networks_, waiters_, *network_pool_},
                        {*tracker_, tracker_->allocations()},
                        {*journal_, *queues_, *pool_, *question_pool_}});
    tasks::UpkeepOptions upkeep{config_.running_deleted_instance.action,
                                config_.running_deleted_instance.timeout};
    if (config_.hypervisor.kind == config::HypervisorKind::Libvirt)
        upkeep.storage_users = [this] {
            return hypervisor::storage::register_storage_use(
                config_.instances_path, config_.host, {});
        };
    upkeep_ = std::make_unique<tasks::Upkeep>(*services_, std::move(upkeep));
    evacuations_ = std::make_unique<tasks::Evacuations>(*services_);
    interrupted_builds_ = std::make_unique<tasks::InterruptedBuilds>(*services_);
    router_ = std::make_unique<tasks::Router>(*services_, objects::releases().back().rpc_version());
    NOVALET_ASSIGN(const auto amqp, amqp_options(config_));
    NOVALET_ASSIGN(const auto topology, topology_options(config_));
    requests_ = std::make_unique<amqp::Session>(amqp, "requests");
    server_ = std::make_unique<rpc::Server>(
        *requests_, *shared_.replier, *router_, topology, "compute", config_.host);
    if (!shared_.release.release.second_server)
        return {};
    alt_requests_ = std::make_unique<amqp::Session>(amqp, "alt_requests");
    alt_server_ = std::make_unique<rpc::Server>(
        *alt_requests_, *shared_.replier, *router_, topology, "compute-alt", config_.host);
    return {};
}

void ComputeHost::start_servers() {
    server_->start();
    if (alt_server_)
        alt_server_->start();
}

void ComputeHost::heartbeat() {
    const std::lock_guard lock(service_mutex_);
    const auto reported = shared_.conductor->report_alive(service_, rpc::Context::admin());
    if (reported && !reporting_.exchange(true))
        log::info("reported up", {{"host", config_.host}});
    if (!reported && reporting_.exchange(false))
        log::warning("the heartbeat does not reach the conductor",
                     {{"error", reported.error().text}});
}

void ComputeHost::clean_image_cache() {
    run_image_cache_pass(config_, *shared_.conductor);
}

void ComputeHost::start_periodic() {
    periodic_ = std::make_unique<tasks::Periodic>(*periodic_pool_);
    const auto add = [this](const char* name, Seconds interval, Seconds first, auto body) {
        if (interval > Seconds(0))
            periodic_->add(name, interval, first, std::move(body));
    };
    const auto& every = config_.intervals;
    auto& upkeep = *upkeep_;
    const Seconds soon{1};
    // Hosts that start together shall not ask together.
    std::minstd_rand random{std::random_device{}()};
    const auto fuzzy = [&](Seconds interval) {
        std::uniform_int_distribution<std::int64_t> delay(0, every.periodic_fuzzy_delay.count());
        return interval + Seconds(delay(random));
    };
    add("heartbeat", every.report_interval, every.report_interval, [this] { heartbeat(); });
    add("journal_closes", closes_pause, closes_pause, [this] {
        if (const auto written = journal_->retry_closes(); !written)
            log::warning("finished requests cannot be closed in the journal yet",
                         {{"host", config_.host}, {"error", written.error().text}});
    });
    add("audit", every.update_resources, fuzzy(every.update_resources), [this] {
        tracker_->audit();
        malloc_trim(0); // what the last minute's work needed goes back to the host
    });
    add("scheduler_sync",
        every.scheduler_instance_sync,
        fuzzy(every.scheduler_instance_sync),
        [&upkeep] { upkeep.sync_scheduler(); });
    add("power_sync", every.sync_power_state, soon, [&upkeep] { upkeep.sync_power_states(); });
    add("heal_info_cache",
        every.heal_instance_info_cache,
        fuzzy(every.heal_instance_info_cache),
        [&upkeep] { upkeep.heal_info_cache(); });
    add("running_deleted", every.running_deleted_instance_poll, soon, [&upkeep] {
        upkeep.remove_running_deleted();
    });
    add("finish_deletes", every.instance_delete, fuzzy(every.instance_delete), [this, &upkeep] {
        upkeep.finish_deletes();
        upkeep.clean_console_tokens();
        evacuations_->carry_on();
    });
    add("leftovers", leftovers_interval, leftovers_first, [&upkeep] { upkeep.sweep_leftovers(); });
    add("interrupted_builds", tasks::InterruptedBuilds::grace, soon, [this] {
        interrupted_builds_->turn();
    });
    if (config_.hypervisor.kind == config::HypervisorKind::Libvirt)
        add("image_cache",
            config_.image_cache.manager_interval,
            fuzzy(config_.image_cache.manager_interval),
            [this] { clean_image_cache(); });
    periodic_->start();
}

Result<void> ComputeHost::start() {
    NOVALET_TRY(open_journal());
    make_pools();
    NOVALET_TRY(start_hypervisor());
    NOVALET_TRY(compose());
    composed_ = true;
    NOVALET_TRY(check_guests());
    NOVALET_TRY(register_service());
    NOVALET_TRY(tracker_->start());
    // Guests of servers that live elsewhere by now go before anything could start them; then what
    // was accepted before; then servers that no entry explains; then new work.
    NOVALET_ASSIGN(const auto elsewhere, evacuations_->begin());
    NOVALET_ASSIGN(const auto carried_on, router_->recover(elsewhere));
    tasks::repair_instances(*services_, *router_, elsewhere);
    serving_ = true;
    start_servers();
    heartbeat();
    start_periodic();
    pool_->post([this] { tracker_->audit(); }); // what the start left out
    malloc_trim(0); // the start reads large documents of libvirt and Placement
    log::info("consuming requests", {{"host", config_.host}, {"carried_on", carried_on}});
    return {};
}

void ComputeHost::stop_consuming() {
    if (server_)
        server_->stop_consuming(Deadline::after(close_patience));
    if (periodic_)
        periodic_->stop();
}

bool ComputeHost::finish(const Deadline& deadline) {
    serving_ = false;
    const bool done = !pool_ || (periodic_pool_->wait_idle(deadline) && pool_->wait_idle(deadline));
    if (!done)
        log::warning("work is left for the next start",
                     {{"host", config_.host}, {"tasks", pool_->running()}});
    if (journal_)
        if (const auto stopped = journal_->stop(); !stopped)
            log::error("the journal could not note that this end is an orderly one",
                       {{"host", config_.host}, {"error", stopped.error().text}});
    if (alt_server_)
        alt_server_->stop_consuming(Deadline::after(close_patience));
    if (hypervisor_)
        hypervisor_->stop();
    return done;
}

bool ComputeHost::connected() const {
    return composed_ && requests_->connected();
}

std::size_t ComputeHost::running_tasks() const {
    return composed_ ? pool_->running() : 0;
}

} // namespace novalet::app
