#include "agent/rpc/envelope.hpp"

#include "agent/core/text.hpp"

#include <gtest/gtest.h>

namespace novalet::rpc {
namespace {

std::string problem_of(std::string_view body) {
    auto message = unwrap(body);
    if (!message)
        return message.error().text;
    auto request = parse_request(std::move(*message));
    return request ? std::string() : request.error().text;
}

/// The envelope around a message text that need not be JSON.
std::string around(const std::string& message) {
    Json envelope = Json::object();
    envelope.set("oslo.version", "2.0");
    envelope.set("oslo.message", message);
    return envelope.dump();
}

TEST(Envelope, HoldsTheMessageAsText) {
    Json message = Json::object();
    message.set("method", "ping");
    const auto outer = Json::parse(wrap(message));
    ASSERT_TRUE(outer);
    EXPECT_EQ((*outer)["oslo.version"].as_string(), "2.0");
    EXPECT_EQ((*outer)["oslo.message"].as_string(), R"({"method":"ping"})");
    const auto back = unwrap(wrap(message));
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, message);
}

TEST(Envelope, AcceptsABareMessage) {
    const auto message = unwrap(R"({"method":"ping","args":{}})");
    ASSERT_TRUE(message);
    EXPECT_EQ((*message)["method"].as_string(), "ping");
}

TEST(Envelope, SaysWhatIsWrong) {
    const auto expect = [](const std::string& body, const char* what) {
        EXPECT_NE(problem_of(body).find(what), std::string::npos) << problem_of(body);
    };
    expect("", "not JSON");
    expect("hello", "not JSON");
    expect("[1]", "expected a JSON object");
    expect("3", "expected a JSON object");
    expect(R"({"oslo.version":"3.0","oslo.message":"{}"})", "oslo.version");
    expect(R"({"oslo.version":"2.1","oslo.message":"{}"})", "oslo.version");
    expect(R"({"oslo.version":2,"oslo.message":"{}"})", "oslo.version");
    expect(R"({"oslo.version":"2.0"})", "oslo.message is not a string");
    expect(R"({"oslo.version":"2.0","oslo.message":{}})", "oslo.message is not a string");
    expect(around("{"), "oslo.message: not JSON");
    expect(around("[]"), "oslo.message: expected a JSON object");
    expect(around("{}"), "'method' is missing");
    expect(around(R"({"method":7})"), "'method' is not a string");
    expect(around(R"({"method":"a\u0000b"})"), "control character");
    expect(around(R"({"method":"a","args":[1]})"), "'args' is not an object");
    expect(around(R"({"method":"a","_msg_id":"1"})"), "without '_reply_q'");
    expect(around(cat(R"({"method":")", std::string(300, 'x'), "\"}")), "over the limit");
    expect(around(R"({"method":"a","_msg_id":"1","_reply_q":")" + std::string(256, 'q') + "\"}"),
           "'_reply_q'");
}

TEST(Envelope, RefusesBytesThatAreNoText) {
    const std::string nul(R"({"method":"a"})" + std::string(1, '\0'));
    EXPECT_NE(problem_of(nul).find("not JSON"), std::string::npos);
    EXPECT_NE(problem_of("{\"method\":\"\xFF\xFE\"}").find("not JSON"), std::string::npos);
    EXPECT_NE(problem_of("{\"method\":\"\xC0\x80\"}").find("not JSON"), std::string::npos);
}

TEST(Envelope, RefusesDeepNesting) {
    const std::string deep = std::string(100000, '[') + std::string(100000, ']');
    EXPECT_NE(problem_of(deep).find("nests deeper"), std::string::npos);
    EXPECT_NE(
        problem_of(around(R"({"method":"a","args":{"x":)" + deep + "}}")).find("nests deeper"),
        std::string::npos);
}

TEST(Envelope, BoundsTheValuesOfADocument) {
    const JsonLimits three{1000, 10, 3};
    EXPECT_TRUE(Json::parse("[1,2]", three));
    const auto four = Json::parse("[[],[],[]]", three);
    ASSERT_FALSE(four);
    EXPECT_NE(four.error().text.find("more than 3 values"), std::string::npos);
}

TEST(Envelope, ReplacesBytesThatTheReceiverCouldNotRead) {
    Json message = Json::object();
    message.set("failure", "qemu said \xFF\xC3\xA9");
    const auto back = unwrap(wrap(message));
    ASSERT_TRUE(back);
    EXPECT_EQ((*back)["failure"].as_string(), "qemu said \xEF\xBF\xBD\xC3\xA9");
}

TEST(Request, IsTakenApart) {
    auto message = Json::parse(R"({"method":"build","version":"6.0","namespace":"baseapi",
        "args":{"a":1},"_unique_id":"u","_msg_id":"m","_reply_q":"reply_1","_timeout":60,
        "_context_request_id":"req-1","_context_is_admin":true,"_context_odd":[1],"extra":0})");
    ASSERT_TRUE(message);
    const auto request = parse_request(std::move(*message));
    ASSERT_TRUE(request);
    EXPECT_EQ(request->method, "build");
    EXPECT_EQ(request->version, "6.0");
    EXPECT_EQ(request->name_space, "baseapi");
    EXPECT_EQ(request->args["a"].as_int(), 1);
    EXPECT_EQ(request->unique_id, "u");
    EXPECT_EQ(request->message_id, "m");
    EXPECT_EQ(request->reply_queue, "reply_1");
    EXPECT_TRUE(request->is_call());
    EXPECT_EQ(request->monitor, std::chrono::seconds(60));
    EXPECT_EQ(request->context.request_id(), "req-1");
    EXPECT_EQ(request->context.keys()["odd"].size(), 1U);
}

TEST(Request, ReadsNullsAsAbsent) {
    auto message = Json::parse(R"({"method":"a","args":null,"namespace":null,"_timeout":null})");
    const auto request = parse_request(std::move(*message));
    ASSERT_TRUE(request);
    EXPECT_FALSE(request->is_call());
    EXPECT_FALSE(request->monitor);
    EXPECT_TRUE(request->args.is_object());
}

TEST(Request, IgnoresAMonitorThatMakesNoSense) {
    for (const char* timeout : {"0", "-5", "1e300", "\"60\"", "99999999999"}) {
        auto message = Json::parse(cat(R"({"method":"a","_timeout":)", timeout, "}"));
        const auto request = parse_request(std::move(*message));
        ASSERT_TRUE(request) << timeout;
        EXPECT_FALSE(request->monitor) << timeout;
    }
}

TEST(Request, RoundTripKeepsContextAndNames) {
    Json args = Json::object();
    args.set("instance", "x");
    const auto context = Context::admin();
    const auto made = make_request("m", args, "6.0", "", context);
    EXPECT_FALSE(made.contains("namespace"));
    EXPECT_EQ(made["_unique_id"].as_string().size(), 32U);
    auto sent = unwrap(wrap(made));
    ASSERT_TRUE(sent);
    const auto request = parse_request(std::move(*sent));
    ASSERT_TRUE(request);
    EXPECT_EQ(request->args, args);
    EXPECT_EQ(request->context.keys(), context.keys());
}

TEST(ReturnAddressOf, IsReadFromAMessageThatIsOtherwiseWrong) {
    const auto message = Json::parse(R"({"args":[],"_msg_id":"m","_reply_q":"q"})");
    const auto caller = return_address(*message);
    ASSERT_TRUE(caller);
    EXPECT_EQ(caller->message_id, "m");
    EXPECT_EQ(caller->reply_queue, "q");
    EXPECT_FALSE(return_address(*Json::parse(R"({"_msg_id":"m"})")));
    EXPECT_FALSE(return_address(*Json::parse(R"({"_msg_id":"m","_reply_q":["q"]})")));
}

TEST(Reply, CarriesResultOrFailureOnceAndToTheEnd) {
    const auto good = make_reply("m", Json("done"));
    EXPECT_EQ(good["result"].as_string(), "done");
    EXPECT_TRUE(good["failure"].is_null());
    EXPECT_TRUE(good["ending"].as_bool());
    EXPECT_EQ(good["_msg_id"].as_string(), "m");
    const auto bad = make_reply("m", fail_as("InstanceNotFound", Code::NotFound, "no such"));
    EXPECT_TRUE(bad["result"].is_null());
    EXPECT_TRUE(bad["failure"].is_string()); // JSON text inside JSON text
    const auto beat = make_heartbeat("m");
    EXPECT_FALSE(beat["ending"].as_bool(true));
    EXPECT_TRUE(beat["result"].is_null());
    EXPECT_TRUE(beat["failure"].is_null());
}

TEST(FailureText, HasTheMembersThatOsloBuildsTheExceptionFrom) {
    const auto error = fail_as("InstanceNotFound", Code::NotFound, "Instance x is gone.").value();
    const auto failure = Json::parse(serialise_failure(error));
    ASSERT_TRUE(failure);
    EXPECT_EQ((*failure)["class"].as_string(), "InstanceNotFound");
    EXPECT_EQ((*failure)["module"].as_string(), "nova.exception");
    EXPECT_EQ((*failure)["message"].as_string(), "Instance x is gone.");
    EXPECT_EQ((*failure)["args"].at(0).as_string(), "Instance x is gone.");
    EXPECT_EQ((*failure)["kwargs"]["code"].as_int(), 404);
    EXPECT_TRUE((*failure)["tb"].is_array());
}

TEST(FailureText, GivesBuiltInsNoKeywords) {
    Error error;
    error.text = "x() got an unexpected keyword argument 'y'";
    error.exception = "TypeError";
    error.module = "builtins";
    const auto failure = Json::parse(serialise_failure(error));
    EXPECT_EQ((*failure)["class"].as_string(), "TypeError");
    EXPECT_EQ((*failure)["module"].as_string(), "builtins");
    EXPECT_TRUE((*failure)["kwargs"].empty());
}

TEST(FailureText, NamesAnErrorWithoutAClassAsNovaDoes) {
    Error error;
    error.code = Code::Internal;
    error.text = "broken";
    const auto failure = Json::parse(serialise_failure(error));
    EXPECT_EQ((*failure)["class"].as_string(), "NovaException");
    EXPECT_EQ((*failure)["module"].as_string(), "nova.exception");
    EXPECT_EQ((*failure)["kwargs"]["code"].as_int(), 500);
}

TEST(RemoteFailure, BecomesAnErrorWithTheCodeOfItsClass) {
    const auto code_of = [](const std::string& name) {
        Json failure = Json::object();
        failure.set("class", name);
        failure.set("module", "nova.exception_Remote");
        failure.set("message", "text");
        const auto error = parse_failure(failure.dump());
        EXPECT_EQ(error.module, "nova.exception");
        EXPECT_EQ(error.text, "text");
        return error.code;
    };
    EXPECT_EQ(code_of("InstanceNotFound_Remote"), Code::NotFound);
    EXPECT_EQ(code_of("UnexpectedTaskStateError"), Code::Conflict);
    EXPECT_EQ(code_of("UnexpectedDeletingTaskStateError"), Code::Conflict);
    EXPECT_EQ(code_of("InstanceUpdateConflict"), Code::Conflict);
    EXPECT_EQ(code_of("ServiceBinaryExists"), Code::AlreadyExists);
    EXPECT_EQ(code_of("IncompatibleObjectVersion"), Code::Unsupported);
    EXPECT_EQ(code_of("DBDeadlock"), Code::Unavailable);
    EXPECT_EQ(code_of("ObjectActionError"), Code::Remote);
}

TEST(RemoteFailure, IsKeptWhenItCannotBeRead) {
    const auto error = parse_failure("\xC3\xA9 not json");
    EXPECT_EQ(error.code, Code::Remote);
    EXPECT_NE(error.text.find("not json"), std::string::npos);
}

TEST(Versions, AreCompatibleWithinAMajorUpToTheMinor) {
    EXPECT_TRUE(compatible("6.0", "6.1"));
    EXPECT_TRUE(compatible("6.1", "6.1"));
    EXPECT_FALSE(compatible("6.2", "6.1"));
    EXPECT_FALSE(compatible("5.0", "6.1"));
    EXPECT_TRUE(compatible("6.9", "6.10"));
    for (const char* odd : {"", "6", "6.", ".1", "6.x", "6.1.1", "-6.0", "6.0 ", "6.99999999999"})
        EXPECT_FALSE(compatible(odd, "6.1")) << odd;
}

} // namespace
} // namespace novalet::rpc
