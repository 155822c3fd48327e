#include "agent/amqp/options.hpp"

#include <gtest/gtest.h>

namespace novalet::amqp {
namespace {

TransportUrl parsed(const std::string& url) {
    auto result = TransportUrl::parse(url);
    EXPECT_TRUE(result) << (result ? "" : result.error().text);
    return result ? *result : TransportUrl{};
}

std::string refused(const std::string& url) {
    const auto result = TransportUrl::parse(url);
    EXPECT_FALSE(result) << url;
    return result ? std::string() : result.error().text;
}

TEST(TransportUrl, TakesSeveralHostsApartEachWithItsCredentials) {
    const auto url = parsed("rabbit://nova:s%40cr%2Fet@one:5673,other:pw@[fd00::1]:5674/cell%201");
    ASSERT_EQ(url.endpoints.size(), 2U);
    EXPECT_EQ(url.endpoints[0].host, "one");
    EXPECT_EQ(url.endpoints[0].port, 5673U);
    EXPECT_EQ(url.endpoints[0].user, "nova");
    EXPECT_EQ(url.endpoints[0].password.reveal(), "s@cr/et");
    EXPECT_EQ(url.endpoints[1].host, "fd00::1");
    EXPECT_EQ(url.endpoints[1].port, 5674U);
    EXPECT_EQ(url.endpoints[1].user, "other");
    EXPECT_EQ(url.virtual_host, "cell 1");
    EXPECT_FALSE(url.tls);
}

TEST(TransportUrl, FillsInWhatOsloFillsIn) {
    const auto url = parsed("rabbit://");
    ASSERT_EQ(url.endpoints.size(), 1U);
    EXPECT_EQ(url.endpoints[0].host, "localhost");
    EXPECT_EQ(url.endpoints[0].port, 5672U);
    EXPECT_EQ(url.endpoints[0].user, "guest");
    EXPECT_EQ(url.endpoints[0].password.reveal(), "guest");
    EXPECT_EQ(url.virtual_host, "/");
}

TEST(TransportUrl, ReadsTheVirtualHostAsKombuDoes) {
    EXPECT_EQ(parsed("rabbit://h").virtual_host, "/");
    EXPECT_EQ(parsed("rabbit://h/").virtual_host, "/");
    EXPECT_EQ(parsed("rabbit://h//").virtual_host, "/");
    EXPECT_EQ(parsed("rabbit://h/nova").virtual_host, "nova");
    EXPECT_EQ(parsed("rabbit://h/%2Fnova").virtual_host, "/nova");
}

TEST(TransportUrl, KeepsTheQueryForOverrides) {
    const auto url = parsed("rabbit://h/v?ssl=1&ssl_ca_file=%2Fetc%2Fca.pem&kombu_x=y");
    EXPECT_EQ(url.tls, true);
    EXPECT_EQ(url.virtual_host, "v");
    EXPECT_EQ(url.overrides.at("ssl_ca_file"), "/etc/ca.pem");
    EXPECT_EQ(url.overrides.at("kombu_x"), "y");
}

TEST(TransportUrl, RefusesWithoutShowingTheCredentials) {
    for (const char* url : {"nova:topsecret@host",               // no scheme
                            "topsecret://host",                  // other scheme
                            "rabbit://nova:topsecret/x@host/v",  // unescaped '/'
                            "rabbit://nova:x/topsecret@host/v",  // the same, other half
                            "rabbit://nova:a@topsecret/b@host/", // both
                            "rabbit://nova:x?topsecret@host/v",  // unescaped '?'
                            "rabbit://nova:topsecret%zz@host/v", // broken escape
                            "rabbit://nova:topsecret@host:99999/v",
                            "rabbit://nova:topsecret@host:0/v",
                            "rabbit://nova:topsecret@[fd00::1/v",
                            "rabbit://nova:topsecret@a,,nova:topsecret@b/v",
                            "rabbit://nova:topsecret@host/v?ssl=perhaps"}) {
        const auto text = refused(url);
        EXPECT_NE(text.find("transport_url"), std::string::npos) << url;
        EXPECT_EQ(text.find("topsecret"), std::string::npos) << text;
    }
}

TEST(TransportUrl, NamesWhatIsWrong) {
    EXPECT_NE(refused("rabbit://u:p@a:1,u:p@b:x/v").find("port of host 2"), std::string::npos);
    EXPECT_NE(refused("rabbit://u:p%zz@a/v").find("percent escape"), std::string::npos);
    EXPECT_NE(refused("http://a/v").find("scheme"), std::string::npos);
}

TEST(Overrides, ReplaceTheConfiguredValues) {
    Options options;
    options.url = parsed("rabbit://h/?ssl=true&ssl_ca_file=/ca&ssl_cert_file=/c&ssl_key_file=/k"
                         "&ssl_enforce_hostname_verification=false&heartbeat_timeout_threshold=7"
                         "&rabbit_retry_interval=3&rabbit_retry_backoff=4&rabbit_interval_max=50"
                         "&rabbit_qos_prefetch_count=9");
    ASSERT_TRUE(apply_overrides(options));
    EXPECT_TRUE(options.tls.enabled);
    EXPECT_EQ(options.tls.ca_file, "/ca");
    EXPECT_EQ(options.tls.cert_file, "/c");
    EXPECT_EQ(options.tls.key_file, "/k");
    EXPECT_FALSE(options.tls.verify_host_name);
    EXPECT_EQ(options.heartbeat, Seconds(7));
    EXPECT_EQ(options.retry_interval, Seconds(3));
    EXPECT_EQ(options.retry_backoff, Seconds(4));
    EXPECT_EQ(options.retry_max, Seconds(50));
    EXPECT_EQ(options.prefetch, 9U);
}

TEST(Overrides, KeepTheInboxBoundedWhenTheControlPlaneHasNoLimit) {
    Options options;
    options.url = parsed("rabbit://h/?rabbit_qos_prefetch_count=0");
    ASSERT_TRUE(apply_overrides(options));
    EXPECT_EQ(options.prefetch, Options{}.prefetch);
}

TEST(Overrides, NameAWrongValue) {
    Options options;
    options.url = parsed("rabbit://h/?heartbeat_timeout_threshold=soon");
    const auto result = apply_overrides(options);
    ASSERT_FALSE(result);
    EXPECT_NE(result.error().text.find("heartbeat_timeout_threshold"), std::string::npos);
}

TEST(BackOff, GrowsByTheStepUpToTheLimit) {
    Options options;
    EXPECT_EQ(pause_before(0, options), Seconds(0));
    EXPECT_EQ(pause_before(1, options), Seconds(1));
    EXPECT_EQ(pause_before(2, options), Seconds(3));
    EXPECT_EQ(pause_before(15, options), Seconds(29));
    EXPECT_EQ(pause_before(16, options), Seconds(30));
    EXPECT_EQ(pause_before(4'000'000'000U, options), Seconds(30));
}

TEST(Tls, VerifiesTheHostNameUnlessToldOtherwise) {
    EXPECT_TRUE(TlsOptions{}.verify_host_name);
}

} // namespace
} // namespace novalet::amqp
