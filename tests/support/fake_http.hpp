#pragma once
// REST services as tests see them: answers by method and path, and what was asked. Thread safe.
#include "agent/clients/http.hpp"
#include "agent/clients/keystone.hpp"

#include <deque>
#include <gtest/gtest.h>
#include <map>
#include <mutex>
#include <vector>

namespace novalet::tests {

class FakeHttp final : public clients::HttpClient {
  public:
    using Answer = std::function<Result<clients::HttpResponse>(const clients::HttpRequest&)>;

    /// Several answers for one request come in turn; the last stays. `path` with its query and
    /// without the host.
    FakeHttp& on(const std::string& method, const std::string& path, Answer answer) {
        const std::lock_guard lock(mutex_);
        answers_[method + " " + path].push_back(std::move(answer));
        return *this;
    }
    FakeHttp& on(const std::string& method,
                 const std::string& path,
                 int status,
                 const Json& body = {},
                 std::map<std::string, std::string> headers = {}) {
        clients::HttpResponse response;
        response.status = status;
        response.headers = std::move(headers);
        if (!body.is_null())
            response.body = body.dump();
        return on(method, path, [response](const auto&) { return response; });
    }
    FakeHttp& on(const std::string& method,
                 const std::string& path,
                 int status,
                 const char* body,
                 std::map<std::string, std::string> headers = {}) {
        const auto parsed = Json::parse(body);
        if (!parsed)
            ADD_FAILURE() << "the test's own JSON: " << parsed.error().text << "\n" << body;
        return on(method, path, status, parsed ? *parsed : Json(), std::move(headers));
    }
    /// Keystone gives a token that is valid for the whole test.
    void give_token() {
        on("POST",
           "/v3/auth/tokens",
           201,
           R"({"token":{"expires_at":"2099-01-01T00:00:00Z"}})",
           {{"x-subject-token", "agent"}});
    }
    [[nodiscard]] bool knows(const std::string& method, const std::string& path) const {
        const std::lock_guard lock(mutex_);
        return answers_.count(method + " " + path) != 0;
    }
    /// What the next answers of this request would be is forgotten.
    void forget(const std::string& method, const std::string& path) {
        const std::lock_guard lock(mutex_);
        answers_.erase(method + " " + path);
    }

    Result<clients::HttpResponse> send(const clients::HttpRequest& request) override {
        Answer answer;
        {
            const std::lock_guard lock(mutex_);
            requests_.push_back(request);
            requests_.back().sink = nullptr;
            const auto found = answers_.find(request.method + " " + path_of(request.url));
            if (found == answers_.end()) {
                ADD_FAILURE() << "unexpected request " << request.method << " " << request.url
                              << " " << request.body;
                return fail(Code::Internal, "unexpected request " + request.url);
            }
            answer = found->second.front();
            if (found->second.size() > 1)
                found->second.pop_front();
        }
        auto response = answer(request);
        if (!response || !request.sink || !response->ok())
            return response;
        const std::string body = std::exchange(response->body, {});
        for (std::size_t at = 0; at < body.size(); at += 7)
            NOVALET_TRY(request.sink(std::string_view(body).substr(at, 7)));
        return response;
    }

    [[nodiscard]] std::vector<clients::HttpRequest> requests() const {
        const std::lock_guard lock(mutex_);
        return requests_;
    }
    /// "METHOD path" of each request, Keystone's left out.
    [[nodiscard]] std::vector<std::string> calls() const {
        std::vector<std::string> out;
        for (const auto& request : requests())
            if (path_of(request.url) != "/v3/auth/tokens")
                out.push_back(request.method + " " + path_of(request.url));
        return out;
    }
    /// The only request of this method and path; an empty one, and a failed test, otherwise.
    [[nodiscard]] clients::HttpRequest only(const std::string& method,
                                            const std::string& path) const {
        std::vector<clients::HttpRequest> found;
        for (const auto& request : requests())
            if (request.method == method && path_of(request.url) == path)
                found.push_back(request);
        EXPECT_EQ(found.size(), 1U) << method << " " << path;
        return found.size() == 1 ? found.front() : clients::HttpRequest();
    }
    [[nodiscard]] Json body_of(const std::string& method, const std::string& path) const {
        const auto parsed = Json::parse(only(method, path).body);
        EXPECT_TRUE(parsed);
        return parsed ? *parsed : Json();
    }

    /// With the digits of escapes in upper case: both cases mean the same.
    [[nodiscard]] static std::string path_of(const std::string& url) {
        const auto host = url.find("://");
        const auto path = url.find('/', host == std::string::npos ? 0 : host + 3);
        std::string out = path == std::string::npos ? "" : url.substr(path);
        for (std::size_t at = 0; (at = out.find('%', at)) != std::string::npos; ++at)
            for (std::size_t digit = at + 1; digit < std::min(at + 3, out.size()); ++digit)
                out[digit] = out[digit] >= 'a' && out[digit] <= 'f'
                                 ? static_cast<char>(out[digit] - 'a' + 'A')
                                 : out[digit];
        return out;
    }

  private:
    mutable std::mutex mutex_;
    std::map<std::string, std::deque<Answer>> answers_;
    std::vector<clients::HttpRequest> requests_;
};

/// The account of the agent's own requests.
inline clients::AuthOptions test_account() {
    clients::AuthOptions out;
    out.auth_url = "http://keystone";
    return out;
}

/// JSON of a test's own text.
inline Json json(const char* text) {
    auto parsed = Json::parse(text);
    if (!parsed)
        ADD_FAILURE() << "the test's own JSON: " << parsed.error().text << "\n" << text;
    return parsed ? std::move(*parsed) : Json();
}

} // namespace novalet::tests
