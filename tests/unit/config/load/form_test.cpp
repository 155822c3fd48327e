#include "config/load/form.hpp"

#include <gmock/gmock.h>

namespace novalet::config {
namespace {

using Cpus = std::vector<unsigned>;

TEST(CpuList, FollowsNovasSyntax) { // reference 08 §1.1
    EXPECT_EQ(cpu_list("3").value(), Cpus{3});
    EXPECT_EQ(cpu_list("0-3,^2, 7").value(), (Cpus{0, 1, 3, 7}));
    EXPECT_EQ(cpu_list("^1,0-2").value(), (Cpus{0, 2}));
    for (const char* text : {"a", "1-", "-1", "3-1", "1,,2", "^1-2,0-5", "70000", "0,^0", "1;2"})
        EXPECT_FALSE(cpu_list(text)) << text;
}

TEST(Amount, ConvertsWithinAFamilyOnly) {
    EXPECT_EQ(amount("7", Unit::None).value(), 7U);
    EXPECT_EQ(amount("7", Unit::MiB).value(), 7U);
    EXPECT_EQ(amount("2 GiB", Unit::MiB).value(), 2048U);
    EXPECT_EQ(amount("2GiB", Unit::MiB).value(), 2048U);
    EXPECT_EQ(amount("2048 KiB", Unit::MiB).value(), 2U);
    EXPECT_EQ(amount("1 TiB", Unit::Bytes).value(), 1ULL << 40U);
    EXPECT_EQ(amount("1 h", Unit::Seconds).value(), 3600U);
    EXPECT_EQ(amount("2 min", Unit::Milliseconds).value(), 120000U);
    EXPECT_EQ(amount("2000 ms", Unit::Seconds).value(), 2U);
    for (const char* text : {"",
                             "-1",
                             "1.5",
                             "x",
                             "1 KiB",
                             "1 MB",
                             "1 s",
                             "1 GiB x",
                             "99999999999999999999",
                             "18446744073709551615 TiB"})
        EXPECT_FALSE(amount(text, Unit::MiB)) << text;
    EXPECT_FALSE(amount("1 s", Unit::None));
}

struct Case {
    Form form;
    const char* text;
    bool good;
};

class Forms : public testing::TestWithParam<Case> {};

TEST_P(Forms, AreChecked) {
    EXPECT_EQ(check_form(GetParam().form, GetParam().text).has_value(), GetParam().good)
        << GetParam().text;
}

INSTANTIATE_TEST_SUITE_P(All,
                         Forms,
                         testing::Values(Case{Form::HostName, "compute-1.example.org", true},
                                         Case{Form::HostName, "a..b", false},
                                         Case{Form::HostName, "a/b", false},
                                         Case{Form::CatalogInfo, "volumev3::publicURL", true},
                                         Case{Form::CatalogInfo, "block-storage:c:internal", true},
                                         Case{Form::CatalogInfo, "::publicURL", false},
                                         Case{Form::CatalogInfo, "volumev3:publicURL", false},
                                         Case{Form::CatalogInfo, "volumev3::private", false},
                                         Case{Form::IpAddress, "::1", true},
                                         Case{Form::IpAddress, "localhost", false},
                                         Case{Form::AbsolutePath, "/a", true},
                                         Case{Form::AbsolutePath, "a", false},
                                         Case{Form::Url, "https://h:5000/v3", true},
                                         Case{Form::Url, "h:5000", false},
                                         Case{Form::Url, "http://", false},
                                         Case{Form::Url, "http:///x", false},
                                         Case{Form::Url, "http://a b", false},
                                         Case{Form::TransportUrl,
                                              "rabbit://u:p%40@h1:5672,u:p@[::1]:5673/v?ssl=1",
                                              true},
                                         Case{Form::TransportUrl, "rabbit://h", true},
                                         Case{Form::TransportUrl, "rabbit:///", false},
                                         Case{Form::TransportUrl, "rabbit://u:p@,u:p@h", false},
                                         Case{Form::TransportUrl, "rabbit://h:0/", false},
                                         Case{Form::TransportUrl, "http://h/", false},
                                         Case{Form::NameTemplate, "instance-%08x", true},
                                         Case{Form::NameTemplate, "%(hostname)s-%(id)d", true},
                                         Case{Form::NameTemplate, "100%%-%s", true},
                                         Case{Form::NameTemplate, "instance", false},
                                         Case{Form::NameTemplate, "%d-%d", false},
                                         Case{Form::NameTemplate, "%d-%(id)s", false},
                                         Case{Form::NameTemplate, "%08", false},
                                         Case{Form::NameTemplate, "%()s", false},
                                         Case{Form::NameTemplate, "a/%d", false},
                                         Case{Form::Listen, "127.0.0.1:9177", true},
                                         Case{Form::Listen, "[::1]:9177", true},
                                         Case{Form::Listen, "unix:/run/x", true},
                                         Case{Form::Listen, "::1:9177", false},
                                         Case{Form::Listen, "localhost:9177", false},
                                         Case{Form::Listen, "127.0.0.1", false},
                                         Case{Form::Listen, "127.0.0.1:99999", false},
                                         Case{Form::Listen, "unix:x", false}));

} // namespace
} // namespace novalet::config
