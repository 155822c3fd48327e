// `novalet explain --batch` from outside: the real program, one answer a line, whatever comes in.
#include "agent/core/file.hpp"
#include "agent/core/json.hpp"
#include "agent/core/process.hpp"
#include "agent/core/text.hpp"

#include <csignal>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using namespace novalet;

const std::string program = NOVALET_BINARY_DIR "/novalet";

const char* const host =
    R"({"nova_object.name":"NUMATopology","nova_object.namespace":"nova",)"
    R"("nova_object.version":"1.2","nova_object.data":{"cells":[{"nova_object.name":"NUMACell",)"
    R"("nova_object.namespace":"nova","nova_object.version":"1.5","nova_object.data":{"id":0,)"
    R"("cpuset":[],"pcpuset":[2,3,4],"memory":4096,"cpu_usage":0,"memory_usage":0,)"
    R"("pinned_cpus":[2],"siblings":[[2],[3],[4]],"socket":0,"mempages":[{"nova_object.name":)"
    R"("NUMAPagesTopology","nova_object.namespace":"nova","nova_object.version":"1.1",)"
    R"("nova_object.data":{"size_kb":4,"total":786432,"used":0,"reserved":0}},)"
    R"({"nova_object.name":"NUMAPagesTopology","nova_object.namespace":"nova",)"
    R"("nova_object.version":"1.1","nova_object.data":{"size_kb":2048,"total":512,"used":0,)"
    R"("reserved":12}}],"network_metadata":{"nova_object.name":"NetworkMetadata",)"
    R"("nova_object.namespace":"nova","nova_object.version":"1.0","nova_object.data":)"
    R"({"physnets":[],"tunneled":false}}}}]}})";

std::string question(unsigned vcpus, unsigned memory_mib, const std::string& extra_specs) {
    return cat(R"({"host_topology":)",
               host,
               R"(,"flavor":{"vcpus":)",
               vcpus,
               R"(,"memory_mb":)",
               memory_mib,
               R"(,"extra_specs":{)",
               extra_specs,
               R"(}},"image":{"properties":{}},"limits":null,"pci":null,"options":{}})");
}

const std::string pinned = R"("hw:cpu_policy":"dedicated","hw:mem_page_size":"2MB")";

std::vector<Json> ask(const std::string& input) {
    ProcessRequest request;
    request.argv = {program, "explain", "--batch"};
    request.input = input;
    request.max_output = 64U << 20U;
    const auto outcome = system_processes().run(request);
    EXPECT_TRUE(outcome) << outcome.error().text;
    if (!outcome)
        return {};
    EXPECT_EQ(outcome->exit_status, 0) << outcome->err;
    EXPECT_EQ(outcome->err, "");
    EXPECT_TRUE(outcome->out.empty() || outcome->out.back() == '\n');
    std::vector<Json> answers;
    for (const std::string& line : split(outcome->out, '\n')) {
        if (line.empty())
            continue;
        auto answer = Json::parse(line);
        EXPECT_TRUE(answer) << line;
        answers.push_back(answer ? *answer : Json());
    }
    return answers;
}

/// Members and their types are the contract.
void expect_form(const Json& answer) {
    std::vector<std::string> members;
    for (const auto& [name, value] : answer.members())
        members.push_back(name);
    EXPECT_THAT(members, testing::ElementsAre("error", "fits", "reasons", "topology", "usage"));
    EXPECT_TRUE(answer["fits"].is_bool());
    EXPECT_TRUE(answer["reasons"].is_array());
    for (const Json& reason : answer["reasons"].items())
        EXPECT_TRUE(reason.is_string());
    if (!answer["error"].is_null()) {
        EXPECT_FALSE(answer["error"]["class"].as_string().empty());
        EXPECT_FALSE(answer["error"]["message"].as_string().empty());
        EXPECT_FALSE(answer["fits"].as_bool());
    }
}

void expect_bad_input(const Json& answer) {
    expect_form(answer);
    EXPECT_EQ(answer["error"]["class"].as_string(), "InvalidInput") << answer.dump();
    EXPECT_TRUE(answer["topology"].is_null());
    EXPECT_TRUE(answer["usage"].is_null());
}

TEST(ExplainBatch, AFitShowsThePlaceAndTheHostAfterwards) {
    const auto answers = ask(question(2, 512, pinned) + "\n");
    ASSERT_EQ(answers.size(), 1U);
    expect_form(answers[0]);
    EXPECT_TRUE(answers[0]["fits"].as_bool());
    EXPECT_TRUE(answers[0]["error"].is_null());
    const Json& guest =
        answers[0]["topology"]["nova_object.data"]["cells"].at(0)["nova_object.data"];
    EXPECT_EQ(guest["id"].as_int(-1), 0);
    EXPECT_EQ(guest["pagesize"].as_int(), 2048);
    EXPECT_EQ(guest["cpu_pinning_raw"].dump(), R"({"0":3,"1":4})");
    const Json& cell = answers[0]["usage"]["nova_object.data"]["cells"].at(0)["nova_object.data"];
    EXPECT_EQ(cell["pinned_cpus"].dump(), "[2,3,4]");
    EXPECT_EQ(cell["memory_usage"].as_int(), 512);
    EXPECT_EQ(cell["mempages"].at(1)["nova_object.data"]["used"].as_int(), 256);
}

TEST(ExplainBatch, ARefusalSaysWhyInNumbers) {
    const auto answers = ask(question(3, 1024, pinned) + "\n");
    ASSERT_EQ(answers.size(), 1U);
    expect_form(answers[0]);
    EXPECT_FALSE(answers[0]["fits"].as_bool());
    EXPECT_EQ(answers[0]["error"]["class"].as_string(), "ComputeResourcesUnavailable");
    EXPECT_THAT(answers[0]["reasons"].dump(),
                testing::AllOf(testing::HasSubstr("needs 512 2 MiB pages, 500 of 512 free"),
                               testing::HasSubstr("needs 3 dedicated CPUs, 2 of 3 free")));
}

TEST(ExplainBatch, ContradictionsCarryNovasException) {
    const auto answers = ask(question(2, 512, R"("hw:cpu_policy":"nonsense")") + "\n");
    ASSERT_EQ(answers.size(), 1U);
    expect_form(answers[0]);
    EXPECT_EQ(answers[0]["error"]["class"].as_string(), "InvalidCPUAllocationPolicy");
}

TEST(ExplainBatch, BadLinesAreAnsweredAndTheNextOneIsRead) {
    const std::vector<std::string> bad{
        "",
        " ",
        "not json",
        "\xff\xfe",
        std::string("{\"a\":1}\0x", 9),
        "[]",
        "null",
        "{",
        std::string(100000, '['),
        R"({"host_topology":5,"flavor":{"vcpus":1,"memory_mb":1}})",
        R"({"host_topology":null})",
        R"({"host_topology":"{","flavor":{"vcpus":1,"memory_mb":1}})",
        R"({"flavor":{"vcpus":"x","memory_mb":1}})",
        R"({"flavor":{"vcpus":4000000000,"memory_mb":1}})",
        R"({"flavor":{"vcpus":1,"memory_mb":-1}})",
        R"({"flavor":{"vcpus":1,"memory_mb":1,"extra_specs":[1]}})",
        R"({"host_topology":{"cells":[{"id":0,"cpuset":[99999999]}]},)"
        R"("flavor":{"vcpus":1,"memory_mb":1}})",
        R"({"host_topology":{"cells":[{"id":0,"memory":9223372036854775807}]},)"
        R"("flavor":{"vcpus":1,"memory_mb":1}})",
        R"({"host_topology":{"cells":[{"id":0},{"id":0}]},"flavor":{"vcpus":1,"memory_mb":1}})",
        R"({"flavor":{"vcpus":1,"memory_mb":1},"pci":[{"count":-1}]})",
        R"({"flavor":{"vcpus":1,"memory_mb":1},"limits":{"cpu_allocation_ratio":"x"}})",
    };
    std::string input;
    for (const std::string& line : bad)
        input += line + "\n" + question(1, 2, pinned) + "\n";
    const auto answers = ask(input);
    ASSERT_EQ(answers.size(), 2 * bad.size());
    for (std::size_t i = 0; i < bad.size(); ++i) {
        SCOPED_TRACE(cut_utf8(to_utf8(bad[i]), 100));
        expect_bad_input(answers[2 * i]);
        EXPECT_TRUE(answers[2 * i + 1]["fits"].as_bool());
    }
}

TEST(ExplainBatch, AnEndlessLineIsRefusedNotKept) {
    const auto answers = ask(std::string(40U << 20U, 'x') + "\n" + question(1, 2, pinned));
    ASSERT_EQ(answers.size(), 2U);
    expect_bad_input(answers[0]);
    EXPECT_TRUE(answers[1]["fits"].as_bool()); // also without a line end
}

TEST(ExplainBatch, NoInputNoAnswer) {
    EXPECT_TRUE(ask("").empty());
}

/// Somebody who sends the next question after the answer must not wait for ever.
TEST(ExplainBatch, AnswersBeforeTheNextQuestion) {
    int to_child[2];
    int from_child[2];
    ASSERT_EQ(pipe2(to_child, O_CLOEXEC), 0);
    ASSERT_EQ(pipe2(from_child, O_CLOEXEC), 0);
    const Fd child_in(to_child[0]);
    Fd questions(to_child[1]);
    const Fd answers(from_child[0]);
    Fd child_out(from_child[1]);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, child_in.get(), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, child_out.get(), STDOUT_FILENO);
    std::string name = program;
    std::string verb = "explain";
    std::string batch = "--batch";
    char* words[] = {name.data(), verb.data(), batch.data(), nullptr};
    pid_t child = 0;
    ASSERT_EQ(posix_spawn(&child, name.c_str(), &actions, nullptr, words, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    child_out = Fd();
    const std::string line = question(1, 2, pinned) + "\n";
    for (int round = 0; round < 3; ++round) {
        ASSERT_EQ(write(questions.get(), line.data(), line.size()),
                  static_cast<ssize_t>(line.size()));
        std::string answer;
        while (answer.empty() || answer.back() != '\n') {
            pollfd ready{answers.get(), POLLIN, 0};
            ASSERT_EQ(poll(&ready, 1, 30000), 1) << "no answer to question " << round;
            char buffer[4096];
            const ssize_t got = read(answers.get(), buffer, sizeof buffer);
            ASSERT_GT(got, 0);
            answer.append(buffer, static_cast<std::size_t>(got));
        }
        EXPECT_TRUE(Json::parse(answer).value()["fits"].as_bool());
    }
    questions = Fd();
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}

TEST(ExplainBatch, OtherWordsAreWrongUse) {
    ProcessRequest request;
    request.argv = {program, "explain", "--bath"};
    const auto outcome = system_processes().run(request);
    ASSERT_TRUE(outcome);
    EXPECT_EQ(outcome->exit_status, 2);
    EXPECT_THAT(outcome->err, testing::HasSubstr("--bat"));
    EXPECT_EQ(outcome->out, "");
}

} // namespace
