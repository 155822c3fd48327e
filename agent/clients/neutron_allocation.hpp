#pragma once
// One attempt at the ports of a server; internal to the Neutron client. What is asked for is looked
// at in neutron_wishes.cpp, ports are made, taken, bound and given back in neutron_allocation.cpp.
#include "agent/clients/neutron.hpp"

namespace novalet::clients {

class Neutron::Allocation {
  public:
    Allocation(Neutron& neutron,
               const rpc::Context& context,
               const NetworkOwner& owner,
               PortRecords& records)
        : neutron_(neutron), context_(context), owner_(owner), records_(records) {}

    /// Undone on failure, except when Nova's records cannot be reached: the work is started over
    /// then, and takes what is there.
    [[nodiscard]] Result<Json> run(std::vector<NetworkWish> wishes,
                                   const std::vector<std::string>& groups);

  private:
    /// One port on its way.
    struct Step {
        NetworkWish wish;
        Json port;             ///< as Neutron told last; null until it is made
        bool touched = false;  ///< bound, or tried
        bool recorded = false; ///< has a VirtualInterface
        [[nodiscard]] bool ours() const { return wish.port_id.empty(); }
        [[nodiscard]] const std::string& id() const { return port["id"].as_string(); }
    };

    // neutron_wishes.cpp
    [[nodiscard]] Result<Json> requested_port(const std::string& id);
    [[nodiscard]] Result<void> look_at_ports(std::vector<NetworkWish> wishes);
    [[nodiscard]] Result<void> look_at_networks(bool nothing_asked, bool automatic);
    [[nodiscard]] Result<void> choose_network(bool nothing_asked, bool automatic);
    [[nodiscard]] Result<Json> automatic_network();
    [[nodiscard]] Result<void> check_external() const;
    [[nodiscard]] Result<std::vector<std::string>> group_ids(const std::vector<std::string>& names);
    [[nodiscard]] Result<bool> wants_bandwidth(const Json& port);
    [[nodiscard]] Result<Json> providers_of(const Json& port);

    // neutron_allocation.cpp
    [[nodiscard]] Result<Json> attempt(std::vector<NetworkWish> wishes,
                                       const std::vector<std::string>& groups);
    /// Ports of an attempt that ended abruptly go to the wishes that they were made for.
    [[nodiscard]] Result<void> take_what_is_there();
    [[nodiscard]] bool fits(const Step& step, const Json& port) const;
    [[nodiscard]] bool is_left_over(const Json& port) const;
    [[nodiscard]] Result<void> create(Step& step, const std::vector<std::string>& groups);
    [[nodiscard]] Result<void> post(Step& step, const std::vector<std::string>& groups);
    [[nodiscard]] Result<bool> made_without_an_answer(Step& step);
    [[nodiscard]] Result<void> bind(Step& step);
    [[nodiscard]] Result<Json> binding_of(const Step& step);
    [[nodiscard]] bool is_bound_here(const Step& step) const;
    [[nodiscard]] Result<void> name_in_external_dns(const Step& step);
    void remove_left_over(const Json& ports);
    void undo();

    Neutron& neutron_;
    const rpc::Context& context_;
    const NetworkOwner& owner_;
    PortRecords& records_;
    std::vector<Step> steps_;
    NetworksById networks_;
    bool unanswered_ = false; ///< a port may be made that nobody knows of
};

/// PortBindingFailed.
[[nodiscard]] Failure binding_failed(const std::string& id, const std::string& host);
[[nodiscard]] bool badly_bound(const Json& port);
/// Neutron did not say whether it did what it was asked: no answer, or one of a proxy's.
[[nodiscard]] bool effect_unknown(const Error& error);

} // namespace novalet::clients
