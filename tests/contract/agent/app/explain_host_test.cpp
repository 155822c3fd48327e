// `novalet explain --flavor …` and `--check-config` from outside, on hosts that are folders.
#include "agent/core/json.hpp"
#include "agent/core/process.hpp"
#include "agent/core/text.hpp"
#include "agent/tasks/books/host_books.hpp"
#include "hypervisor/topology/sysfs_cells.hpp"
#include "tests/support/sysfs_tree.hpp"

#include <gmock/gmock.h>

namespace {

using namespace novalet;
using testing::AllOf;
using testing::HasSubstr;

class ExplainHost : public testing::Test {
  protected:
    ProcessOutcome run(std::vector<std::string> words) {
        ProcessRequest request;
        request.argv = {NOVALET_BINARY_DIR "/novalet"};
        request.argv.insert(request.argv.end(), words.begin(), words.end());
        request.environment.push_back("NOVALET__STATE_PATH=" + state_.path().string());
        for (const std::string& variable : environment_)
            request.environment.push_back(variable);
        auto outcome = system_processes().run(request);
        EXPECT_TRUE(outcome) << outcome.error().text;
        return outcome ? *outcome : ProcessOutcome();
    }
    ProcessOutcome explain(const std::string& flavor, const std::vector<std::string>& more = {}) {
        std::vector<std::string> words{"explain",
                                       "--flavor",
                                       flavor,
                                       "--config",
                                       sample_,
                                       "--root",
                                       machine_->root().string()};
        words.insert(words.end(), more.begin(), more.end());
        return run(words);
    }
    static std::string flavor(unsigned vcpus, unsigned memory_mib, const std::string& specs) {
        return cat(R"({"vcpus":)",
                   vcpus,
                   R"(,"memory_mb":)",
                   memory_mib,
                   R"(,"extra_specs":{)",
                   specs,
                   "}}");
    }

    const std::string sample_ = NOVALET_SOURCE_DIR "/config/samples/minimal.yaml";
    const std::string pinned_ = R"("hw:cpu_policy":"dedicated","hw:mem_page_size":"2MB")";
    tests::TemporaryFolder state_;
    tests::Machine machine_ = tests::sub_numa_clusters();
    std::vector<std::string> environment_{"NOVALET__COMPUTE__CPU_DEDICATED_SET=2-47"};
};

TEST_F(ExplainHost, SaysWhereOnAHostWithoutBooks) {
    const auto outcome = explain(flavor(4, 256, pinned_));
    EXPECT_EQ(outcome.exit_status, 0) << outcome.err;
    EXPECT_THAT(outcome.out,
                AllOf(HasSubstr("fits\n"),
                      HasSubstr("guest cell 0 on host cell 1: 256 MiB in pages of 2 MiB"),
                      HasSubstr("vCPU 0 on CPU 6"),
                      HasSubstr("no guests are counted")));
}

TEST_F(ExplainHost, SaysWhyNotAndWhatWould) {
    const auto outcome = explain(flavor(16, 1024, pinned_));
    EXPECT_EQ(outcome.exit_status, 1) << outcome.err;
    EXPECT_THAT(outcome.out,
                AllOf(HasSubstr("does not fit: ComputeResourcesUnavailable"),
                      HasSubstr("guest cell 0 on host cell 0: needs 512 2 MiB pages, 200 of 256"),
                      HasSubstr("needs 16 dedicated CPUs, 10 of 10 free"),
                      HasSubstr("largest guest of this shape that fits: 6 vCPUs, 384 MiB")));
}

TEST_F(ExplainHost, TheAgentsBooksCountItsGuestsAndTheKernelItsPages) {
    auto host = hypervisor::topology::cells_from_sysfs(machine_->root()).value();
    for (auto& cell : host.cells) {
        cell.pcpuset = cell.cpuset;
        cell.pinned_cpus = cell.cpuset;
    }
    host.cells[2].pinned_cpus = {};
    tasks::HostBooks books;
    books.numa_topology = scheduler_hooks::model::to_json(host);
    ASSERT_TRUE(tasks::write_host_books(tasks::host_books_path(state_.path()), books));
    const auto fits = explain(flavor(4, 256, pinned_), {"--json"});
    EXPECT_EQ(fits.exit_status, 0) << fits.err;
    const Json answer = Json::parse(trim(fits.out)).value();
    EXPECT_EQ(
        answer["topology"]["nova_object.data"]["cells"].at(0)["nova_object.data"]["id"].as_int(),
        2);
    // 200 pages are free in the kernel, though the books know of 256
    const auto full = explain(flavor(4, 512, pinned_));
    EXPECT_EQ(full.exit_status, 1);
    EXPECT_THAT(full.out, HasSubstr("200 of 256 free in the kernel"));
}

TEST_F(ExplainHost, ContradictionsAndWrongUse) {
    const auto contradiction =
        explain(flavor(2, 64, R"("hw:cpu_policy":"shared")"),
                {"--image", R"({"properties":{"hw_cpu_policy":"dedicated"}})"});
    EXPECT_EQ(contradiction.exit_status, 1);
    EXPECT_THAT(contradiction.out,
                AllOf(HasSubstr("ImageCPUPinningForbidden"), HasSubstr("flavor 'shared'")));
    EXPECT_EQ(explain("{").exit_status, 2);
    EXPECT_EQ(explain("/does/not/exist").exit_status, 2);
    EXPECT_EQ(explain(R"({"vcpus":0,"memory_mb":1})").exit_status, 2);
    EXPECT_EQ(run({"explain", "--flavor"}).exit_status, 2);
    EXPECT_EQ(run({"explain"}).exit_status, 2);
}

TEST_F(ExplainHost, CheckConfigLooksAtThisHost) {
    environment_ = {"NOVALET__COMPUTE__CPU_SHARED_SET=60000"};
    const auto outcome = run({"--check-config", "--config", sample_});
    EXPECT_EQ(outcome.exit_status, 1);
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("compute.cpu_shared_set"), HasSubstr("60000")));
}

} // namespace
