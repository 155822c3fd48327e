#include "agent/telemetry/endpoint.hpp"

#include "agent/core/file.hpp"
#include "agent/core/metrics.hpp"
#include "agent/core/text.hpp"
#include "tests/support/temporary_folder.hpp"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>

namespace novalet::telemetry {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

Fd connect_to(const std::string& address) {
    if (address.starts_with("unix:")) {
        sockaddr_un peer{};
        peer.sun_family = AF_UNIX;
        address.copy(peer.sun_path, sizeof peer.sun_path - 1, 5);
        Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        EXPECT_EQ(connect(fd.get(), reinterpret_cast<const sockaddr*>(&peer), sizeof peer), 0);
        return fd;
    }
    sockaddr_in peer{};
    peer.sin_family = AF_INET;
    peer.sin_port = htons(to_number<std::uint16_t>(address.substr(address.rfind(':') + 1)).value());
    peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<const sockaddr*>(&peer), sizeof peer), 0);
    return fd;
}

std::string read_all(const Fd& fd) {
    std::string all;
    std::string buffer(4096, '\0');
    for (;;) {
        const auto got = recv(fd.get(), buffer.data(), buffer.size(), 0);
        if (got <= 0)
            return all;
        all.append(buffer, 0, static_cast<std::size_t>(got));
    }
}

std::string ask(const std::string& address, const std::string& request) {
    const Fd fd = connect_to(address);
    EXPECT_EQ(send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(request.size()));
    return read_all(fd);
}

std::string get(const std::string& address, const std::string& path) {
    return ask(address, cat("GET ", path, " HTTP/1.1\r\nHost: x\r\n\r\n"));
}

Json healthy() {
    Json answer;
    answer.set("ok", true).set("broker", "connected");
    return answer;
}

std::unique_ptr<Endpoint> start(const std::string& address, Endpoint::Health health = healthy) {
    auto endpoint = Endpoint::start(address, std::move(health));
    EXPECT_TRUE(endpoint) << (endpoint ? "" : endpoint.error().text);
    return endpoint ? std::move(*endpoint) : nullptr;
}

TEST(Endpoint, ShowsMetrics) {
    metrics::counter("test_endpoint_total", "x").add(3);
    const auto endpoint = start("127.0.0.1:0");
    const auto answer = get(endpoint->address(), "/metrics");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
    EXPECT_THAT(answer, HasSubstr("text/plain; version=0.0.4"));
    EXPECT_THAT(answer, HasSubstr("Connection: close"));
    EXPECT_THAT(answer, HasSubstr("test_endpoint_total 3"));
}

TEST(Endpoint, HealthDecidesTheStatus) {
    bool ok = true; // read on the endpoint's thread, written while nobody asks
    const auto endpoint = start("127.0.0.1:0", [&] {
        Json answer = healthy();
        answer.set("ok", ok);
        return answer;
    });
    auto answer = get(endpoint->address(), "/health");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
    EXPECT_THAT(answer, HasSubstr("application/json"));
    EXPECT_THAT(answer, HasSubstr(R"({"broker":"connected","ok":true})"));
    ok = false;
    answer = get(endpoint->address(), "/health?verbose=1");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 503"));
    EXPECT_THAT(answer, HasSubstr(R"("ok":false)"));
}

TEST(Endpoint, OtherPathsAndMethodsAreRefused) {
    const auto endpoint = start("127.0.0.1:0");
    const auto& address = endpoint->address();
    EXPECT_THAT(get(address, "/"), StartsWith("HTTP/1.1 404"));
    EXPECT_THAT(get(address, "/../etc/passwd"), StartsWith("HTTP/1.1 404"));
    EXPECT_THAT(ask(address, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
                testing::AllOf(StartsWith("HTTP/1.1 405"), HasSubstr("Allow: GET, HEAD")));
    const auto head = ask(address, "HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_THAT(head, StartsWith("HTTP/1.1 200"));
    EXPECT_TRUE(head.ends_with("\r\n\r\n")) << head;
    EXPECT_THAT(ask(address, "GET /health HTTP/1.0\r\n\r\n"), StartsWith("HTTP/1.0 200"));
}

TEST(Endpoint, RubbishAndTooLargeRequestsDoNoHarm) {
    const auto endpoint = start("127.0.0.1:0");
    const auto& address = endpoint->address();
    EXPECT_EQ(ask(address, "\x16\x03\x01 this is TLS\r\n\r\n"), "");
    const Fd large = connect_to(address);
    const std::string flood = "GET / HTTP/1.1\r\nX: " + std::string(100000, 'x');
    discard(send(large.get(), flood.data(), flood.size(), MSG_NOSIGNAL), "it may be cut off");
    EXPECT_EQ(read_all(large), "");
    EXPECT_THAT(get(address, "/health"), StartsWith("HTTP/1.1 200"));
}

TEST(Endpoint, ASilentClientDoesNotKeepOthersWaiting) {
    const auto endpoint = start("127.0.0.1:0");
    const Fd silent = connect_to(endpoint->address());
    EXPECT_THAT(get(endpoint->address(), "/health"), StartsWith("HTTP/1.1 200"));
}

TEST(Endpoint, TooManyConnectionsAreCut) {
    const auto endpoint = start("127.0.0.1:0");
    std::vector<Fd> silent;
    for (int i = 0; i < 16; ++i)
        silent.push_back(connect_to(endpoint->address()));
    EXPECT_EQ(read_all(connect_to(endpoint->address())), "");
}

TEST(Endpoint, EndsWhileConnectionsAreOpen) {
    auto endpoint = start("127.0.0.1:0");
    const Fd silent = connect_to(endpoint->address());
    endpoint.reset();
    EXPECT_EQ(read_all(silent), "");
}

TEST(Endpoint, ListensOnAUnixSocketForOwnerAndGroup) {
    const tests::TemporaryFolder folder;
    const auto path = folder / "t.sock";
    const auto address = "unix:" + path.string();
    {
        const auto endpoint = start(address);
        EXPECT_EQ(endpoint->address(), address);
        EXPECT_THAT(get(address, "/health"), StartsWith("HTTP/1.1 200"));
        struct stat now {};
        ASSERT_EQ(stat(path.c_str(), &now), 0);
        EXPECT_EQ(now.st_mode & 0777U, 0660U);
        const auto second = Endpoint::start(address, healthy);
        ASSERT_FALSE(second);
        EXPECT_THAT(second.error().text,
                    testing::AllOf(HasSubstr(address), HasSubstr("another process")));
        EXPECT_THAT(get(address, "/health"), StartsWith("HTTP/1.1 200"));
    }
    EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Endpoint, ReplacesTheSocketOfADeadProcessButNoOtherFile) {
    const tests::TemporaryFolder folder;
    const auto path = folder / "t.sock";
    sockaddr_un own{};
    own.sun_family = AF_UNIX;
    path.string().copy(own.sun_path, sizeof own.sun_path - 1);
    {
        const Fd dead(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        ASSERT_EQ(bind(dead.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own), 0);
    }
    EXPECT_THAT(get(start("unix:" + path.string())->address(), "/health"),
                testing::Not(StartsWith("HTTP/1.1 404")));
    ASSERT_TRUE(write_file_atomically(path, "precious"));
    EXPECT_FALSE(Endpoint::start("unix:" + path.string(), healthy));
    EXPECT_EQ(read_file(path).value(), "precious");
}

TEST(Endpoint, AddressesThatCannotBeUsedAreNamed) {
    const auto first = start("127.0.0.1:0");
    for (const std::string& address : {first->address(),
                                       std::string("nonsense"),
                                       std::string("127.0.0.1:x"),
                                       std::string("unix:"),
                                       std::string("192.0.2.1:80"),
                                       "unix:/" + std::string(200, 'x')}) {
        const auto refused = Endpoint::start(address, healthy);
        ASSERT_FALSE(refused) << address;
        EXPECT_THAT(refused.error().text, HasSubstr(address));
    }
}

} // namespace
} // namespace novalet::telemetry
