#pragma once
// A Placement that answers: providers with generations, inventories and traits, consumers with
// allocations and generations, and the refusals of the real one. Thread safe.
#include "agent/clients/http.hpp"
#include "agent/core/text.hpp"
#include "tests/support/fake_http.hpp"

#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace novalet::tests {

class FakePlacement final : public clients::HttpClient {
  public:
    struct Provider {
        std::string name;
        std::int64_t generation = 0;
        Json inventories = Json::object();
        std::set<std::string> traits;
    };
    struct Consumer {
        std::int64_t generation = 1;
        Json by_provider = Json::object(); ///< provider uuid → {resources: {class: amount}}
    };

    /// Called before each request of this kind ("PUT /allocations/…" begins with it), without a
    /// lock: what others do meanwhile.
    void before(std::string prefix, std::function<void()> deed) {
        const std::lock_guard lock(mutex_);
        prefix_ = std::move(prefix);
        deed_ = std::move(deed);
    }
    void put_provider(const std::string& uuid, Provider provider) {
        const std::lock_guard lock(mutex_);
        providers_[uuid] = std::move(provider);
    }
    [[nodiscard]] Provider provider(const std::string& uuid) const {
        const std::lock_guard lock(mutex_);
        const auto found = providers_.find(uuid);
        return found == providers_.end() ? Provider() : found->second;
    }
    void remove_provider(const std::string& uuid) {
        const std::lock_guard lock(mutex_);
        providers_.erase(uuid);
    }
    /// Somebody else writes the provider.
    void touch_provider(const std::string& uuid) {
        const std::lock_guard lock(mutex_);
        ++providers_.at(uuid).generation;
    }
    /// The consumer holds so many VCPU of the provider as well.
    void allocate(const std::string& consumer,
                  const std::string& provider,
                  std::int64_t amount,
                  const std::string& resource = "VCPU") {
        const std::lock_guard lock(mutex_);
        auto& holder = consumers_[consumer];
        ++holder.generation;
        holder.by_provider.set(
            provider, Json::object().set("resources", Json::object().set(resource, amount)));
    }
    void release(const std::string& consumer) {
        const std::lock_guard lock(mutex_);
        consumers_.erase(consumer);
    }
    /// What the consumer holds of the provider; 0 for nothing.
    [[nodiscard]] std::int64_t held(const std::string& consumer,
                                    const std::string& provider,
                                    const std::string& resource = "VCPU") const {
        const std::lock_guard lock(mutex_);
        const auto found = consumers_.find(consumer);
        return found == consumers_.end()
                   ? 0
                   : found->second.by_provider[provider]["resources"][resource].as_int();
    }
    [[nodiscard]] std::vector<std::string> calls() const {
        const std::lock_guard lock(mutex_);
        return calls_;
    }
    void forget_calls() {
        const std::lock_guard lock(mutex_);
        calls_.clear();
    }

    Result<clients::HttpResponse> send(const clients::HttpRequest& request) override {
        const std::string path = FakeHttp::path_of(request.url);
        if (path == "/v3/auth/tokens")
            return token();
        const std::string call = request.method + ' ' + path;
        std::function<void()> deed;
        {
            const std::lock_guard lock(mutex_);
            calls_.push_back(call);
            if (!prefix_.empty() && call.starts_with(prefix_))
                deed = deed_;
        }
        if (deed)
            deed();
        const std::lock_guard lock(mutex_);
        const auto body = request.body.empty() ? Result<Json>(Json()) : Json::parse(request.body);
        if (!body)
            return fail(Code::Internal, "the request's body is no JSON: " + request.body);
        return route(request.method, split(path), *body);
    }

  private:
    struct Path {
        std::vector<std::string> parts;
        std::string query;
    };
    static Path split(const std::string& path) {
        Path out;
        const auto mark = path.find('?');
        out.query = mark == std::string::npos ? "" : path.substr(mark + 1);
        std::string part;
        for (const char c : path.substr(0, mark) + '/') {
            if (c != '/')
                part += c;
            else if (!part.empty())
                out.parts.push_back(std::exchange(part, {}));
        }
        return out;
    }
    static clients::HttpResponse token() {
        clients::HttpResponse out;
        out.status = 201;
        out.headers["x-subject-token"] = "agent";
        out.body = R"({"token":{"expires_at":"2099-01-01T00:00:00Z"}})";
        return out;
    }
    static clients::HttpResponse answer(int status, const Json& body = {}) {
        clients::HttpResponse out;
        out.status = status;
        if (!body.is_null())
            out.body = body.dump();
        return out;
    }
    static clients::HttpResponse
    refuse(int status, const std::string& code, const std::string& detail) {
        return answer(
            status,
            Json::object().set(
                "errors", Json::Array{Json::object().set("code", code).set("detail", detail)}));
    }
    static clients::HttpResponse conflict(const std::string& detail) {
        return refuse(409, "placement.concurrent_update", detail);
    }

    Result<clients::HttpResponse>
    route(const std::string& method, const Path& path, const Json& body) {
        const auto& parts = path.parts;
        const std::string first = parts.empty() ? "" : parts[0];
        if (first == "resource_providers" && parts.size() == 1)
            return method == "POST" ? make_provider(body) : tree(path.query);
        if (first == "resource_providers" && parts.size() == 3) {
            const auto found = providers_.find(parts[1]);
            if (found == providers_.end())
                return refuse(404, "placement.undefined_code", "no provider " + parts[1]);
            if (parts[2] == "inventories")
                return inventories(method, parts[1], found->second, body);
            if (parts[2] == "traits")
                return traits(method, found->second, body);
            if (parts[2] == "allocations")
                return answer(200, holders_of(parts[1]));
        }
        if (first == "traits" || first == "resource_classes")
            return method == "GET" ? known_traits(path.query) : answer(204);
        if (first == "allocations" && parts.size() == 1)
            return move(body);
        if (first == "allocations" && parts.size() == 2)
            return allocations(method, parts[1], body);
        ADD_FAILURE() << "unexpected request " << method << ' ' << first;
        return fail(Code::Internal, "unexpected request");
    }
    clients::HttpResponse make_provider(const Json& body) {
        const std::string uuid = body["uuid"].as_string();
        providers_[uuid].name = body["name"].as_string();
        return answer(
            200, Json::object().set("uuid", uuid).set("name", body["name"]).set("generation", 0));
    }
    clients::HttpResponse tree(const std::string& query) const {
        Json list = Json::array();
        const auto found = providers_.find(query.substr(query.find('=') + 1));
        if (found != providers_.end())
            list.push_back(Json::object()
                               .set("uuid", found->first)
                               .set("name", found->second.name)
                               .set("generation", found->second.generation));
        return answer(200, Json::object().set("resource_providers", std::move(list)));
    }
    [[nodiscard]] bool in_use(const std::string& provider, const std::string& resource) const {
        for (const auto& [consumer, holder] : consumers_)
            if (holder.by_provider[provider]["resources"].contains(resource))
                return true;
        return false;
    }
    clients::HttpResponse inventories(const std::string& method,
                                      const std::string& uuid,
                                      Provider& provider,
                                      const Json& body) {
        if (method == "PUT") {
            if (body["resource_provider_generation"].as_int() != provider.generation)
                return conflict("resource provider generation conflict");
            for (const auto& [resource, inventory] : provider.inventories.members())
                if (!body["inventories"].contains(resource) && in_use(uuid, resource))
                    return refuse(409,
                                  "placement.inventory.inuse",
                                  "Inventory for '" + resource + "' on resource provider '" + uuid +
                                      "' in use.");
            provider.inventories = body["inventories"];
            ++provider.generation;
        }
        return answer(200,
                      Json::object()
                          .set("inventories", provider.inventories)
                          .set("resource_provider_generation", provider.generation));
    }
    static clients::HttpResponse
    traits(const std::string& method, Provider& provider, const Json& body) {
        if (method == "PUT") {
            if (body["resource_provider_generation"].as_int() != provider.generation)
                return conflict("resource provider generation conflict");
            provider.traits.clear();
            for (const auto& name : body["traits"].items())
                provider.traits.insert(name.as_string());
            ++provider.generation;
        }
        Json names = Json::array();
        for (const auto& name : provider.traits)
            names.push_back(name);
        return answer(200,
                      Json::object()
                          .set("traits", std::move(names))
                          .set("resource_provider_generation", provider.generation));
    }
    /// Knows every name it is asked for.
    static clients::HttpResponse known_traits(const std::string& query) {
        Json names = Json::array();
        std::string name;
        for (const char c : query.substr(query.find("in:") + 3) + ',') {
            if (c != ',')
                name += c;
            else
                names.push_back(std::exchange(name, {}));
        }
        return answer(200, Json::object().set("traits", std::move(names)));
    }
    [[nodiscard]] Json holders_of(const std::string& provider) const {
        Json out = Json::object();
        for (const auto& [consumer, holder] : consumers_)
            if (holder.by_provider.contains(provider))
                out.set(consumer, holder.by_provider[provider]);
        return Json::object().set("allocations", std::move(out));
    }
    /// The refusal, or nothing when `written` may replace what the consumer holds.
    [[nodiscard]] std::optional<clients::HttpResponse> outdated(const std::string& consumer,
                                                                const Json& written) const {
        const auto found = consumers_.find(consumer);
        const Json known = found == consumers_.end() ? Json() : Json(found->second.generation);
        if (known == written["consumer_generation"])
            return std::nullopt;
        return conflict("consumer generation conflict - expected " + known.dump() + " but got " +
                        written["consumer_generation"].dump());
    }
    void write(const std::string& consumer, const Json& written) {
        if (written["allocations"].empty()) {
            consumers_.erase(consumer);
            return;
        }
        auto& holder = consumers_[consumer];
        ++holder.generation;
        holder.by_provider = written["allocations"];
    }
    clients::HttpResponse
    allocations(const std::string& method, const std::string& consumer, const Json& body) {
        const auto found = consumers_.find(consumer);
        if (method == "DELETE") {
            const bool was = found != consumers_.end();
            consumers_.erase(consumer);
            return answer(was ? 204 : 404);
        }
        if (method == "PUT") {
            if (auto refusal = outdated(consumer, body))
                return *refusal;
            write(consumer, body);
            return answer(204);
        }
        Json out = Json::object().set("allocations", Json::object());
        if (found != consumers_.end())
            out.set("allocations", found->second.by_provider)
                .set("project_id", "p1")
                .set("user_id", "u1")
                .set("consumer_generation", found->second.generation);
        return answer(200, out);
    }
    /// All or nothing.
    clients::HttpResponse move(const Json& body) {
        for (const auto& [consumer, written] : body.members())
            if (auto refusal = outdated(consumer, written))
                return *refusal;
        for (const auto& [consumer, written] : body.members())
            write(consumer, written);
        return answer(204);
    }

    mutable std::mutex mutex_;
    std::string prefix_;
    std::function<void()> deed_;
    std::vector<std::string> calls_;
    std::map<std::string, Provider> providers_;
    std::map<std::string, Consumer> consumers_;
};

} // namespace novalet::tests
