#include "agent/rpc/endpoint_table.hpp"

#include <gtest/gtest.h>

namespace novalet::rpc {
namespace {

class EndpointTableTest : public ::testing::Test {
  protected:
    EndpointTableTest() {
        Method build;
        build.name = "build";
        build.required = {"instance"};
        build.optional = {"image"};
        build.has_effects = true;
        build.handler = [](const Request& request, const Responder& responder) {
            responder.reply(request.args["instance"]);
        };
        Method old;
        old.name = "old";
        old.any_arguments = true;
        old.handler = [](const Request&, const Responder& responder) { responder.reply("old"); };
        table_.add("", "6.1", {build});
        add_base_api(table_);
        table_.add("", "5.13", {old});
    }
    /// The one answer of a call.
    Result<Json> call(const std::string& name_space,
                      const std::string& version,
                      const std::string& method,
                      const char* args) {
        Request request;
        request.name_space = name_space;
        request.version = version;
        request.method = method;
        request.args = *Json::parse(args);
        request.message_id = "m";
        std::optional<Result<Json>> answer;
        table_.dispatch(std::move(request),
                        Responder([&answer](const Result<Json>& got) { answer = got; }));
        EXPECT_TRUE(answer.has_value()) << "a call without an answer";
        return answer.value_or(fail(Code::Internal, "no answer"));
    }
    void expect_error(const Result<Json>& answer,
                      const std::string& exception,
                      const std::string& module,
                      const std::string& text) {
        ASSERT_FALSE(answer);
        EXPECT_EQ(answer.error().exception, exception);
        EXPECT_EQ(answer.error().module, module);
        EXPECT_EQ(answer.error().text, text);
    }

    EndpointTable table_;
    const std::string dispatcher_ = "oslo_messaging.rpc.dispatcher";
};

TEST_F(EndpointTableTest, FindsTheEndpointByNamespaceAndVersion) {
    EXPECT_EQ(call("", "6.0", "build", R"({"instance":"a"})")->as_string(), "a");
    EXPECT_EQ(call("", "6.1", "build", R"({"instance":"a","image":1})")->as_string(), "a");
    EXPECT_EQ(call("", "5.0", "old", R"({"whatever":1})")->as_string(), "old");
    Request request;
    request.method = "build";
    request.version = "6.0";
    request.args.set("instance", "x");
    const auto method = table_.find(request);
    ASSERT_TRUE(method);
    EXPECT_TRUE((*method)->has_effects);
}

TEST_F(EndpointTableTest, AnswersAnUnknownVersionAsOsloDoes) {
    const std::string text = "Endpoint does not support RPC version ";
    expect_error(call("", "6.2", "build", R"({"instance":"a"})"),
                 "UnsupportedVersion",
                 dispatcher_,
                 text + "6.2. Attempted method: build");
    expect_error(call("", "", "build", "{}"),
                 "UnsupportedVersion",
                 dispatcher_,
                 text + "1.0. Attempted method: build");
    expect_error(call("elsewhere", "6.0", "build", "{}"),
                 "UnsupportedVersion",
                 dispatcher_,
                 text + "6.0. Attempted method: build");
    expect_error(call("", "nonsense", "build", "{}"),
                 "UnsupportedVersion",
                 dispatcher_,
                 text + "nonsense. Attempted method: build");
}

TEST_F(EndpointTableTest, AnswersAnUnknownMethodAsOsloDoes) {
    const std::string text = "Endpoint does not support RPC method ";
    expect_error(call("", "6.0", "dance", "{}"), "NoSuchMethod", dispatcher_, text + "dance");
    expect_error(call("", "6.0", "_init", "{}"), "NoSuchMethod", dispatcher_, text + "_init");
    expect_error(call("", "5.0", "build", "{}"), "NoSuchMethod", dispatcher_, text + "build");
    expect_error(
        call("baseapi", "1.0", "build", "{}"), "NoSuchMethod", dispatcher_, text + "build");
}

TEST_F(EndpointTableTest, AnswersWrongArgumentsAsPythonDoes) {
    expect_error(call("", "6.0", "build", R"({"instance":"a","hat":1})"),
                 "TypeError",
                 "builtins",
                 "build() got an unexpected keyword argument 'hat'");
    expect_error(call("", "6.0", "build", "{}"),
                 "TypeError",
                 "builtins",
                 "build() missing required argument: 'instance'");
}

TEST_F(EndpointTableTest, AnswersPing) {
    const auto answer = call("baseapi", "1.0", "ping", R"({"arg":"1.21 GigaWatts"})");
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->dump(), R"({"arg":"1.21 GigaWatts","service":"compute"})");
    EXPECT_TRUE(call("baseapi", "1.1", "get_backdoor_port", "{}")->is_null());
}

TEST(ResponderTest, AnswersOnceAndForTheForgetful) {
    std::vector<Result<Json>> answers;
    {
        const Responder responder([&](const Result<Json>& got) { answers.push_back(got); });
        const Responder copy = responder;
        copy.reply("first");
        responder.reply("second");
    }
    ASSERT_EQ(answers.size(), 1U);
    EXPECT_EQ(answers[0]->as_string(), "first");
    answers.clear();
    {
        const Responder forgotten([&](const Result<Json>& got) { answers.push_back(got); });
    }
    ASSERT_EQ(answers.size(), 1U);
    EXPECT_EQ(answers[0].error().code, Code::Internal);
    Responder().reply("nobody"); // a cast
}

} // namespace
} // namespace novalet::rpc
