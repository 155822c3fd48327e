#include "config/load/load.hpp"

#include "agent/core/file.hpp"
#include "agent/core/text.hpp"
#include "config/load/print.hpp"
#include "tests/support/temporary_folder.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>

namespace novalet::config {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const HostIdentity identity{"compute1.example.org", "10.0.0.11"};
const std::string minimal = "transport: {url: 'rabbit://nova:hunter2@rabbit:5672/'}\n"
                            "keystone:\n"
                            "  auth_url: http://keystone:5000/v3\n"
                            "  password: keystone-pass\n";

Loaded from(const std::string& text, const Environment& environment = {}) {
    return load_texts({{"base.yaml", minimal}, {"test.yaml", text}}, environment, identity);
}

/// The one problem that there has to be, as one line.
std::string only_problem(const Loaded& loaded) {
    EXPECT_EQ(loaded.problems.size(), 1U) << report(loaded.problems);
    return loaded.problems.empty() ? "" : loaded.problems[0].str();
}

TEST(Load, TheMinimalFileIsEnough) {
    const auto loaded = load_texts({{"base.yaml", minimal}}, {}, identity);
    ASSERT_TRUE(loaded.ok()) << report(loaded.problems);
    EXPECT_TRUE(loaded.warnings.empty()) << report(loaded.warnings);
    EXPECT_EQ(loaded.config.host, "compute1.example.org");
    EXPECT_EQ(loaded.config.my_ip, "10.0.0.11");
    EXPECT_EQ(loaded.config.instances_path, "/var/lib/nova/instances");
    EXPECT_EQ(loaded.config.journal.path, "/var/lib/nova/novalet/journal.sqlite");
    EXPECT_EQ(loaded.config.transport.url.reveal(), "rabbit://nova:hunter2@rabbit:5672/");
}

TEST(Load, AnEmptyFileTellsEverythingThatIsMissingAtOnce) {
    const auto loaded = load_texts({{"empty.yaml", ""}}, {}, identity);
    const auto text = report(loaded.problems);
    EXPECT_THAT(text, HasSubstr("transport.url: is missing"));
    EXPECT_THAT(text, HasSubstr("keystone.auth_url: is missing"));
    EXPECT_THAT(text, HasSubstr("keystone.password: is missing"));
}

TEST(Load, ValuesOfEveryKindArrive) {
    const auto loaded = from("host: other\n"
                             "my_ip: fd00::1\n"
                             "vnc: {enabled: no, server_listen: 0.0.0.0}\n"
                             "intervals: {report_interval: 5, sync_power_state: 10 min}\n"
                             "transport:\n"
                             "  prefetch: 10\n"
                             "  max_message_bytes: 64 MiB\n"
                             "  tls: {enabled: true, ca_file: /etc/ca.pem}\n"
                             "hypervisor:\n"
                             "  kind: simulated\n"
                             "  simulated: {hosts: 3, memory: 1 TiB, spawn_latency: 2 s}\n"
                             "libvirt:\n"
                             "  cpu_mode: custom\n"
                             "  cpu_models: [Skylake-Server, Haswell]\n"
                             "  hw_machine_type: {x86_64: q35}\n"
                             "compute:\n"
                             "  cpu_allocation_ratio: 1.5\n"
                             "  cpu_shared_set: \"0-1\"\n"
                             "  reserved_huge_pages:\n"
                             "    - {node: 0, size: 2 MiB, count: 64}\n"
                             "    - {node: 1, size: 1 GiB, count: 2}\n"
                             "log: {level: debug}\n"
                             "placement: {insecure: true, timeout: 5 s}\n");
    ASSERT_TRUE(loaded.ok()) << report(loaded.problems);
    const auto& c = loaded.config;
    EXPECT_EQ(c.host, "other");
    EXPECT_EQ(c.my_ip, "fd00::1");
    EXPECT_FALSE(c.vnc.enabled);
    EXPECT_EQ(c.vnc.server_listen, "0.0.0.0");
    EXPECT_EQ(c.intervals.report_interval, Seconds(5));
    EXPECT_EQ(c.intervals.sync_power_state, Seconds(600));
    EXPECT_EQ(c.transport.prefetch, 10U);
    EXPECT_EQ(c.transport.max_message_bytes, 64U << 20U);
    EXPECT_TRUE(c.transport.tls.enabled);
    EXPECT_EQ(c.transport.tls.ca_file, "/etc/ca.pem");
    EXPECT_EQ(c.hypervisor.kind, HypervisorKind::Simulated);
    EXPECT_EQ(c.hypervisor.simulated.hosts, 3U);
    EXPECT_EQ(c.hypervisor.simulated.memory, 1024U * 1024U);
    EXPECT_EQ(c.hypervisor.simulated.spawn_latency, Milliseconds(2000));
    EXPECT_EQ(c.libvirt.cpu_models, (Texts{"Skylake-Server", "Haswell"}));
    EXPECT_EQ(c.libvirt.hw_machine_type, (TextMap{{"x86_64", "q35"}}));
    EXPECT_EQ(c.compute.cpu_allocation_ratio, 1.5);
    EXPECT_FALSE(c.compute.ram_allocation_ratio);
    EXPECT_EQ(c.compute.cpu_shared_set, "0-1");
    EXPECT_EQ(c.compute.reserved_huge_pages,
              (std::vector<ReservedHugePages>{{0, 2048, 64}, {1, 1048576, 2}}));
    EXPECT_EQ(c.log.level, log::Level::Debug);
    EXPECT_EQ(c.placement.insecure, true);
    EXPECT_EQ(c.placement.timeout, Seconds(5));
    EXPECT_EQ(c.neutron.insecure, false);
}

TEST(Load, ServicesFallBackToTheKeystoneAccount) {
    const auto loaded = from("keystone: {region_name: r1, ca_file: /ca.pem}\n"
                             "glance: {region_name: r2}\n"
                             "neutron: {username: neutron-user, password: own}\n");
    ASSERT_TRUE(loaded.ok()) << report(loaded.problems);
    const auto& c = loaded.config;
    EXPECT_EQ(c.placement.auth_url, "http://keystone:5000/v3");
    EXPECT_EQ(c.placement.username, "nova");
    EXPECT_EQ(c.placement.password.reveal(), "keystone-pass");
    EXPECT_EQ(c.placement.valid_interfaces, (Texts{"internal", "public"}));
    EXPECT_EQ(c.placement.region_name, "r1");
    EXPECT_EQ(c.glance.region_name, "r2");
    EXPECT_EQ(c.glance.ca_file, "/ca.pem");
    EXPECT_EQ(c.neutron.username, "neutron-user");
    EXPECT_EQ(c.neutron.password.reveal(), "own");
    EXPECT_EQ(c.neutron.project_name, "service");
    EXPECT_EQ(c.placement.timeout, Seconds(60));
}

TEST(Load, CinderIsFoundAsNovaFindsIt) {
    const auto plain = from("keystone: {region_name: r1}\n");
    ASSERT_TRUE(plain.ok()) << report(plain.problems);
    EXPECT_EQ(plain.config.cinder.catalog_info, "volumev3::publicURL");
    EXPECT_EQ(plain.config.cinder.os_region_name, "r1");
    EXPECT_EQ(plain.config.cinder.http_retries, 3U);
    EXPECT_EQ(plain.config.cinder.password.reveal(), "keystone-pass");

    const auto own = from("cinder: {catalog_info: 'block-storage:cinder:internalURL', "
                          "os_region_name: r2, "
                          "endpoint_template: 'http://c:8776/v3/%(project_id)s'}\n");
    ASSERT_TRUE(own.ok()) << report(own.problems);
    EXPECT_EQ(own.config.cinder.os_region_name, "r2");

    EXPECT_THAT(only_problem(from("cinder: {endpoint_template: 'http://c:8776/v2/x'}\n")),
                AllOf(HasSubstr("cinder.endpoint_template"), HasSubstr("API v3")));
    EXPECT_THAT(only_problem(from("cinder: {catalog_info: ''}\n")),
                HasSubstr("cinder.catalog_info: is empty"));
    EXPECT_THAT(only_problem(from("cinder: {catalog_info: 'volumev3'}\n")),
                HasSubstr("cinder.catalog_info"));
}

TEST(Load, AnotherUserNeedsItsOwnPassword) {
    EXPECT_THAT(only_problem(from("neutron: {username: neutron-user}\n")),
                AllOf(HasSubstr("neutron.password: is missing"), HasSubstr("neutron-user")));
}

TEST(Load, AnApplicationCredentialReplacesThePassword) {
    const auto loaded = load_texts({{"a.yaml",
                                     "transport: {url: 'rabbit://h/'}\n"
                                     "keystone: {auth_url: 'http://k:5000', "
                                     "application_credential_id: i, "
                                     "application_credential_secret: s}\n"}},
                                   {},
                                   identity);
    EXPECT_TRUE(loaded.ok()) << report(loaded.problems);
    EXPECT_EQ(loaded.config.glance.application_credential_secret.reveal(), "s");
    EXPECT_THAT(only_problem(from("keystone: {application_credential_id: i}\n")),
                HasSubstr("application_credential_secret"));
}

TEST(Load, AnUnknownKeyIsNamedWithPlaceAndTheNearestKnownOne) {
    EXPECT_EQ(only_problem(from("vnc:\n  enabld: true\n")),
              "test.yaml:2:3: unknown key 'vnc.enabld'; did you mean 'vnc.enabled'?");
    EXPECT_EQ(only_problem(from("transport_url: x\n")),
              "test.yaml:1:1: unknown key 'transport_url'; did you mean 'transport.url'?");
    EXPECT_EQ(only_problem(from("\n\nvirt_type: qemu\n")),
              "test.yaml:3:1: unknown key 'virt_type'; did you mean 'libvirt.virt_type'?");
    EXPECT_EQ(only_problem(from("libvrit: {virt_type: qemu}\n")),
              "test.yaml:1:1: unknown key 'libvrit'; did you mean 'libvirt'?");
    EXPECT_EQ(only_problem(from("qwertyuiop: 1\n")), "test.yaml:1:1: unknown key 'qwertyuiop'");
}

TEST(Load, AWrongValueSaysWhatWasExpected) {
    EXPECT_EQ(only_problem(from("intervals:\n  report_interval: soon\n")),
              "test.yaml:2:20: intervals.report_interval: 'soon': it is not a whole number that is "
              "not negative; expected a duration in s from 1 to 3600");
    EXPECT_THAT(only_problem(from("intervals: {report_interval: 0}\n")), HasSubstr("out of range"));
    EXPECT_THAT(only_problem(from("intervals: {report_interval: -1}\n")), HasSubstr("negative"));
    EXPECT_THAT(only_problem(from("intervals: {report_interval: 5 MiB}\n")),
                HasSubstr("none of ms, s, min, h, d"));
    EXPECT_THAT(only_problem(from("intervals: {report_interval: 1500 ms}\n")),
                HasSubstr("not a whole number of s"));
    EXPECT_THAT(only_problem(from("compute: {reserved_host_memory: 99999999999999999999}\n")),
                HasSubstr("compute.reserved_host_memory"));
    EXPECT_THAT(only_problem(from("compute: {reserved_host_memory: 16777216 TiB}\n")),
                HasSubstr("too large"));
    EXPECT_THAT(only_problem(from("vnc: {enabled: maybe}\n")), HasSubstr("true or false"));
    EXPECT_THAT(only_problem(from("vnc: {enabled: [true]}\n")), HasSubstr("it is a list"));
    EXPECT_THAT(only_problem(from("vnc: yes\n")), HasSubstr("vnc is a section"));
    EXPECT_THAT(only_problem(from("host: {a: b}\n")), HasSubstr("it is a map"));
    EXPECT_THAT(only_problem(from("compute: {cpu_allocation_ratio: .nan}\n")),
                HasSubstr("not a number"));
    EXPECT_THAT(only_problem(from("libvirt: {cpu_model_extra_flags: +vmx}\n")),
                HasSubstr("write [a, b]"));
    EXPECT_THAT(only_problem(from("libvirt: {virt_type: kvmm}\n")),
                AllOf(HasSubstr("did you mean 'kvm'?"), HasSubstr("kvm, qemu")));
    EXPECT_THAT(only_problem(from("hypervisor: {kind: simulate}\n")),
                HasSubstr("did you mean 'simulated'?"));
    EXPECT_THAT(only_problem(from("libvirt: {disk_cachemodes: {fil: none}}\n")),
                HasSubstr("did you mean 'file'?"));
    EXPECT_THAT(only_problem(from("my_ip: 10.0.0.300\n")), HasSubstr("IPv4"));
    EXPECT_THAT(only_problem(from("state_path: var/lib\n")), HasSubstr("does not begin with '/'"));
    EXPECT_THAT(only_problem(from("host: 'a b'\n")), HasSubstr("host name"));
}

TEST(Load, AllProblemsOfAllFilesAreToldAtOnce) {
    const auto loaded = load_texts({{"one.yaml", minimal + "vnc: {enabled: 7}\nhots: a\n"},
                                    {"two.yaml", "log: {level: loud}\n"}},
                                   {},
                                   identity);
    ASSERT_EQ(loaded.problems.size(), 3U) << report(loaded.problems);
    EXPECT_EQ(loaded.problems[0].place.str(), "one.yaml:5:16");
    EXPECT_EQ(loaded.problems[1].place.str(), "one.yaml:6:1");
    EXPECT_EQ(loaded.problems[2].place.str(), "two.yaml:1:14");
    const auto checked = check_report(loaded);
    EXPECT_FALSE(checked.ok);
    EXPECT_THAT(checked.text, HasSubstr("3 problems"));
}

TEST(Load, ADuplicateKeyIsAnError) {
    EXPECT_EQ(only_problem(from("vnc:\n  enabled: true\n  enabled: false\n")),
              "test.yaml:3:3: vnc.enabled is there twice in this file; keep one of them");
    EXPECT_THAT(only_problem(from("vnc: {}\nvnc: {}\n")), HasSubstr("test.yaml:2:1"));
    EXPECT_THAT(only_problem(from("libvirt: {disk_cachemodes: {file: none, file: none}}\n")),
                HasSubstr("twice"));
}

TEST(Load, LaterSourcesWinKeyByKeyAndListsAsAWhole) {
    const auto loaded = load_texts({{"a",
                                     minimal + "vnc: {token_ttl: 1 h, enabled: false}\n"
                                               "libvirt: {cpu_model_extra_flags: [a, b]}\n"},
                                    {"b",
                                     "vnc: {enabled: true}\n"
                                     "libvirt: {cpu_model_extra_flags: [c]}\n"}},
                                   {},
                                   identity);
    ASSERT_TRUE(loaded.ok()) << report(loaded.problems);
    EXPECT_EQ(loaded.config.vnc.token_ttl, Seconds(3600));
    EXPECT_TRUE(loaded.config.vnc.enabled);
    EXPECT_EQ(loaded.config.libvirt.cpu_model_extra_flags, Texts{"c"});
}

TEST(Load, AnEmptyValueMeansTheDefault) {
    const auto loaded = load_texts(
        {{"a", minimal + "vnc: {token_ttl: 1 h}\n"}, {"b", "vnc:\n  token_ttl:\nlog:\n"}},
        {},
        identity);
    ASSERT_TRUE(loaded.ok()) << report(loaded.problems);
    EXPECT_EQ(loaded.config.vnc.token_ttl, Seconds(600));
}

TEST(Load, TheEnvironmentWinsOverFiles) {
    const auto loaded = from("vnc: {enabled: true}\n",
                             {{"NOVALET__VNC__ENABLED", "false"},
                              {"NOVALET__TRANSPORT__TLS__CA_FILE", "/x/ca.pem"},
                              {"NOVALET__HOST", "12345"},
                              {"NOVALET__KEYSTONE__PASSWORD", "p: [a #b"},
                              {"NOVALET__LIBVIRT__CPU_MODEL_EXTRA_FLAGS", "[+a, -b]"},
                              {"NOVALET_PORT", "tcp://not-ours"}});
    ASSERT_TRUE(loaded.ok()) << report(loaded.problems);
    EXPECT_FALSE(loaded.config.vnc.enabled);
    EXPECT_EQ(loaded.config.transport.tls.ca_file, "/x/ca.pem");
    EXPECT_EQ(loaded.config.host, "12345");
    EXPECT_EQ(loaded.config.keystone.password.reveal(), "p: [a #b");
    EXPECT_EQ(loaded.config.libvirt.cpu_model_extra_flags, (Texts{"+a", "-b"}));
    EXPECT_THAT(only_problem(from("", {{"NOVALET__VNC__ENABLD", "1"}})),
                HasSubstr("did you mean 'NOVALET__VNC__ENABLED'?"));
    EXPECT_THAT(only_problem(from("", {{"NOVALET__VNC__ENABLED", "perhaps"}})),
                HasSubstr("environment NOVALET__VNC__ENABLED: vnc.enabled: 'perhaps'"));
}

TEST(Load, BrokenTextIsOneProblemWithItsPlace) {
    EXPECT_THAT(only_problem(load_texts({{"a", minimal}, {"b", "vnc: [1,\n"}}, {}, identity)),
                AllOf(HasSubstr("b:"), HasSubstr("not YAML")));
    EXPECT_THAT(only_problem(from("- a\n- b\n")), HasSubstr("expected keys with values"));
    EXPECT_THAT(only_problem(from("--- {}\n--- {}\n")), HasSubstr("second document"));
    EXPECT_THAT(only_problem(from(std::string("a: b\0", 5))), HasSubstr("NUL at byte 4"));
    EXPECT_THAT(only_problem(from(std::string(3U << 20U, ' '))), HasSubstr("is longer than"));
    std::string deep = "vnc: ";
    for (int i = 0; i < 5000; ++i)
        deep += "[";
    EXPECT_THAT(only_problem(from(deep)), HasSubstr("not YAML"));
    std::string bomb = "a: &a [1,1,1,1,1,1,1,1,1]\n";
    for (char c = 'b'; c < 'l'; ++c) {
        bomb += cat(c, ": &", c, " [");
        for (int i = 0; i < 9; ++i)
            bomb += cat('*', static_cast<char>(c - 1), i < 8 ? "," : "]\n");
    }
    EXPECT_THAT(only_problem(from(bomb)), HasSubstr("more than"));
}

TEST(Load, ASecretNeverStandsInAProblem) {
    for (const std::string text : {"transport: {url: 'amqp://u:hunter2@h/'}\n",
                                   "transport: {url: 'rabbit://u:hunter2@'}\n",
                                   "transport: {url: 'rabbit://u:hun@ter2@h/'}\n",
                                   "transport: {url: 'rabbit://u:hunter2%zz@h/'}\n",
                                   "transport: {url: 'rabbit://u:hunter2@h:x/'}\n",
                                   "keystone: {password: [hunter2]}\n"}) {
        const auto problem = only_problem(from(text));
        EXPECT_THAT(problem, AllOf(Not(HasSubstr("hunter2")), Not(HasSubstr("ter2")))) << text;
        EXPECT_THAT(problem, HasSubstr("test.yaml:1:")) << text;
    }
}

TEST(Load, ContradictionsAreToldAtThePlaceOfTheOption) {
    EXPECT_EQ(
        only_problem(from("compute:\n  cpu_shared_set: 0-3\n  cpu_dedicated_set: 2-7,^3\n")),
        "test.yaml:3:22: compute.cpu_dedicated_set: CPU 2 is also in cpu_shared_set; a CPU is "
        "either shared or dedicated");
    EXPECT_THAT(only_problem(from("compute: {cpu_shared_set: '0-3', cpu_dedicated_set: '1-3'}\n")),
                HasSubstr("CPU 1 and 2 more are"));
    EXPECT_THAT(only_problem(from("intervals: {report_interval: 60}\n")),
                HasSubstr("service_down_time"));
    EXPECT_THAT(only_problem(from("transport: {tls: {cert_file: /c}}\n")), HasSubstr("key_file"));
    EXPECT_THAT(only_problem(from("transport: {retry_interval: 40}\n")), HasSubstr("retry_max"));
    EXPECT_THAT(only_problem(from("libvirt: {cpu_mode: custom}\n")), HasSubstr("cpu_models"));
    EXPECT_THAT(only_problem(from("libvirt: {cpu_models: [a]}\n")), HasSubstr("cpu_mode custom"));
    EXPECT_THAT(only_problem(from("libvirt: {virt_type: qemu, cpu_mode: host-passthrough}\n")),
                HasSubstr("virt_type kvm"));
    EXPECT_THAT(only_problem(from("hypervisor: {simulated: {vcpus: 1}}\n")),
                HasSubstr("numa_cells"));
    EXPECT_THAT(only_problem(from("host: localhost\n")), HasSubstr("localhost"));
    EXPECT_THAT(only_problem(from("image_cache: {subdirectory_name: ../x}\n")),
                HasSubstr("one folder"));
    EXPECT_THAT(only_problem(from("compute:\n  reserved_huge_pages: [{node: 0, size: 2048, count: "
                                  "1}, {node: 0, size: 2 MiB, count: 2}]\n")),
                HasSubstr("twice"));
    const auto unknown_host = load_texts({{"a", minimal}}, {}, {});
    EXPECT_EQ(unknown_host.problems.size(), 2U);
    EXPECT_THAT(report(unknown_host.problems),
                AllOf(HasSubstr("host: the system"), HasSubstr("my_ip: this host")));
}

TEST(Load, HugePagesAreCheckedElementByElement) {
    const auto wrong = [](const std::string& element) {
        return only_problem(from("compute: {reserved_huge_pages: [" + element + "]}\n"));
    };
    EXPECT_THAT(wrong("{node: 0, size: 2048}"), HasSubstr("all needed"));
    EXPECT_THAT(wrong("{node: 0, size: 3000, count: 1}"), HasSubstr("power of two"));
    EXPECT_THAT(wrong("{node: 0, size: 2 MiB, cout: 1}"), HasSubstr("keys are node"));
    EXPECT_THAT(wrong("{node: x, size: 2 MiB, count: 1}"), HasSubstr("'x'"));
    EXPECT_THAT(wrong("7"), HasSubstr("not a map"));
}

TEST(Load, HugePagePoolsAreReadAndChecked) {
    const auto loaded =
        from("compute: {huge_page_pools: [{node: 1, size: 2 MiB, min: 16, max: 512, "
             "spare: 64}, {node: 0, size: 1 GiB, max: 4}]}\n");
    ASSERT_TRUE(loaded.ok()) << report(loaded.problems);
    EXPECT_EQ(loaded.config.compute.huge_page_pools,
              (std::vector<HugePagePoolPolicy>{{1, 2048, 16, 512, 64}, {0, 1048576, 0, 4, 0}}));
    const auto wrong = [](const std::string& element) {
        return only_problem(from("compute: {huge_page_pools: [" + element + "]}\n"));
    };
    EXPECT_THAT(wrong("{node: 0, size: 2 MiB}"), HasSubstr("all needed"));
    EXPECT_THAT(wrong("{node: 0, size: 2 MiB, min: 5, max: 4}"), HasSubstr("at most max"));
    EXPECT_THAT(wrong("{node: 0, size: 2 MiB, max: 4, count: 1}"), HasSubstr("keys are node"));
    EXPECT_THAT(wrong("7"), HasSubstr("not a map"));
    EXPECT_THAT(wrong("{node: 0, size: 2 MiB, max: 4}, {node: 0, size: 2048, max: 5}"),
                HasSubstr("twice"));
}

TEST(Load, DoubtfulSettingsAreWarnings) {
    const auto warns = [](const std::string& text) {
        const auto loaded = from(text);
        EXPECT_TRUE(loaded.ok()) << report(loaded.problems);
        return report(loaded.warnings);
    };
    EXPECT_THAT(warns("intervals: {report_interval: 40}\n"), HasSubstr("lost heartbeat"));
    EXPECT_THAT(warns("telemetry: {listen: '0.0.0.0:9177'}\n"), HasSubstr("no authentication"));
    EXPECT_THAT(warns("keystone: {insecure: true}\n"), HasSubstr("not verified"));
    EXPECT_EQ(warns("telemetry: {listen: '127.0.0.1:9177'}\n"), "");
    EXPECT_EQ(warns("telemetry: {listen: '[::1]:9177'}\n"), "");
    EXPECT_EQ(warns("telemetry: {listen: 'unix:/run/novalet.sock'}\n"), "");
}

class LoadFiles : public testing::Test {
  protected:
    void write(const std::string& name, const std::string& text, unsigned mode = 0600) {
        const auto path = folder_ / name;
        std::filesystem::create_directories(path.parent_path());
        ASSERT_TRUE(write_file_atomically(path, text, mode));
        ASSERT_EQ(chmod(path.c_str(), mode), 0);
    }
    Loaded load_all() { return load(folder_ / "n.yaml", {}, identity); }

    tests::TemporaryFolder folder_;
};

TEST_F(LoadFiles, DropInsAreReadInTheOrderOfTheirNames) {
    write("n.yaml", minimal + "log: {level: info}\n");
    write("n.yaml.d/20-b.yaml", "log: {level: error}\n");
    write("n.yaml.d/10-a.yaml", "log: {level: debug}\nvnc: {enabled: false}\n");
    write("n.yaml.d/30-c.yaml.bak", "log: {level: warning}\n");
    write("n.yaml.d/.99-hidden.yaml", "log: {level: warning}\n");
    const auto loaded = load_all();
    ASSERT_TRUE(loaded.ok()) << report(loaded.problems);
    EXPECT_EQ(loaded.config.log.level, log::Level::Error);
    EXPECT_FALSE(loaded.config.vnc.enabled);
    EXPECT_EQ(loaded.files,
              (std::vector<std::filesystem::path>{folder_ / "n.yaml",
                                                  folder_ / "n.yaml.d/10-a.yaml",
                                                  folder_ / "n.yaml.d/20-b.yaml"}));
    EXPECT_THAT(check_report(loaded).text, HasSubstr("configuration is good"));
}

TEST_F(LoadFiles, AMissingFileIsAProblem) {
    EXPECT_THAT(report(load_all().problems),
                AllOf(HasSubstr("n.yaml: cannot be read"), HasSubstr("No such file")));
}

TEST_F(LoadFiles, SecretsMayComeFromFiles) {
    write("pass", "from file\n");
    write("n.yaml",
          cat("transport: {url_file: ",
              (folder_ / "url").string(),
              "}\nkeystone: {auth_url: 'http://k:5000', password_file: ",
              (folder_ / "pass").string(),
              "}\n"));
    write("url", "rabbit://h/");
    const auto loaded = load_all();
    ASSERT_TRUE(loaded.ok()) << report(loaded.problems);
    EXPECT_TRUE(loaded.warnings.empty()) << report(loaded.warnings);
    EXPECT_EQ(loaded.config.keystone.password.reveal(), "from file");
    EXPECT_EQ(loaded.config.placement.password.reveal(), "from file");
    EXPECT_EQ(loaded.config.transport.url.reveal(), "rabbit://h/");
}

TEST_F(LoadFiles, SecretFilesThatAreMissingEmptyOrDoubledAreProblems) {
    write("empty", "\n");
    const auto with = [&](const std::string& keys) {
        write("n.yaml",
              "transport: {url: 'rabbit://h/'}\nkeystone: {auth_url: 'http://k:5000', " + keys +
                  "}\n");
        return only_problem(load_all());
    };
    EXPECT_THAT(with(cat("password_file: ", (folder_ / "none").string())),
                HasSubstr("No such file"));
    EXPECT_THAT(with(cat("password_file: ", (folder_ / "empty").string())), HasSubstr("is empty"));
    EXPECT_THAT(with("password_file: relative"), HasSubstr("absolute path"));
    EXPECT_THAT(with(cat("password: a, password_file: ", (folder_ / "empty").string())),
                HasSubstr("both given"));
}

TEST_F(LoadFiles, PasswordsThatEverybodyCanReadAreWarnedOf) {
    write("n.yaml", minimal, 0644);
    EXPECT_THAT(report(load_all().warnings), HasSubstr("open to every user"));
    write("n.yaml", minimal, 0640);
    EXPECT_EQ(report(load_all().warnings), "");
    write("pass", "x", 0644);
    write("n.yaml.d/p.yaml",
          cat("keystone: {password_file: ", (folder_ / "pass").string(), "}\n"),
          0644);
    EXPECT_THAT(report(load_all().warnings), HasSubstr("chmod o="));
}

} // namespace
} // namespace novalet::config
