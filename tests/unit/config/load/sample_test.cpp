#include "agent/core/file.hpp"
#include "agent/core/text.hpp"
#include "config/load/load.hpp"
#include "config/load/print.hpp"
#include "config/schema/option.hpp"

#include <cstdlib>
#include <gmock/gmock.h>

namespace novalet::config {
namespace {

const HostIdentity identity{"compute1", "10.0.0.11"};

std::filesystem::path samples() {
    return std::filesystem::path(NOVALET_SOURCE_DIR) / "config/samples";
}

/// Every option line switched on.
std::string uncommented(const std::string& text) {
    std::string out;
    for (const auto& line : split(text, '\n')) {
        const auto mark = line.find_first_not_of(' ');
        const bool option = mark != std::string::npos && line[mark] == '#' &&
                            mark + 1 < line.size() && line[mark + 1] != ' ';
        out += option ? line.substr(0, mark) + line.substr(mark + 1) : line;
        out += '\n';
    }
    return out;
}

std::string value_in(const Config& config, const Option& option) {
    return option.secret()
               ? std::get<Member<Secret>>(option.target)(const_cast<Config&>(config)).reveal()
               : value_text(option, config);
}

TEST(Sample, TheFileIsWhatTheTableSays) {
    const auto path = samples() / "novalet.yaml";
    if (std::getenv("NOVALET_UPDATE_SAMPLES") != nullptr) {
        ASSERT_TRUE(write_file_atomically(path, sample()));
    }
    EXPECT_EQ(read_file(path).value(), sample())
        << "the table of options changed: run this test with NOVALET_UPDATE_SAMPLES=1 and commit";
}

TEST(Sample, LoadsAsItStands) {
    const auto loaded = load_texts({{"sample", sample()}}, {}, identity);
    EXPECT_TRUE(loaded.ok()) << report(loaded.problems);
    EXPECT_TRUE(loaded.warnings.empty()) << report(loaded.warnings);
}

TEST(Sample, EveryOptionStandsInItOnceWithItsRealDefault) {
    const auto as_is = load_texts({{"sample", sample()}}, {}, identity);
    const auto all_on = load_texts({{"sample", uncommented(sample())}}, {}, identity);
    ASSERT_TRUE(all_on.ok()) << report(all_on.problems);
    for (const auto& option : options()) {
        EXPECT_EQ(value_in(all_on.config, option), value_in(as_is.config, option)) << option.path;
        const auto name = option.path.substr(option.path.rfind('.') + 1);
        EXPECT_NE(uncommented(sample()).find(name + ": "), std::string::npos) << option.path;
    }
}

TEST(Sample, AKeyThatIsNotInTheTableWouldBeFound) {
    auto text = uncommented(sample());
    text.replace(text.find("  novncproxy_base_url:"), 9, "  novncpr");
    const auto broken = load_texts({{"sample", text + "\nnew_key: 1\n"}}, {}, identity);
    EXPECT_THAT(report(broken.problems), testing::HasSubstr("unknown key 'new_key'"));
}

TEST(Sample, TheOtherSamplesLoad) {
    int seen = 0;
    for (const auto& file : std::filesystem::directory_iterator(samples())) {
        const auto loaded =
            load_texts({{file.path().string(), read_file(file.path()).value()}}, {}, identity);
        EXPECT_TRUE(loaded.ok()) << report(loaded.problems);
        ++seen;
    }
    EXPECT_GE(seen, 3);
}

TEST(Print, ShowsEveryOptionAndNoSecret) {
    const auto loaded = load_texts({{"sample", sample()},
                                    {"more",
                                     "transport: {url: 'rabbit://u:hunter2@h/'}\n"
                                     "libvirt: {hw_machine_type: {x86_64: q35}}\n"
                                     "compute: {reserved_huge_pages: [{node: 0, size: 2 MiB, "
                                     "count: 4}], cpu_allocation_ratio: 2.5}\n"}},
                                   {},
                                   identity);
    ASSERT_TRUE(loaded.ok()) << report(loaded.problems);
    const auto text = print(loaded.config);
    EXPECT_EQ(text.find("hunter2"), std::string::npos);
    EXPECT_EQ(text.find(": secret"), std::string::npos);
    EXPECT_THAT(text, testing::HasSubstr("host: compute1\n"));
    EXPECT_THAT(text, testing::HasSubstr("  url: \"***\"\n"));
}

TEST(Print, ReadsBackAsTheSameConfigurationButForSecrets) {
    const auto loaded =
        load_texts({{"sample", sample()},
                    {"more",
                     "libvirt: {hw_machine_type: {x86_64: q35}, hw_disk_discard: unmap}\n"
                     "compute: {reserved_huge_pages: [{node: 0, size: 2 MiB, count: 4}], "
                     "cpu_allocation_ratio: 2.5, cpu_shared_set: '0-3,^1'}\n"
                     "hypervisor: {kind: simulated, simulated: {spawn_latency: 250 ms}}\n"
                     "config_drive: {dhcp_domain: ''}\n"}},
                   {},
                   identity);
    ASSERT_TRUE(loaded.ok()) << report(loaded.problems);
    const auto text = print(loaded.config);
    auto readable = text;
    const std::string masked = "url: \"***\"";
    readable.replace(readable.find(masked), masked.size(), "url: rabbit://h/");
    const auto again = load_texts({{"printed", readable}}, {}, identity);
    ASSERT_TRUE(again.ok()) << report(again.problems) << text;
    EXPECT_EQ(print(again.config), text);
    for (const auto& option : options())
        if (!option.secret()) {
            EXPECT_EQ(value_text(option, again.config), value_text(option, loaded.config));
        }
}

} // namespace
} // namespace novalet::config
