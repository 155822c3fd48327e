// Damaged messages: whatever comes, it is understood or refused with a reason.
#include "agent/rpc/envelope.hpp"

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

TEST(EnvelopeMutation, IsUnderstoodOrRefusedWithAReason) {
    Json args = Json::object();
    args.set("instance", Json::Object{{"nova_object.name", "Instance"}, {"x", 1.5}, {"y", -3}});
    Json message = make_request("build", args, "6.0", "baseapi", Context::admin());
    message.set("_msg_id", "m");
    message.set("_reply_q", "reply_1");
    message.set("_timeout", 60);
    const std::string body = wrap(message);
    std::mt19937 random(4711); // NOLINT: the same messages every time
    std::size_t understood = 0;
    std::size_t refused = 0;
    for (int i = 0; i < 5000; ++i) {
        // Every other time the damage is inside, where the envelope does not see it.
        Json inner = Json::object();
        inner.set("oslo.version", "2.0");
        inner.set("oslo.message", damaged(message.dump(), random));
        auto content = unwrap(i % 2 == 0 ? damaged(body, random) : inner.dump());
        auto request = content ? parse_request(*content) : Failure(content.error());
        if (!request) {
            ++refused;
            EXPECT_EQ(request.error().code, Code::InvalidArgument);
            EXPECT_FALSE(request.error().text.empty());
            continue;
        }
        ++understood;
        EXPECT_FALSE(request->method.empty());
        EXPECT_TRUE(request->args.is_object());
        EXPECT_LE(request->reply_queue.size(), longest_name);
        EXPECT_TRUE(!request->is_call() || !request->reply_queue.empty());
        if (request->monitor) {
            EXPECT_GT(request->monitor->count(), 0);
        }
        // What was understood can be sent on and is understood again.
        const auto again = unwrap(wrap(*content));
        ASSERT_TRUE(again);
        EXPECT_EQ(*again, *content);
    }
    EXPECT_GT(understood, 100U) << "the damage is too heavy to test anything";
    EXPECT_GT(refused, 1000U);
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
