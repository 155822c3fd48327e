#pragma once
// What operations stand on, as far as it is not the conductor: Neutron, claims, Glance, Cinder,
// notifications. Every call is noted in the diary.
#include "agent/tasks/services.hpp"
#include "tests/support/diary.hpp"
#include "tests/support/fake_images.hpp"

#include <atomic>
#include <deque>
#include <functional>
#include <mutex>

namespace novalet::tests {

class FakeNetworks final : public tasks::Networks {
  public:
    explicit FakeNetworks(Diary& diary, objects::Conductor& conductor)
        : diary_(diary), conductor_(conductor) {}
    Json info = Json::array(); ///< what allocate, refresh and heal give
    std::optional<Error> allocate_error;
    std::optional<Error> deallocate_error;
    std::optional<Error> refresh_error;
    std::function<void()> while_allocating;

    [[nodiscard]] Result<Json> allocate(const rpc::Context& context,
                                        objects::Object& instance,
                                        const Json& /*requested_networks*/,
                                        const Json& /*security_groups*/) override {
        if (while_allocating)
            while_allocating();
        diary_.note(allocate_error ? "networks.allocate fails" : "networks.allocate");
        if (allocate_error)
            return Failure(*allocate_error);
        NOVALET_TRY(conductor_.save_network_info(instance, info, context));
        return info;
    }
    [[nodiscard]] Result<void> deallocate(const rpc::Context& /*context*/,
                                          objects::Object& /*instance*/,
                                          const Json& /*requested_networks*/) override {
        diary_.note(deallocate_error ? "networks.deallocate fails" : "networks.deallocate");
        return deallocate_error ? Result<void>(Failure(*deallocate_error)) : Result<void>();
    }
    [[nodiscard]] Result<Json> refresh(const rpc::Context& /*context*/,
                                       objects::Object& instance,
                                       const std::string& port) override {
        diary_.note("networks.refresh " + instance.text("uuid") + ' ' + port);
        if (refresh_error)
            return Failure(*refresh_error);
        return info;
    }
    [[nodiscard]] Result<Json> bind_to_host(const rpc::Context& /*context*/,
                                            objects::Object& instance) override {
        diary_.note("networks.bind_to_host " + instance.text("uuid"));
        if (refresh_error)
            return Failure(*refresh_error);
        return info;
    }
    [[nodiscard]] Result<Json> heal(const rpc::Context& /*context*/,
                                    objects::Object& instance) override {
        diary_.note("networks.heal " + instance.text("uuid"));
        if (refresh_error)
            return Failure(*refresh_error);
        return info;
    }
    [[nodiscard]] Result<Json> forget(const rpc::Context& /*context*/,
                                      objects::Object& instance,
                                      const std::string& port) override {
        diary_.note("networks.forget " + instance.text("uuid") + ' ' + port);
        if (refresh_error)
            return Failure(*refresh_error);
        for (const auto& vif : info.items())
            if (vif["id"].as_string() == port)
                return vif;
        return Json();
    }

  private:
    Diary& diary_;
    objects::Conductor& conductor_;
};

class FakeResources final : public tasks::Resources {
  public:
    FakeResources(Diary& diary, objects::Conductor& conductor, std::string host)
        : diary_(diary), conductor_(conductor), host_(std::move(host)) {}
    std::optional<Error> claim_error;

    [[nodiscard]] Result<void>
    claim(const rpc::Context& context, objects::Object& instance, const Json& /*limits*/) override {
        diary_.note(claim_error ? "resources.claim fails" : "resources.claim");
        if (claim_error)
            return Failure(*claim_error);
        for (const char* field : {"host", "node", "launched_on"})
            instance.set(field, host_);
        return conductor_.save_instance(instance, {}, context);
    }
    void drop(const rpc::Context& /*context*/,
              objects::Object& /*instance*/,
              bool /*unset_host*/) override {
        diary_.note("resources.drop");
    }
    void update(const objects::Object& instance) override {
        diary_.note("resources.update " + instance.text("vm_state"));
    }
    [[nodiscard]] Result<void> move_claim(const rpc::Context& context,
                                          objects::Object& /*instance*/,
                                          objects::Object& migration,
                                          const tasks::MoveTarget& /*target*/) override {
        diary_.note(claim_error ? "resources.move_claim fails" : "resources.move_claim");
        if (claim_error)
            return Failure(*claim_error);
        migration.set("dest_compute", host_);
        migration.set("dest_node", host_);
        return conductor_.save_migration(migration, context);
    }
    void depart(const objects::Object& /*instance*/, const objects::Object& migration) override {
        diary_.note("resources.depart " + migration.text("uuid"));
    }
    void arrive(const objects::Object& /*instance*/, const objects::Object& migration) override {
        diary_.note("resources.arrive " + migration.text("uuid"));
    }
    void settle(const objects::Object& /*instance*/, const objects::Object& migration) override {
        diary_.note("resources.settle " + migration.text("uuid"));
    }
    void revert(const objects::Object& /*instance*/, const objects::Object& migration) override {
        diary_.note("resources.revert " + migration.text("uuid"));
    }
    std::vector<std::string> claimed; ///< instances() gives it
    [[nodiscard]] std::vector<std::string> instances() const override { return claimed; }
    void build_finished(bool ok) override {
        diary_.note(ok ? "resources.build_finished ok" : "resources.build_finished failed");
    }
    [[nodiscard]] Result<void> set_enabled(bool enabled) override {
        diary_.note(enabled ? "resources.set_enabled true" : "resources.set_enabled false");
        return {};
    }

  private:
    Diary& diary_;
    objects::Conductor& conductor_;
    const std::string host_;
};

class FakeAllocations final : public tasks::Allocations {
  public:
    FakeAllocations(Diary& diary, std::string node) : diary_(diary), node_(std::move(node)) {}
    std::optional<Error> error;                                            ///< of every verb
    Result<std::vector<std::string>> holders = std::vector<std::string>(); ///< consumers() gives it

    [[nodiscard]] Result<void> remove(const std::string& /*consumer*/) override {
        return done("allocations.remove");
    }
    [[nodiscard]] Result<void> remove_unchanged(const std::string& consumer) override {
        return done("allocations.remove_unchanged " + consumer);
    }
    [[nodiscard]] Result<void> remove_ours(const std::string& consumer,
                                           const std::string& node) override {
        if (node.empty() || node == node_)
            return done("allocations.remove_ours " + consumer);
        diary_.note("allocations.remove_ours fails");
        return fail(Code::NotFound, "another node " + node);
    }
    [[nodiscard]] Result<void> move_back(const std::string& migration,
                                         const std::string& instance) override {
        return done("allocations.move_back " + migration + ' ' + instance);
    }
    [[nodiscard]] Result<std::vector<std::string>> consumers() override {
        diary_.note("allocations.consumers");
        return holders;
    }

  private:
    Result<void> done(const std::string& verb) {
        diary_.note(error ? verb.substr(0, verb.find(' ')) + " fails" : verb);
        return error ? Result<void>(Failure(*error)) : Result<void>();
    }
    Diary& diary_;
    const std::string node_;
};

/// Gives out sources of the same fake images.
class FakeImagesOfRequests final : public tasks::Images {
  public:
    explicit FakeImagesOfRequests(Diary& diary) : diary_(diary) {}
    /// When a build is about to spawn: its waiters are registered, nothing is plugged.
    std::function<void()> on_request;
    [[nodiscard]] std::unique_ptr<hypervisor::ImageSource>
    for_request(const rpc::Context& /*context*/) override {
        if (on_request)
            on_request();
        return std::make_unique<FakeImages>();
    }
    void remove(const rpc::Context& /*context*/, const std::string& image_id) override {
        diary_.note("images.remove " + image_id);
    }

  private:
    Diary& diary_;
};

/// Notes each volume that is given back; those of mappings by their volume id.
class FakeVolumes final : public tasks::Volumes {
  public:
    explicit FakeVolumes(Diary& diary) : diary_(diary) {}
    std::optional<Error> give_up_error;
    std::optional<Error> forget_error;
    std::optional<Error> detach_error;
    std::optional<Error> swap_error;

    void release(const rpc::Context& /*context*/,
                 const std::vector<objects::Object>& mappings) override {
        for (const auto& mapping : mappings)
            if (is_volume(mapping))
                diary_.note("volumes.release " + mapping.text("volume_id"));
    }
    void delete_on_termination(const rpc::Context& /*context*/,
                               const std::vector<objects::Object>& mappings) override {
        for (const auto& mapping : mappings)
            if (is_volume(mapping) && mapping.get("delete_on_termination").as_bool())
                diary_.note("volumes.delete " + mapping.text("volume_id"));
    }
    [[nodiscard]] Result<void> give_up(const rpc::Context& /*context*/,
                                       std::vector<objects::Object>& mappings) override {
        for (const auto& mapping : mappings)
            if (is_volume(mapping))
                diary_.note("volumes.give_up " + mapping.text("volume_id"));
        return outcome(give_up_error);
    }
    [[nodiscard]] Result<void> forget_attachment(const rpc::Context& /*context*/,
                                                 objects::Object& mapping) override {
        diary_.note("volumes.forget_attachment " + mapping.text("volume_id") + ' ' +
                    mapping.text("attachment_id"));
        return outcome(forget_error);
    }
    [[nodiscard]] Result<void> roll_back_detach(const rpc::Context& /*context*/,
                                                const std::string& volume_id) override {
        diary_.note("volumes.roll_back_detach " + volume_id);
        return outcome(detach_error);
    }
    [[nodiscard]] Result<void> roll_back_swap(const rpc::Context& /*context*/,
                                              const Swap& swap) override {
        diary_.note("volumes.roll_back_swap " + swap.old_volume_id + ' ' + swap.new_volume_id);
        return outcome(swap_error);
    }

  private:
    [[nodiscard]] static bool is_volume(const objects::Object& mapping) {
        return mapping.text("destination_type") == "volume" && !mapping.text("volume_id").empty();
    }
    [[nodiscard]] static Result<void> outcome(const std::optional<Error>& error) {
        return error ? Result<void>(Failure(*error)) : Result<void>();
    }
    Diary& diary_;
};

class FakeNotifier final : public tasks::Notifier {
  public:
    explicit FakeNotifier(Diary& diary) : diary_(diary) {}
    void instance_action(const rpc::Context& /*context*/,
                         const objects::Object& /*instance*/,
                         const std::string& action,
                         const std::string& phase,
                         const Error* error) override {
        diary_.note("notify " + action + '.' + phase + (error != nullptr ? " " + error->text : ""));
    }

  private:
    Diary& diary_;
};

} // namespace novalet::tests
