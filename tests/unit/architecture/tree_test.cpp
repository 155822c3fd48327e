// Walks the sources and fails on a forbidden include; the rules themselves are tried on invented
// files first, so that a rule that finds nothing is noticed.
#include "tests/unit/architecture/source_rules.hpp"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>

namespace novalet::architecture {
namespace {

using testing::HasSubstr;

std::vector<SourceFile> sources() {
    const std::filesystem::path root = NOVALET_SOURCE_DIR;
    std::vector<SourceFile> files;
    for (const char* top : {"agent", "config", "scheduler_hooks", "hypervisor"})
        for (const auto& entry : std::filesystem::recursive_directory_iterator(root / top)) {
            const auto extension = entry.path().extension();
            if (extension != ".hpp" && extension != ".cpp")
                continue;
            std::ifstream in(entry.path());
            std::ostringstream text;
            text << in.rdbuf();
            files.push_back({std::filesystem::relative(entry.path(), root).string(), text.str()});
        }
    return files;
}

std::string violations_of(const std::vector<Violation>& found) {
    std::string out;
    for (const auto& one : found)
        out += one.str() + '\n';
    return out;
}

std::string including(const std::string& path, const std::string& include) {
    return violations_of(check_includes({path, "#pragma once\n#include " + include + "\n"}));
}

TEST(Tree, HasSources) {
    const auto files = sources();
    EXPECT_GT(files.size(), 60U);
    std::size_t includes = 0;
    for (const auto& file : files)
        includes += includes_of(file.text).size();
    EXPECT_GT(includes, 300U) << "the reader of includes finds hardly any";
}

TEST(Tree, KnowledgeGoesOneWayAndLibrariesStayAtHome) {
    for (const auto& file : sources())
        EXPECT_EQ(violations_of(check_includes(file)), "");
}

TEST(Tree, WordsThatTheStyleForbidsAreNotThere) {
    for (const auto& file : sources())
        EXPECT_EQ(violations_of(check_words(file)), "");
}

TEST(Tree, FilesAreNamedForWhatIsInside) {
    for (const auto& file : sources())
        EXPECT_EQ(violations_of(check_name(file)), "");
}

TEST(Tree, EveryFolderHasARule) {
    for (const auto& file : sources())
        EXPECT_EQ(allowed_folders().count(folder_of(file.path)), 1U) << file.path;
}

TEST(Rules, NobodyIsKnownByThoseBelowHim) {
    // What a folder may know must in turn not know the folder.
    for (const auto& [folder, allowed] : allowed_folders())
        for (const auto& other : allowed) {
            const auto back = allowed_folders().find(other);
            ASSERT_NE(back, allowed_folders().end()) << other;
            EXPECT_EQ(back->second.count(folder), 0U) << folder << " and " << other;
        }
}

TEST(Rules, FindAnIncludeAgainstTheDirection) {
    EXPECT_EQ(including("agent/rpc/a.cpp", "\"agent/amqp/session.hpp\""), "");
    EXPECT_EQ(including("agent/amqp/a.cpp", "\"agent/rpc/server.hpp\""),
              "agent/amqp/a.cpp:2: agent/amqp must not know agent/rpc\n");
    EXPECT_THAT(including("agent/core/a.hpp", "\"config/schema/config.hpp\""),
                HasSubstr("must not"));
    EXPECT_THAT(including("config/schema/a.hpp", "\"config/load/load.hpp\""),
                HasSubstr("must not"));
    EXPECT_THAT(including("scheduler_hooks/numa/a.cpp", "\"hypervisor/hypervisor.hpp\""),
                HasSubstr("must not know hypervisor"));
    EXPECT_THAT(including("scheduler_hooks/model/a.cpp", "\"scheduler_hooks/numa/fit.hpp\""),
                HasSubstr("must not"));
    EXPECT_THAT(including("hypervisor/storage/a.cpp", "\"agent/clients/glance.hpp\""),
                HasSubstr("must not"));
    EXPECT_THAT(including("hypervisor/simulated/a.cpp", "\"hypervisor/libvirt/host.hpp\""),
                HasSubstr("must not"));
    EXPECT_THAT(including("agent/journal/a.cpp", "\"agent/rpc/request.hpp\""),
                HasSubstr("must not"));
    EXPECT_THAT(including("agent/clients/a.cpp", "\"agent/tasks/ops/build/build.hpp\""),
                HasSubstr("must not"));
    EXPECT_THAT(including("agent/tasks/a.cpp", "\"hypervisor/libvirt/host.hpp\""),
                HasSubstr("must not"));
    EXPECT_THAT(including("agent/tasks/a.cpp", "\"agent/app/main.hpp\""), HasSubstr("must not"));
    EXPECT_THAT(including("agent/tasks/ops/power/a.cpp", "\"agent/tasks/ops/build/build.hpp\""),
                HasSubstr("must not"));
    EXPECT_THAT(including("agent/tasks/engine/a.cpp", "\"agent/tasks/ops/build/build.hpp\""),
                HasSubstr("must not"));
    EXPECT_THAT(including("agent/tasks/records/a.cpp", "\"agent/tasks/engine/periodic.hpp\""),
                HasSubstr("must not"));
    EXPECT_THAT(including("agent/tasks/a.cpp", "\"tests/support/fake_clock.hpp\""),
                HasSubstr("must not"));
}

TEST(Rules, FindAnIncludeThatIsNoPathFromTheRootAndAFolderWithoutRule) {
    EXPECT_THAT(including("agent/rpc/a.cpp", "\"server.hpp\""), HasSubstr("not a path"));
    EXPECT_THAT(including("agent/news/a.cpp", "\"agent/rpc/server.hpp\""), HasSubstr("no rule"));
    EXPECT_EQ(including("agent/news/a.cpp", "\"agent/core/json.hpp\""), "");
}

TEST(Rules, FindALibraryOutsideItsHome) {
    EXPECT_EQ(including("agent/amqp/link.cpp", "<rabbitmq-c/amqp.h>"), "");
    EXPECT_THAT(including("agent/rpc/server.cpp", "<rabbitmq-c/amqp.h>"), HasSubstr("agent/amqp"));
    EXPECT_THAT(including("agent/rpc/server.cpp", "<amqp_tcp_socket.h>"), HasSubstr("agent/amqp"));
    EXPECT_EQ(including("agent/clients/http_cpprest.cpp", "<cpprest/http_client.h>"), "");
    EXPECT_THAT(including("agent/clients/glance.cpp", "<cpprest/json.h>"),
                HasSubstr("http_cpprest"));
    EXPECT_EQ(including("hypervisor/libvirt/a.cpp", "<libvirt/libvirt.h>"), "");
    EXPECT_THAT(including("hypervisor/topology/a.cpp", "<libvirt/libvirt.h>"),
                HasSubstr("belongs"));
    EXPECT_THAT(including("hypervisor/libvirt/a.cpp", "<pugixml.hpp>"), HasSubstr("belongs"));
    EXPECT_THAT(including("config/load/load.cpp", "<yaml-cpp/yaml.h>"), HasSubstr("belongs"));
    EXPECT_THAT(including("agent/app/a.cpp", "<sqlite3.h>"), HasSubstr("belongs"));
    EXPECT_THAT(including("agent/rpc/a.cpp", "<rapidjson/reader.h>"), HasSubstr("belongs"));
    EXPECT_THAT(including("agent/core/file.cpp", "<openssl/evp.h>"), HasSubstr("belongs"));
    EXPECT_THAT(including("agent/rpc/a.cpp", "<boost/asio.hpp>"), HasSubstr("belongs"));
    EXPECT_THAT(including("agent/rpc/a.cpp", "<curl/curl.h>"), HasSubstr("without a folder"));
    EXPECT_THAT(including("agent/rpc/a.cpp", "<zlib.h>"), HasSubstr("without a folder"));
    EXPECT_EQ(including("agent/rpc/a.cpp", "<sys/stat.h>"), "");
    EXPECT_EQ(including("agent/rpc/a.cpp", "<vector>"), "");
}

TEST(Rules, FindALibraryInAHeader) {
    EXPECT_THAT(including("agent/amqp/link.hpp", "<rabbitmq-c/amqp.h>"),
                HasSubstr("must not be seen"));
    EXPECT_EQ(including("agent/core/result.hpp", "<tl/expected.hpp>"), "");
}

TEST(Rules, FindIoInDecisions) {
    EXPECT_THAT(including("scheduler_hooks/numa/a.cpp", "<thread>"), HasSubstr("pure"));
    EXPECT_THAT(including("scheduler_hooks/numa/a.cpp", "<fstream>"), HasSubstr("pure"));
    EXPECT_THAT(including("scheduler_hooks/numa/a.cpp", "<unistd.h>"), HasSubstr("pure"));
    EXPECT_THAT(including("scheduler_hooks/numa/a.cpp", "\"agent/core/log.hpp\""),
                HasSubstr("pure"));
    EXPECT_EQ(including("scheduler_hooks/numa/a.cpp", "\"agent/core/json.hpp\""), "");
    EXPECT_EQ(including("agent/rpc/a.cpp", "<thread>"), "");
}

TEST(Rules, ReadIncludesAsTheCompilerDoes) {
    const auto found = includes_of("  #  include \"a/b.hpp\" // why\n// #include \"c/d.hpp\"\n"
                                   "#include<vector>\nint include = 1;\n");
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].target, "a/b.hpp");
    EXPECT_EQ(found[0].line, 1);
    EXPECT_TRUE(found[0].quoted);
    EXPECT_EQ(found[1].target, "vector");
    EXPECT_FALSE(found[1].quoted);
}

TEST(Rules, FindForbiddenWordsInCodeOnly) {
    const auto words = [](const std::string& path, const std::string& text) {
        return violations_of(check_words({path, text}));
    };
    EXPECT_THAT(words("a/b.cpp", "x;\nusing namespace std;\n"), HasSubstr("a/b.cpp:2"));
    EXPECT_THAT(words("a/b.cpp", "auto t = std::chrono::steady_clock::now();"), HasSubstr("Clock"));
    EXPECT_EQ(words("agent/core/clock.cpp", "return std::chrono::steady_clock::now();"), "");
    EXPECT_THAT(words("a/b.cpp", "thread.detach();"), HasSubstr("joined"));
    EXPECT_EQ(words("a/b.cpp", "// using namespace is not for us"), "");
}

TEST(Rules, FindNamesThatSayNothing) {
    const auto name = [](const std::string& path) {
        return violations_of(check_name({path, "#pragma once\n"}));
    };
    EXPECT_EQ(name("a/image_cache.hpp"), "");
    EXPECT_EQ(name("a/commonality.hpp"), "");
    for (const char* path : {"a/utils.hpp", "a/string_utils.cpp", "a/manager.hpp", "a/Cache.hpp"})
        EXPECT_NE(name(path), "") << path;
    EXPECT_THAT(violations_of(check_name({"a/b.hpp", "int x;"})), HasSubstr("pragma once"));
}

} // namespace
} // namespace novalet::architecture
