#include "config/schema/option.hpp"

#include "agent/core/text.hpp"

#include <algorithm>
#include <gmock/gmock.h>
#include <set>

namespace novalet::config {
namespace {

using testing::HasSubstr;

const Option& option(std::string_view path) {
    const auto* found = find_option(path);
    if (found == nullptr)
        throw std::runtime_error("no option " + std::string(path));
    return *found;
}

TEST(Options, PathsAreUniqueAndLowerCase) {
    std::set<std::string> seen;
    for (const auto& one : options()) {
        EXPECT_TRUE(seen.insert(one.path).second) << one.path;
        EXPECT_EQ(one.path.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_."),
                  std::string::npos)
            << one.path;
    }
    EXPECT_GT(seen.size(), 100U);
}

TEST(Options, EachIsExplainedInWholeSentences) {
    for (const auto& one : options()) {
        EXPECT_GT(one.help.size(), 8U) << one.path;
        EXPECT_TRUE(one.help.ends_with('.') || one.help.ends_with(')')) << one.path << one.help;
        EXPECT_EQ(one.help.find("  "), std::string::npos) << one.path;
    }
}

TEST(Options, SectionsAreContiguousAndOwnOptionsComeBeforeInnerSections) {
    std::set<std::string> finished;
    std::string current;
    for (const auto& one : options()) {
        const auto dot = one.path.rfind('.');
        const auto section = dot == std::string::npos ? std::string() : one.path.substr(0, dot);
        if (section == current)
            continue;
        EXPECT_TRUE(finished.insert(current).second) << one.path << " goes back to " << current;
        EXPECT_EQ(finished.count(section), 0U) << one.path;
        const auto parent_dot = section.rfind('.');
        if (parent_dot != std::string::npos) {
            EXPECT_EQ(current, section.substr(0, parent_dot)) << one.path;
        }
        current = section;
    }
}

TEST(Options, NoPathIsBothOptionAndSection) {
    for (const auto& one : options())
        for (const auto& other : options()) {
            EXPECT_FALSE(other.path.starts_with(one.path + '.')) << one.path;
            EXPECT_FALSE(one.secret() && other.path == one.file_path()) << other.path;
        }
}

TEST(Options, DefaultsLieWithinTheirOwnWordsAndRanges) {
    Config defaults;
    for (const auto& one : options()) {
        double number = one.min;
        if (const auto* at = std::get_if<Member<unsigned>>(&one.target))
            number = (*at)(defaults);
        if (const auto* at = std::get_if<Member<std::uint64_t>>(&one.target))
            number = static_cast<double>((*at)(defaults));
        if (const auto* at = std::get_if<Member<Seconds>>(&one.target))
            number = static_cast<double>((*at)(defaults).count());
        EXPECT_GE(number, one.min) << one.path;
        if (one.max > 0) {
            EXPECT_LE(number, one.max) << one.path;
        }
        const auto* text = std::get_if<Member<std::string>>(&one.target);
        if (text != nullptr && !one.words.empty()) {
            EXPECT_THAT(one.words, testing::Contains((*text)(defaults))) << one.path;
        }
    }
}

TEST(Options, DefaultsThatNovaHasAreNovas) { // reference 09 §3 to §7
    const Config c;
    EXPECT_EQ(c.transport.rpc_response_timeout, Seconds(60));
    EXPECT_EQ(c.transport.rabbit_transient_queues_ttl, Seconds(1800));
    EXPECT_EQ(c.intervals.report_interval, Seconds(10));
    EXPECT_EQ(c.intervals.sync_power_state, Seconds(600));
    EXPECT_EQ(c.networking.vif_plugging_timeout, Seconds(300));
    EXPECT_TRUE(c.networking.vif_plugging_is_fatal);
    EXPECT_EQ(c.compute.reserved_host_memory, 512U);
    EXPECT_EQ(c.compute.max_concurrent_builds, 10U);
    EXPECT_EQ(c.compute.consecutive_build_service_disable_threshold, 10U);
    EXPECT_EQ(c.compute.resource_provider_association_refresh, Seconds(300));
    EXPECT_EQ(c.instance_name_template, "instance-%08x");
    EXPECT_EQ(c.libvirt.wait_soft_reboot, Seconds(120));
    EXPECT_EQ(c.vnc.novncproxy_base_url, "http://127.0.0.1:6080/vnc_auto.html");
    EXPECT_EQ(c.running_deleted_instance.action, "reap");
}

TEST(Options, SecretsAreMaskedAndNeverShown) {
    Config config;
    config.transport.url = Secret("rabbit://u:hunter2@h/");
    EXPECT_EQ(value_text(option("transport.url"), config), "\"***\"");
    EXPECT_EQ(value_text(option("transport.url"), Config{}), "~");
    std::size_t secrets = 0;
    for (const auto& one : options())
        if (one.path.ends_with("password") || one.path.ends_with("secret") ||
            one.path == "transport.url") {
            EXPECT_TRUE(one.secret()) << one.path;
            ++secrets;
        }
    EXPECT_GE(secrets, 11U);
}

TEST(Options, ValuesAreWrittenWithTheirUnit) {
    Config config;
    EXPECT_EQ(value_text(option("intervals.report_interval"), config), "10 s");
    EXPECT_EQ(value_text(option("compute.reserved_host_memory"), config), "512 MiB");
    EXPECT_EQ(value_text(option("transport.prefetch"), config), "256");
    EXPECT_EQ(value_text(option("vnc.enabled"), config), "true");
    EXPECT_EQ(value_text(option("compute.cpu_allocation_ratio"), config), "~");
    config.compute.cpu_allocation_ratio = 1.5;
    EXPECT_EQ(value_text(option("compute.cpu_allocation_ratio"), config), "1.5");
    EXPECT_EQ(value_text(option("keystone.valid_interfaces"), config), "[internal, public]");
    config.libvirt.hw_machine_type = {{"x86_64", "q35"}};
    EXPECT_EQ(value_text(option("libvirt.hw_machine_type"), config), "{x86_64: q35}");
    config.compute.reserved_huge_pages = {{1, 2048, 64}};
    EXPECT_EQ(value_text(option("compute.reserved_huge_pages"), config),
              "[{node: 1, size: 2048 KiB, count: 64}]");
    EXPECT_EQ(value_text(option("hypervisor.kind"), config), "libvirt");
    EXPECT_EQ(value_text(option("log.level"), config), "info");
}

TEST(Options, TextsAreQuotedWhereYamlWouldTakeThemForSomethingElse) {
    Config config;
    const auto written = [&](const std::string& text) {
        config.config_drive.dhcp_domain = text;
        return value_text(option("config_drive.dhcp_domain"), config);
    };
    EXPECT_EQ(written("novalocal"), "novalocal");
    EXPECT_EQ(written(""), "\"\"");
    EXPECT_EQ(written("yes"), "\"yes\"");
    EXPECT_EQ(written("12"), "\"12\"");
    EXPECT_EQ(written("null"), "\"null\"");
    EXPECT_EQ(written("a: b"), "\"a: b\"");
    EXPECT_EQ(written("say \"x\" \\"), "\"say \\\"x\\\" \\\\\"");
}

TEST(Options, ExpectationsNameTypeUnitRangeAndWords) {
    EXPECT_EQ(option("intervals.report_interval").expectation(), "a duration in s from 1 to 3600");
    EXPECT_THAT(option("libvirt.virt_type").expectation(), HasSubstr("kvm, qemu"));
    EXPECT_THAT(option("hypervisor.kind").expectation(), HasSubstr("libvirt, simulated"));
    EXPECT_THAT(option("libvirt.disk_cachemodes").expectation(), HasSubstr("file, block"));
    EXPECT_THAT(option("libvirt.disk_cachemodes").expectation(), HasSubstr("writeback"));
    EXPECT_THAT(option("compute.cpu_shared_set").expectation(), HasSubstr("CPU list"));
    EXPECT_THAT(option("vnc.enabled").expectation(), HasSubstr("true or false"));
}

TEST(Options, WordsFollowTheOrderOfTheirEnumeration) {
    EXPECT_EQ(words_of(log::Level{})[static_cast<std::size_t>(log::Level::Warning)], "warning");
    EXPECT_EQ(words_of(HypervisorKind{})[static_cast<std::size_t>(HypervisorKind::Simulated)],
              "simulated");
    EXPECT_EQ(words_of(NotificationFormat{})[static_cast<std::size_t>(NotificationFormat::Both)],
              "both");
}

} // namespace
} // namespace novalet::config
