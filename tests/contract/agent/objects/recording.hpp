#pragma once
// Exchanges of a real nova-compute with a real conductor, one scenario a file:
//   [{"label": "Class.method" (class action) | "Class#method" (object action) | cast's method,
//     "topic", "namespace", "version", "method", "args", "request_id",
//     "result" | "failure": {"class", "module", "message"}}, …]
#include "agent/core/file.hpp"
#include "agent/core/json.hpp"
#include "agent/objects/release.hpp"
#include "agent/rpc/envelope.hpp"
#include "tests/support/fake_caller.hpp"

#include <gtest/gtest.h>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace novalet::objects::tests {

class Recording {
  public:
    explicit Recording(const std::string& scenario) {
        const auto path = cat(NOVALET_SOURCE_DIR, "/tests/contract/data/zed/", scenario, ".json");
        const auto text = read_file(path);
        if (!text)
            throw std::runtime_error(text.error().text);
        auto parsed = Json::parse(*text);
        if (!parsed)
            throw std::runtime_error(path + ": " + parsed.error().text);
        exchanges_ = std::move(*parsed);
    }

    /// The `nth` exchange of this label.
    [[nodiscard]] const Json& find(const std::string& label, std::size_t nth = 0) const {
        const auto found = all(label);
        if (nth >= found.size())
            throw std::runtime_error(cat("no exchange ", nth, " of ", label));
        return *found[nth];
    }
    [[nodiscard]] std::vector<const Json*> all(const std::string& label) const {
        std::vector<const Json*> found;
        for (const auto& exchange : exchanges_.items())
            if (exchange["label"].as_string() == label)
                found.push_back(&exchange);
        return found;
    }

  private:
    Json exchanges_;
};

/// The conductor's recorded answer to `exchange`, for the next call.
inline void replay(novalet::tests::FakeCaller& bus, const Json& exchange) {
    if (exchange.contains("failure"))
        bus.answer_error(rpc::parse_failure(exchange["failure"].dump()));
    else
        bus.answer(exchange["result"]);
}

/// Unordered: the changes of a primitive. Nested primitives too.
inline Json with_sorted_changes(Json value) {
    if (value.is_array())
        for (auto& element : value.elements())
            element = with_sorted_changes(std::move(element));
    if (!value.is_object())
        return value;
    Json out = Json::object();
    for (const auto& [key, inner] : value.members()) {
        if (key == "nova_object.changes") {
            std::set<std::string> sorted;
            for (const auto& field : inner.items())
                sorted.insert(field.as_string());
            Json list = Json::array();
            for (const auto& field : sorted)
                list.push_back(field);
            out.set(key, std::move(list));
        } else {
            out.set(key, with_sorted_changes(inner));
        }
    }
    return out;
}

/// Same request in meaning: target, class, method, arguments. Our manifest may hold more classes,
/// but says the same of those that the recorded one names.
inline void expect_same_request(const novalet::tests::FakeCaller::Sent& sent,
                                const Json& exchange,
                                const std::set<std::string>& ignored_kwargs = {}) {
    SCOPED_TRACE(exchange["label"].as_string());
    const bool fanout = exchange["topic"].as_string().ends_with("_fanout");
    EXPECT_EQ(fanout ? sent.target.topic + "_fanout" : sent.target.topic,
              exchange["topic"].as_string());
    EXPECT_EQ(sent.target.fanout, fanout);
    EXPECT_EQ(sent.target.name_space, exchange["namespace"].as_string());
    EXPECT_EQ(sent.target.version, exchange["version"].as_string());
    EXPECT_EQ(sent.method, exchange["method"].as_string());
    const auto& wanted = exchange["args"];
    for (const auto& [name, value] : wanted.members()) {
        if (name == "object_versions") {
            for (const auto& [object, version] : value.members())
                EXPECT_EQ(sent.args[name][object], version) << object;
            continue;
        }
        Json ours = sent.args[name];
        Json theirs = value;
        if (name == "kwargs")
            for (const auto& kwarg : ignored_kwargs) {
                ours.erase(kwarg);
                theirs.erase(kwarg);
            }
        EXPECT_EQ(with_sorted_changes(ours).dump(), with_sorted_changes(theirs).dump()) << name;
    }
    for (const auto& [name, value] : sent.args.members())
        EXPECT_TRUE(wanted.contains(name)) << name << " is not in the recorded request";
}

} // namespace novalet::objects::tests
