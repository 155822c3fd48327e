// Damaged messages: whatever comes, it is understood or refused with a reason.
#include "agent/rpc/envelope.hpp"

#include "agent/core/file.hpp"
#include "agent/core/text.hpp"

#include <gtest/gtest.h>
#include <random>

namespace novalet::rpc {
namespace {

/// Up to eight bytes changed, inserted, removed or repeated.
std::string damaged(std::string text, std::mt19937& random) {
    static const std::string interesting("\0\xFF\xC0\xED\xA0\x80{}[]\",:\\u0-9e.tfn", 24);
    const auto below = [&random](std::size_t limit) { return random() % limit; };
    for (std::size_t edits = 1 + below(8); edits > 0 && !text.empty(); --edits) {
        const auto at = below(text.size());
        switch (below(5)) {
        case 0:
            text[at] = static_cast<char>(random());
            break;
        case 1:
            text[at] = interesting[below(interesting.size())];
            break;
        case 2:
            text.insert(at, 1, interesting[below(interesting.size())]);
            break;
        case 3:
            text.erase(at, 1 + below(16));
            break;
        default:
            text.insert(at, text.substr(at, 1 + below(64)));
            break;
        }
    }
    return text;
}

/// The requests of a recorded boot and delete, as they stood on the bus.
std::vector<Json> recorded_requests() {
    std::vector<Json> out;
    for (const char* name : {"boot", "delete", "cold_start"}) {
        const auto text =
            read_file(cat(NOVALET_SOURCE_DIR, "/tests/contract/data/zed/", name, ".json"));
        const auto recording = Json::parse(text.value());
        for (const auto& exchange : recording.value().items()) {
            Json message = make_request(exchange["method"].as_string(),
                                        exchange["args"],
                                        "6.0",
                                        exchange["namespace"].as_string(),
                                        Context::admin());
            message.set("_msg_id", "2f1c").set("_reply_q", "reply_1").set("_timeout", 60);
            out.push_back(std::move(message));
        }
    }
    return out;
}

/// Some value of the tree, now and then the root.
Json& some_value(Json& root, std::mt19937& random) {
    Json* at = &root;
    while (random() % 5 != 0 && at->size() > 0) {
        if (at->is_array()) {
            at = &at->elements()[random() % at->size()];
            continue;
        }
        auto one = at->members().begin();
        std::advance(one, static_cast<std::ptrdiff_t>(random() % at->size()));
        at = &at->member(std::string(one->first));
    }
    return *at;
}

/// Another document: values of other types, in other places, missing, or deep inside.
void mutate(Json& message, std::mt19937& random) {
    for (auto edits = 1 + random() % 4; edits > 0; --edits) {
        Json& value = some_value(message, random);
        switch (random() % 6) {
        case 0:
            value = Json(some_value(message, random)); // a copy: it may hold this one
            break;
        case 1:
            value = Json();
            break;
        case 2:
            value = Json::Array{value, value};
            break;
        case 3:
            value = std::string(random() % 600, 'n'); // around the limit of names
            break;
        case 4:
            if (const Json::Object members = value.members(); !members.empty())
                value.erase(members.begin()->first);
            break;
        default:
            for (auto levels = random() % 150; levels > 0; --levels) { // around the limit of depth
                Json::Array outer(1);
                outer[0] = std::move(value);
                value = std::move(outer);
            }
            break;
        }
    }
}

struct Verdicts {
    std::size_t understood = 0;
    std::size_t refused = 0;

    /// The accept thread's questions to whatever came.
    void ask(const std::string& body) {
        const auto content = unwrap(body);
        if (content) {
            const auto caller = return_address(*content);
            EXPECT_TRUE(!caller || (!caller->reply_queue.empty() && !caller->message_id.empty() &&
                                    caller->reply_queue.size() <= longest_name));
        }
        const auto request = content ? parse_request(*content) : Failure(content.error());
        if (!request) {
            ++refused;
            EXPECT_EQ(request.error().code, Code::InvalidArgument);
            EXPECT_FALSE(request.error().text.empty());
            EXPECT_LE(request.error().text.size(), 2 * longest_name) << "a log line, not a dump";
            return;
        }
        ++understood;
        for (const auto* name : {&request->method,
                                 &request->version,
                                 &request->name_space,
                                 &request->unique_id,
                                 &request->message_id,
                                 &request->reply_queue})
            EXPECT_LE(name->size(), longest_name);
        EXPECT_FALSE(request->method.empty());
        EXPECT_TRUE(request->args.is_object());
        EXPECT_TRUE(request->context.keys().is_object());
        EXPECT_TRUE(!request->is_call() || !request->reply_queue.empty());
        if (request->monitor) {
            EXPECT_GT(request->monitor->count(), 0);
        }
        // What was understood can be sent on and is understood again.
        const auto again = unwrap(wrap(*content));
        ASSERT_TRUE(again);
        EXPECT_EQ(*again, *content);
    }
};

std::string enveloped(const std::string& message) {
    Json envelope = Json::object();
    return envelope.set("oslo.version", "2.0").set("oslo.message", message).dump();
}

TEST(EnvelopeMutation, BytesAreUnderstoodOrRefusedWithAReason) {
    Json args = Json::object();
    args.set("instance", Json::Object{{"nova_object.name", "Instance"}, {"x", 1.5}, {"y", -3}});
    Json message = make_request("build", args, "6.0", "baseapi", Context::admin());
    message.set("_msg_id", "m").set("_reply_q", "reply_1").set("_timeout", 60);
    const std::string body = wrap(message);
    const std::string inside = message.dump();
    std::mt19937 random(4711); // NOLINT: the same messages every time
    Verdicts verdicts;
    for (int i = 0; i < 2500; ++i) // every other time where the envelope does not see it
        verdicts.ask(i % 2 == 0 ? damaged(body, random) : enveloped(damaged(inside, random)));
    EXPECT_GT(verdicts.understood, 50U) << "the damage is too heavy to test anything";
    EXPECT_GT(verdicts.refused, 1000U);
}

TEST(EnvelopeMutation, RecordedRequestsWithOtherContentAreUnderstoodOrRefused) {
    const auto recorded = recorded_requests();
    ASSERT_GT(recorded.size(), 40U);
    std::mt19937 random(4713); // NOLINT: the same messages every time
    Verdicts verdicts;
    for (const auto& request : recorded) {
        verdicts.ask(wrap(request));
        const std::string body = wrap(request);
        for (int i = 0; i < 4; ++i) {
            Json message = request;
            mutate(message, random);
            verdicts.ask(wrap(message));
            verdicts.ask(damaged(body, random));
            verdicts.ask(body.substr(0, random() % body.size()));
        }
    }
    EXPECT_GT(verdicts.understood, recorded.size());
    EXPECT_GT(verdicts.refused, recorded.size());
}

/// Memory is bounded by them, whoever sends.
TEST(EnvelopeMutation, DepthAndNumberOfValuesAreBounded) {
    const auto nested = [](std::size_t levels) {
        return cat(R"({"method":"m","args":{"a":)",
                   std::string(levels, '['),
                   std::string(levels, ']'),
                   "}}");
    };
    const std::size_t most = message_limits.max_depth - 2; // the message and its args are two
    EXPECT_TRUE(unwrap(enveloped(nested(most))));
    for (const std::size_t levels : {most + 1, std::size_t{5'000}})
        for (const auto& body : {nested(levels), enveloped(nested(levels))}) {
            const auto content = unwrap(body);
            ASSERT_FALSE(content) << levels;
            EXPECT_EQ(content.error().code, Code::InvalidArgument);
            EXPECT_NE(content.error().text.find("deeper than 100"), std::string::npos);
        }
    std::string many = R"({"method":"m","args":{"a":[0)"; // bare: an envelope doubles the time
    for (std::size_t i = 0; i < message_limits.max_values; ++i)
        many += ",0";
    const auto content = unwrap(many + "]}}");
    ASSERT_FALSE(content);
    EXPECT_NE(content.error().text.find("more than 1000000 values"), std::string::npos);
}

TEST(FailureMutation, IsAlwaysAnError) {
    Error error;
    error.exception = "InstanceNotFound";
    error.module = "nova.exception";
    error.text = "Instance x is gone.";
    const std::string failure = serialise_failure(error);
    std::mt19937 random(4712); // NOLINT: the same messages every time
    for (int i = 0; i < 2000; ++i) {
        const auto got = parse_failure(damaged(failure, random));
        EXPECT_FALSE(got.text.empty() && got.exception.empty() && got.code != Code::Remote);
    }
}

} // namespace
} // namespace novalet::rpc
