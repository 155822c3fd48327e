#pragma once
// What a server has to look like for each operation, and what it looks like when all went well.
#include "agent/tasks/catalogue/catalogue.hpp"
#include "tests/support/mortal_host.hpp"

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

namespace novalet::tests {

struct Scenario {
    std::string name;
    std::function<void(MortalHost&)> prepare;
    std::function<Json(MortalHost&)> arguments;
    std::string done; ///< states of the server afterwards; "" when it is gone
    /// A call whose failure makes the operation fail; none when it is refused.
    CallPoint fails_at{};
    bool allocation_is_given_back = false; ///< by a failure
};

inline constexpr std::int64_t migration_id = 7;

/// A server of this host with all that it owns.
inline void put_server(MortalHost& host, const std::string& vm_state, const Json& task_state) {
    auto record = server_in(vm_state, task_state);
    record.set("info_cache",
               nova_object("InstanceInfoCache",
                           "1.5",
                           Json::object()
                               .set("instance_uuid", server_uuid)
                               .set("network_info", one_port(true).dump())));
    host.bench.make_guest(record);
    host.things.put_port(port_uuid, server_uuid);
    host.things.put_allocation(server_uuid);
    host.things.claim(server_uuid);
}

inline void put_new_server(MortalHost& host) {
    host.bench.bus.put_instance(new_server());
    host.bench.bus.put_mappings(server_uuid, Json::Array{root_disk()});
    host.things.put_allocation(server_uuid); // made by the scheduler
}

inline Scenario on_server(const char* vm_state,
                          const char* task_state,
                          const char* done,
                          const char* fails_at,
                          Json more = Json::object()) {
    Scenario out;
    out.prepare = [=](MortalHost& host) { put_server(host, vm_state, task_state); };
    out.arguments = [more = std::move(more)](MortalHost& host) {
        auto args = host.bench.arguments();
        for (const auto& [key, value] : more.members())
            args.set(key, value);
        return args;
    };
    out.done = done;
    out.fails_at = {fails_at, 0};
    return out;
}

inline Scenario named(std::string name, Scenario scenario) {
    scenario.name = std::move(name);
    return scenario;
}

/// The guest is brought into its state first.
inline Scenario after(std::function<Result<void>(hypervisor::Hypervisor&)> verb,
                      Scenario scenario) {
    scenario.prepare = [verb = std::move(verb), put = scenario.prepare](MortalHost& host) {
        put(host);
        ASSERT_TRUE(verb(*host.bench.host));
    };
    return scenario;
}

inline Scenario a_build(bool alternates) {
    Scenario out;
    out.name = alternates ? "WithAlternates" : "LastHost";
    out.prepare = put_new_server;
    out.arguments = [=](MortalHost& host) { return host.bench.build_arguments(alternates); };
    out.done = "active/None";
    out.fails_at = {"step start", 0};
    return out;
}

/// Of a method that is served; empty when nobody has written one.
inline std::vector<Scenario> scenarios_of(const std::string& method) {
    const InstanceUuid uuid(server_uuid);
    if (method == "build_and_run_instance")
        return {a_build(true), a_build(false)};
    if (method == "terminate_instance")
        return {on_server("active",
                          "deleting",
                          "",
                          "networks.deallocate",
                          Json::object().set("bdms", Json::array()))};
    if (method == "stop_instance")
        return {on_server("active",
                          "powering-off",
                          "stopped/None",
                          "hypervisor.power_off",
                          Json::object().set("clean_shutdown", true))};
    if (method == "start_instance")
        return {after([=](hypervisor::Hypervisor& host) { return host.power_off(uuid, {}); },
                      on_server("stopped", "powering-on", "active/None", "hypervisor.power_on"))};
    if (method == "reboot_instance")
        return {named("Soft",
                      on_server("active",
                                "rebooting",
                                "active/None",
                                "Instance.save active/reboot_started",
                                Json::object().set("reboot_type", "SOFT"))),
                named("Hard",
                      on_server("active",
                                "rebooting_hard",
                                "active/None",
                                "Instance.save active/reboot_started_hard",
                                Json::object().set("reboot_type", "HARD")))};
    if (method == "pause_instance")
        return {on_server("active", "pausing", "paused/None", "hypervisor.pause")};
    if (method == "unpause_instance")
        return {after([=](hypervisor::Hypervisor& host) { return host.pause(uuid); },
                      on_server("paused", "unpausing", "active/None", "hypervisor.unpause"))};
    if (method == "suspend_instance")
        return {on_server("active", "suspending", "suspended/None", "hypervisor.suspend")};
    if (method == "resume_instance")
        return {after([=](hypervisor::Hypervisor& host) { return host.suspend(uuid); },
                      on_server("suspended", "resuming", "active/None", "hypervisor.resume"))};
    return {};
}

/// Of a method that is refused: the server is in the middle of it, as far as Nova would reset that.
inline Scenario refused(const tasks::MethodFacts& facts, bool instance, bool migration) {
    const bool reverts = facts.on_failure.reverts_task_state;
    Scenario out;
    out.name = migration ? "WithMigration" : "";
    out.allocation_is_given_back =
        facts.on_failure.allocation == tasks::AllocationAfter::Deleted ||
        (migration && facts.on_failure.allocation != tasks::AllocationAfter::Kept);
    out.prepare = [=](MortalHost& host) {
        put_server(host, "active", reverts ? Json("updating_password") : Json());
        if (migration)
            host.bench.bus.put_migration(Json::object()
                                             .set("id", migration_id)
                                             .set("uuid", "77777777-0000-4000-8000-000000000007")
                                             .set("status", "preparing")
                                             .set("instance_uuid", server_uuid));
    };
    out.arguments = [=](MortalHost& host) {
        auto args = instance ? host.bench.arguments() : Json::object();
        if (migration)
            args.set("migration",
                     nova_object("Migration", "1.7", host.bench.bus.migration(migration_id)));
        return args;
    };
    return out;
}

/// Without a migration, and with one where the method takes it: a rebuild in place has none.
inline std::vector<Scenario> refusals_of(const tasks::MethodFacts& facts) {
    const auto takes = [&](std::string_view name) {
        return std::any_of(facts.arguments.begin(),
                           facts.arguments.end(),
                           [&](const tasks::Argument& argument) { return argument.name == name; });
    };
    std::vector<Scenario> out{refused(facts, takes("instance"), false)};
    if (takes("migration"))
        out.push_back(refused(facts, takes("instance"), true));
    return out;
}

} // namespace novalet::tests
