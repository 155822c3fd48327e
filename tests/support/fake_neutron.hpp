#pragma once
// A Neutron that keeps its ports, behind Keystone: as far as the agent uses it. Requests can be
// lost before and after their effect. Thread safe.
#include "agent/clients/http.hpp"
#include "agent/core/text.hpp"
#include "agent/core/uuid.hpp"
#include "tests/support/fake_http.hpp"

#include <algorithm>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace novalet::tests {

class FakeNeutron final : public clients::HttpClient {
  public:
    // The cloud.
    void put_network(const std::string& id, const Json& more = Json::object()) {
        const std::lock_guard lock(mutex_);
        Json network = json(R"({"name":"n","tenant_id":"p1","mtu":1500,"subnets":["s"],
            "shared":false,"provider:network_type":"vxlan","provider:physical_network":null})");
        network.set("id", id);
        for (const auto& [key, value] : more.members())
            network.set(key, value);
        networks_.push_back(std::move(network));
    }
    /// A port as somebody other than the agent makes it.
    void put_port(const std::string& id, const std::string& network, const Json& more = {}) {
        const std::lock_guard lock(mutex_);
        Json port = Json::object().set("id", id).set("network_id", network);
        for (const auto& [key, value] : more.members())
            port.set(key, value);
        ports_.push_back(completed(std::move(port)));
    }
    void change_port(const std::string& id, const std::string& field, Json value) {
        const std::lock_guard lock(mutex_);
        if (Json* port = find(ports_, id))
            port->set(field, std::move(value));
    }
    void remove_port(const std::string& id) {
        const std::lock_guard lock(mutex_);
        std::erase_if(ports_, [&](const Json& port) { return port["id"].as_string() == id; });
    }
    [[nodiscard]] Json port(const std::string& id) const {
        const std::lock_guard lock(mutex_);
        for (const auto& port : ports_)
            if (port["id"].as_string() == id)
                return port;
        return {};
    }
    [[nodiscard]] std::vector<Json> ports_of(const std::string& device) const {
        const std::lock_guard lock(mutex_);
        std::vector<Json> out;
        for (const auto& port : ports_)
            if (port["device_id"].as_string() == device)
                out.push_back(port);
        return out;
    }
    [[nodiscard]] std::size_t ports() const {
        const std::lock_guard lock(mutex_);
        return ports_.size();
    }
    /// Whether an L2 agent is alive on the hosts: else bindings fail.
    void set_bindable(bool bindable) {
        const std::lock_guard lock(mutex_);
        bindable_ = bindable;
    }

    // Faults. Requests are counted from 0, Keystone's left out.
    enum class Loss { Call, Answer };
    /// This one gets no answer; with Loss::Answer it is carried out.
    void lose(std::size_t request, Loss loss) {
        const std::lock_guard lock(mutex_);
        lost_ = {request, loss};
    }
    /// As if the agent were killed at this request: neither it nor a later one gets an answer.
    void die_at(std::size_t request, Loss loss) {
        const std::lock_guard lock(mutex_);
        lost_ = {request, loss};
        dies_ = true;
    }
    /// No request reaches it from now on.
    void die() {
        const std::lock_guard lock(mutex_);
        dead_ = true;
    }
    /// "METHOD path" is answered with this status and has no effect.
    void refuse(const std::string& call, int status) {
        const std::lock_guard lock(mutex_);
        refused_ = {call, status};
    }
    /// Well again; counting starts anew.
    void revive() {
        const std::lock_guard lock(mutex_);
        lost_.reset();
        dies_ = dead_ = false;
        refused_ = {};
        calls_.clear();
    }
    /// Called once when die_at comes true, without a lock.
    std::function<void()> on_death;

    /// "METHOD path" of each request, query left out.
    [[nodiscard]] std::vector<std::string> calls() const {
        const std::lock_guard lock(mutex_);
        return calls_;
    }
    [[nodiscard]] std::size_t count(const std::string& call) const {
        const auto all = calls();
        return static_cast<std::size_t>(std::count_if(
            all.begin(), all.end(), [&](const auto& one) { return one.starts_with(call); }));
    }

    Result<clients::HttpResponse> send(const clients::HttpRequest& request) override {
        const std::string path = FakeHttp::path_of(request.url);
        if (path == "/v3/auth/tokens")
            return token();
        std::function<void()> died;
        auto answer = [&]() -> Result<clients::HttpResponse> {
            const std::lock_guard lock(mutex_);
            const std::size_t number = calls_.size();
            calls_.push_back(request.method + ' ' + path.substr(0, path.find('?')));
            if (dead_)
                return no_answer();
            if (calls_.back() == refused_.first)
                return reply(refused_.second);
            const bool lost = lost_ && lost_->first == number;
            if (lost && dies_) {
                dead_ = true;
                died = on_death;
            }
            if (lost && lost_->second == Loss::Call)
                return no_answer();
            auto done = carry_out(request, path);
            if (lost)
                return no_answer();
            return done;
        }();
        if (died)
            died();
        return answer;
    }

  private:
    using Query = std::vector<std::pair<std::string, std::string>>;

    static Failure no_answer() { return fail(Code::Timeout, "Neutron did not answer"); }
    static clients::HttpResponse reply(int status, const Json& body = {}) {
        clients::HttpResponse out;
        out.status = status;
        if (!body.is_null())
            out.body = body.dump();
        return out;
    }
    static clients::HttpResponse token() {
        auto out = reply(201, json(R"({"token":{"expires_at":"2099-01-01T00:00:00Z"}})"));
        out.headers["x-subject-token"] = "agent";
        return out;
    }
    static Json* find(std::vector<Json>& list, const std::string& id) {
        for (auto& item : list)
            if (item["id"].as_string() == id)
                return &item;
        return nullptr;
    }
    static Query query_of(const std::string& path) {
        Query out;
        const auto at = path.find('?');
        if (at == std::string::npos)
            return out;
        for (const auto& pair : split(std::string_view(path).substr(at + 1), '&')) {
            const auto equals = pair.find('=');
            out.emplace_back(pair.substr(0, equals), pair.substr(equals + 1));
        }
        return out;
    }
    /// Values of one field are alternatives, as Neutron's filters are.
    static Json matching(const std::vector<Json>& list, const Query& query) {
        std::map<std::string, std::set<std::string>> wanted;
        for (const auto& [field, value] : query)
            if (field != "fields")
                wanted[field].insert(value);
        Json out = Json::array();
        for (const auto& item : list) {
            const bool fits = std::all_of(wanted.begin(), wanted.end(), [&](const auto& one) {
                const Json& has = item[one.first];
                const std::string text =
                    has.is_string() ? has.as_string() : (has.as_bool() ? "True" : "False");
                return one.second.contains(text);
            });
            if (fits)
                out.push_back(item);
        }
        return out;
    }
    static Json in(const char* name, Json value) {
        return Json::object().set(name, std::move(value));
    }

    Json completed(Json port) {
        ++made_;
        Json whole = json(R"({"tenant_id":"p1","name":"","admin_state_up":true,"status":"DOWN",
            "device_id":"","device_owner":"","binding:host_id":"","binding:vif_type":"unbound",
            "binding:vif_details":{},"binding:vnic_type":"normal","binding:profile":{}})");
        whole.set("mac_address", cat("fa:16:3e:00:00:", made_ + 10));
        whole.set("fixed_ips",
                  Json::Array{Json::object()
                                  .set("subnet_id", "s")
                                  .set("ip_address", cat("10.0.0.", made_ + 100))});
        for (const auto& [key, value] : port.members())
            whole.set(key, value);
        Json fixed = Json::array();
        for (const auto& address : whole["fixed_ips"].items()) {
            Json one = address;
            one.set("subnet_id", "s");
            fixed.push_back(std::move(one));
        }
        whole.set("fixed_ips", std::move(fixed));
        return whole;
    }
    void bind(Json& port, const Json& changes) const {
        if (!changes.contains("binding:host_id"))
            return;
        const bool bound = !changes["binding:host_id"].as_string().empty();
        port.set("binding:vif_type", !bound ? "unbound" : (bindable_ ? "ovs" : "binding_failed"));
    }

    Result<clients::HttpResponse> carry_out(const clients::HttpRequest& request,
                                            const std::string& whole_path) {
        const std::string path = whole_path.substr(0, whole_path.find('?'));
        const auto query = query_of(whole_path);
        if (path == "/v2.0/extensions")
            return reply(200, in("extensions", Json::array()));
        if (path == "/v2.0/floatingips" || path == "/v2.0/subnets" ||
            path == "/v2.0/security-groups")
            return reply(200,
                         in(path == "/v2.0/subnets" ? "subnets" : "floatingips", Json::array()));
        if (path == "/v2.0/networks")
            return reply(200, in("networks", matching(networks_, query)));
        if (path.starts_with("/v2.0/networks/")) {
            const Json* network = find(networks_, path.substr(15));
            return network != nullptr ? reply(200, in("network", *network)) : reply(404);
        }
        if (path == "/v2.0/ports" && request.method == "GET")
            return reply(200, in("ports", matching(ports_, query)));
        if (path == "/v2.0/ports" && request.method == "POST")
            return create(request);
        if (path.starts_with("/v2.0/ports/"))
            return one_port(request, path.substr(12));
        ADD_FAILURE() << "unexpected request " << request.method << ' ' << whole_path;
        return reply(404);
    }
    clients::HttpResponse create(const clients::HttpRequest& request) {
        const auto body = Json::parse(request.body);
        Json port = (*body)["port"];
        for (const auto& address : port["fixed_ips"].items())
            for (const auto& other : ports_)
                for (const auto& taken : other["fixed_ips"].items())
                    if (taken["ip_address"] == address["ip_address"])
                        return reply(409, json(R"({"NeutronError":{"type":"IpAddressInUse"}})"));
        port.set("id", new_uuid());
        ports_.push_back(completed(std::move(port)));
        return reply(201, in("port", ports_.back()));
    }
    clients::HttpResponse one_port(const clients::HttpRequest& request, const std::string& id) {
        Json* port = find(ports_, id);
        if (port == nullptr)
            return reply(404);
        if (request.method == "DELETE") {
            std::erase_if(ports_, [&](const Json& one) { return one["id"].as_string() == id; });
            return reply(204);
        }
        if (request.method == "PUT") {
            const auto body = Json::parse(request.body);
            const Json& changes = (*body)["port"];
            for (const auto& [key, value] : changes.members())
                port->set(key, value);
            bind(*port, changes);
        }
        return reply(200, in("port", *port));
    }

    mutable std::mutex mutex_;
    std::vector<Json> networks_;
    std::vector<Json> ports_;
    unsigned made_ = 0;
    bool bindable_ = true;
    std::vector<std::string> calls_;
    std::optional<std::pair<std::size_t, Loss>> lost_;
    std::pair<std::string, int> refused_;
    bool dies_ = false;
    bool dead_ = false;
};

} // namespace novalet::tests
