// Upkeep::sweep_leftovers: folders, domains and devices that no server of this host has.
#include "agent/core/log.hpp"
#include "agent/core/text.hpp"
#include "agent/objects/migration.hpp"
#include "agent/tasks/peers/shared_storage.hpp"
#include "agent/tasks/upkeep/upkeep.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

namespace novalet::tasks {
namespace {

using hypervisor::Leftover;
using hypervisor::PowerState;
using Kind = Leftover::Kind;

/// What is younger may be of a server whose record is about to name this host: no build, plugging
/// or hand-over of a move takes so long between its first file and its record.
constexpr Seconds grace{3600};

/// A device's name holds so much of its port's id (nova.network.model NIC_NAME_LEN).
constexpr std::size_t port_part = 11;

std::string text_of(const Leftover& leftover) {
    const char* kind = "device";
    if (leftover.kind == Kind::Folder)
        kind = "folder";
    else if (leftover.kind == Kind::Domain)
        kind = "domain";
    return cat(kind, ' ', leftover.name);
}

struct Verdict {
    enum class What { Keep, Tell, Remove };
    What what = What::Keep;
    const char* why = "";
};

constexpr Verdict keep{};
constexpr Verdict tell(const char* why) {
    return {Verdict::What::Tell, why};
}
constexpr Verdict remove(const char* why) {
    return {Verdict::What::Remove, why};
}

/// What is known of the storage: do other hosts use this host's folders?
struct Storage {
    bool perhaps_shared = true;         ///< with anybody
    std::map<std::string, bool> shared; ///< with this host; in doubt true

    [[nodiscard]] bool shared_with(const std::string& host) const {
        const auto found = shared.find(host);
        return found == shared.end() || found->second;
    }
};

/// Nobody's server: nothing says whose files these are but a claim of this host.
Verdict decide_unowned(const Leftover& leftover, const Storage& storage, const char* why) {
    if (leftover.kind == Kind::Domain && leftover.running)
        return tell(why);
    if (leftover.age < grace)
        return keep;
    if (leftover.kind == Kind::Folder && !leftover.claimed && storage.perhaps_shared)
        return keep;
    return remove(why);
}

Verdict decide_deleted(const Leftover& leftover, bool was_ours, bool reap) {
    constexpr const char* why = "its server is deleted";
    if (leftover.kind == Kind::Folder)
        return remove(why);
    if (was_ours)
        return keep; // remove_running_deleted and finish_deletes take care of it
    return leftover.running && !reap ? tell(why) : remove(why);
}

Verdict
decide_elsewhere(const Leftover& leftover, const std::string& host, const Storage& storage) {
    constexpr const char* why = "its server is on another host";
    if (leftover.kind == Kind::Domain && leftover.running)
        return tell(why);
    if (leftover.age < grace || (leftover.kind == Kind::Folder && storage.shared_with(host)))
        return keep;
    return remove(why);
}

class Sweep {
  public:
    Sweep(Services& services, const UpkeepOptions& options)
        : services_(services), options_(options) {}

    void turn() {
        auto found = services_.hypervisor.leftovers();
        if (!found)
            return log::warning("what is left on the host could not be listed",
                                {{"error", found.error().text}});
        take(std::move(*found));
        if (things_.empty() && devices_.empty())
            return;
        if (const auto known = learn(); !known)
            return log::warning("leftovers are kept until the next turn",
                                {{"error", known.error().text}});
        for (const auto& thing : things_)
            settle(thing);
        for (const auto& device : devices_)
            if (!has_port(device.name))
                post(device, device.name, "no domain and no server has its port");
    }

  private:
    void take(std::vector<Leftover> found);
    [[nodiscard]] Result<void> learn();
    [[nodiscard]] Result<void> learn_servers();
    [[nodiscard]] Result<void> learn_ports();
    void learn_storage();
    void settle(const Leftover& thing);
    void post(const Leftover& thing, const std::string& lane, const char* why);
    [[nodiscard]] bool is_still_nobodys(Leftover thing) const;
    void sweep(const Leftover& thing, const char* why) const;
    [[nodiscard]] Verdict decide(const Leftover& thing,
                                 const std::optional<objects::Object>& server) const;
    [[nodiscard]] bool has_port(const std::string& device) const;

    Services& services_;
    const UpkeepOptions options_;
    std::vector<Leftover> things_; ///< folders and domains
    std::vector<Leftover> devices_;
    std::map<std::string, objects::Object> servers_; ///< by uuid, deleted ones too
    std::set<std::string> busy_;                     ///< uuids of servers that are under way
    std::set<std::string> ports_;                    ///< parts of ids that device names hold
    Storage storage_;
};

/// What the books know is no leftover, and costs no question.
void Sweep::take(std::vector<Leftover> found) {
    const auto here = services_.resources.instances();
    const std::set<std::string> ours(here.begin(), here.end());
    for (auto& one : found) {
        const std::string uuid = one.uuid.str();
        if (one.kind == Kind::Device) {
            if (one.age >= grace)
                devices_.push_back(std::move(one));
        } else if (is_uuid(uuid) && !ours.contains(uuid) && !services_.queues.busy(uuid)) {
            things_.push_back(std::move(one));
        }
    }
}

Result<void> Sweep::learn() {
    NOVALET_ASSIGN(const auto entries, services_.journal.open_entries());
    for (const auto& entry : entries)
        busy_.insert(entry.request.instance_uuid);
    NOVALET_ASSIGN(const auto facts, services_.hypervisor.facts());
    NOVALET_ASSIGN(const auto migrations,
                   services_.conductor.migrations_in_progress(
                       services_.options.host, facts.hostname, rpc::Context::admin()));
    for (const auto& migration : migrations)
        busy_.insert(objects::MigrationView(migration).instance_uuid());
    if (!migrations.empty())
        devices_.clear(); // a server on its way to this host has its ports plugged
    std::erase_if(things_, [&](const auto& thing) { return busy_.contains(thing.uuid.str()); });
    NOVALET_TRY(learn_servers());
    learn_storage();
    return learn_ports();
}

Result<void> Sweep::learn_servers() {
    if (things_.empty())
        return {};
    Json uuids = Json::array();
    std::set<std::string> asked;
    for (const auto& thing : things_)
        if (asked.insert(thing.uuid.str()).second)
            uuids.push_back(thing.uuid.str());
    NOVALET_ASSIGN(
        auto servers,
        services_.conductor.instances_by_filters(Json::object().set("uuid", std::move(uuids)),
                                                 {},
                                                 rpc::Context::admin().reading_deleted("yes")));
    for (auto& server : servers)
        servers_[server.text("uuid")] = std::move(server);
    return {};
}

/// One question to each host that has a server whose folder is here.
void Sweep::learn_storage() {
    const bool folders = std::any_of(things_.begin(), things_.end(), [](const auto& thing) {
        return thing.kind == Kind::Folder;
    });
    if (folders && options_.storage_users) {
        const auto users = options_.storage_users();
        storage_.perhaps_shared =
            !users || std::any_of(users->begin(), users->end(), [&](const std::string& user) {
                return user != services_.options.host;
            });
    }
    for (const auto& thing : things_) {
        const auto server = servers_.find(thing.uuid.str());
        if (thing.kind != Kind::Folder || server == servers_.end())
            continue;
        const std::string host = server->second.text("host");
        const bool asks = !server->second.get("deleted").as_bool() && !host.empty() &&
                          host != services_.options.host && thing.age >= grace;
        if (asks && !storage_.shared.contains(host))
            storage_.shared[host] =
                storage_is_shared(services_.bus, services_.options, thing.uuid, host);
    }
}

Result<void> Sweep::learn_ports() {
    if (devices_.empty())
        return {};
    NOVALET_ASSIGN(
        const auto servers,
        services_.conductor.instances_by_host(
            services_.options.host, std::nullopt, {"info_cache"}, rpc::Context::admin()));
    for (const auto& server : servers) {
        const Json info = cached_network_info(server);
        for (const auto& vif : info.items())
            ports_.insert(vif["id"].as_string().substr(0, port_part));
    }
    return {};
}

bool Sweep::has_port(const std::string& device) const {
    return std::any_of(ports_.begin(), ports_.end(), [&](const std::string& part) {
        return !part.empty() && device.find(part) != std::string::npos;
    });
}

Verdict Sweep::decide(const Leftover& thing, const std::optional<objects::Object>& server) const {
    if (!server)
        return decide_unowned(thing, storage_, "Nova has no record of its server");
    const std::string host = server->text("host");
    if (server->get("deleted").as_bool())
        return decide_deleted(
            thing, host == services_.options.host, options_.running_deleted_action == "reap");
    // Ours, or something is done with it somewhere.
    if (host == services_.options.host || !server->get("task_state").is_null() ||
        server->text("vm_state") == "building")
        return keep;
    return host.empty() ? decide_unowned(thing, storage_, "its server is on no host")
                        : decide_elsewhere(thing, host, storage_);
}

void Sweep::settle(const Leftover& thing) {
    const std::string uuid = thing.uuid.str();
    const auto found = servers_.find(uuid);
    const auto verdict =
        decide(thing, found == servers_.end() ? std::nullopt : std::optional(found->second));
    if (verdict.what == Verdict::What::Tell)
        log::warning("a guest runs that should not be here; it is left to the operator",
                     {{"instance", uuid}, {"what", text_of(thing)}, {"why", verdict.why}});
    if (verdict.what == Verdict::What::Remove && !services_.queues.busy(uuid))
        post(thing, uuid, verdict.why);
}

void Sweep::post(const Leftover& thing, const std::string& lane, const char* why) {
    services_.queues.post(
        lane, [self = *this, thing, why](const std::stop_token&) { self.sweep(thing, why); });
}

/// Has nothing changed since it was decided?
bool Sweep::is_still_nobodys(Leftover thing) const {
    if (thing.kind == Kind::Device)
        return true; // the hypervisor looks at the domains again
    const auto server = services_.conductor.get_instance(
        thing.uuid.str(), {}, rpc::Context::admin().reading_deleted("yes"));
    if (!server && !instance_is_gone(server.error()))
        return false;
    if (thing.kind == Kind::Domain) {
        const auto info = services_.hypervisor.info(thing.uuid);
        if (!info)
            return false;
        thing.running = info->state == PowerState::Running || info->state == PowerState::Paused;
    }
    return decide(thing, server ? std::optional(*server) : std::nullopt).what ==
           Verdict::What::Remove;
}

/// On the lane: nothing else is under way with the server.
void Sweep::sweep(const Leftover& thing, const char* why) const {
    if (!is_still_nobodys(thing))
        return;
    const auto swept = services_.hypervisor.sweep(thing);
    if (swept)
        return log::warning(
            "a leftover is removed",
            {{"instance", thing.uuid.str()}, {"what", text_of(thing)}, {"why", why}});
    log::warning(
        "a leftover could not be removed; the next turn tries again",
        {{"instance", thing.uuid.str()}, {"what", text_of(thing)}, {"error", swept.error().text}});
}

} // namespace

void Upkeep::sweep_leftovers() {
    Sweep(services_, options_).turn();
}

} // namespace novalet::tasks
