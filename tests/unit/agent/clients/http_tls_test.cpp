// Whom the HTTP client trusts.
#include "agent/clients/http.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tls_server.hpp"

#include <fstream>
#include <gmock/gmock.h>

namespace novalet::clients {
namespace {

using testing::HasSubstr;
using tests::Certificate;
using tests::TlsServer;

class HttpTls : public testing::Test {
  protected:
    static Result<HttpResponse>
    get(const TlsServer& server, const std::string& ca_file, bool insecure = false) {
        HttpRequest request;
        request.url = server.url();
        request.timeout = Milliseconds(20000);
        request.ca_file = ca_file;
        request.insecure = insecure;
        request.headers["X-Auth-Token"] = "secret";
        return make_http_client()->send(request);
    }
    tests::TemporaryFolder folder;
    Certificate own{"IP:127.0.0.1"};
};

TEST_F(HttpTls, TheAuthorityOfTheFileIsTrusted) {
    const TlsServer server(own);
    own.write(folder / "ca.pem");
    const auto response = get(server, folder / "ca.pem");
    ASSERT_TRUE(response) << response.error().text;
    EXPECT_EQ(response->body, "{}");
}

TEST_F(HttpTls, AnUnknownAuthorityGetsNoRequest) {
    const TlsServer server(own);
    const auto response = get(server, "");
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code, Code::Unavailable);
    EXPECT_THAT(response.error().text, HasSubstr("is ca_file the authority of this server"));
    EXPECT_EQ(server.requests(), 0U);
}

TEST_F(HttpTls, AnotherAuthorityIsNotTrusted) {
    const TlsServer server(own);
    Certificate("IP:127.0.0.1").write(folder / "other.pem");
    EXPECT_FALSE(get(server, folder / "other.pem"));
    EXPECT_EQ(server.requests(), 0U);
}

TEST_F(HttpTls, TheCertificateMustNameTheHost) {
    const Certificate elsewhere("DNS:another.example.org");
    const TlsServer server(elsewhere);
    elsewhere.write(folder / "ca.pem");
    EXPECT_FALSE(get(server, folder / "ca.pem"));
    EXPECT_EQ(server.requests(), 0U);
}

TEST_F(HttpTls, InsecureMeansNoCheck) {
    const TlsServer server(own);
    const auto response = get(server, "", true);
    ASSERT_TRUE(response) << response.error().text;
    EXPECT_EQ(server.requests(), 1U);
}

TEST_F(HttpTls, AFileWithoutCertificatesIsNamed) {
    const TlsServer server(own);
    const auto path = folder / "ca.pem";
    std::ofstream(path) << "not a certificate\n";
    const auto response = get(server, path);
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code, Code::InvalidArgument);
    EXPECT_THAT(response.error().text, HasSubstr(path.string()));
    EXPECT_EQ(server.requests(), 0U);
}

} // namespace
} // namespace novalet::clients
