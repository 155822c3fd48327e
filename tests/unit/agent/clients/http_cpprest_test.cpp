// The HTTP client against a server that plays every byte itself.
#include "agent/clients/http.hpp"
#include "tests/support/socket_server.hpp"

#include <future>
#include <gmock/gmock.h>

namespace novalet::clients {
namespace {

using testing::HasSubstr;
using tests::Connection;
using tests::SocketServer;

HttpRequest request_to(const std::string& url, const std::string& method = "GET") {
    HttpRequest request;
    request.method = method;
    request.url = url;
    request.timeout = Milliseconds(20000);
    if (method == "POST" || method == "PUT")
        request.body = R"({"name":"value"})";
    return request;
}

/// Requests that a server got, in order.
class Seen {
  public:
    void add(const std::string& request) {
        const std::lock_guard lock(mutex_);
        all_.push_back(request);
    }
    [[nodiscard]] std::vector<std::string> all() const {
        const std::lock_guard lock(mutex_);
        return all_;
    }

  private:
    mutable std::mutex mutex_;
    std::vector<std::string> all_;
};

TEST(HttpCpprest, RequestAndAnswerTravelWhole) {
    Seen seen;
    SocketServer server([&](Connection& peer, unsigned) {
        seen.add(peer.request());
        peer.answer(201, R"({"id":1})", "X-Subject-Token: secret\r\n");
    });
    auto request = request_to(server.url("/v3/auth?a=b%20c"), "POST");
    request.headers["X-Auth-Token"] = "token";
    const auto response = make_http_client()->send(request);
    ASSERT_TRUE(response) << response.error().text;
    EXPECT_EQ(response->status, 201);
    EXPECT_EQ(response->body, R"({"id":1})");
    EXPECT_EQ(response->headers.at("x-subject-token"), "secret");
    const auto got = seen.all().at(0);
    EXPECT_TRUE(got.starts_with("POST /v3/auth?a=b%20c HTTP/1.1\r\n")) << got;
    EXPECT_THAT(got, HasSubstr("Content-Type:application/json\r\n"));
    EXPECT_THAT(got, HasSubstr("X-Auth-Token:token\r\n"));
    EXPECT_TRUE(got.ends_with("\r\n\r\n{\"name\":\"value\"}")) << got;
}

TEST(HttpCpprest, AConnectionIsUsedAgain) {
    SocketServer server([](Connection& peer, unsigned) {
        while (!peer.request().empty())
            peer.answer(200, "{}");
    });
    const auto http = make_http_client();
    for (int i = 0; i < 20; ++i)
        ASSERT_TRUE(http->send(request_to(server.url())));
    // The library gives a connection back a moment after the answer: now and then one is made.
    EXPECT_LT(server.connections(), 10U);
}

/// uwsgi answers as if it kept the connection and closes it: the next request must not fail.
class ClosesKeptConnections : public testing::TestWithParam<const char*> {};

TEST_P(ClosesKeptConnections, TheNextRequestGetsItsAnswer) {
    Seen seen;
    SocketServer server([&](Connection& peer, unsigned) {
        seen.add(peer.request());
        peer.answer(200, "{}");
        peer.reset();
    });
    const auto http = make_http_client();
    for (int i = 0; i < 20; ++i) {
        const auto first = http->send(request_to(server.url("/first")));
        ASSERT_TRUE(first) << first.error().text;
        const auto second = http->send(request_to(server.url("/second"), GetParam()));
        ASSERT_TRUE(second) << second.error().text;
        EXPECT_EQ(second->status, 200);
    }
    EXPECT_EQ(seen.all().size(), 40U) << "each request reached the server once";
}

INSTANTIATE_TEST_SUITE_P(Methods,
                         ClosesKeptConnections,
                         testing::Values("GET", "POST", "PUT", "DELETE"));

TEST(HttpCpprest, AnIdempotentRequestThatGotNoAnswerIsSentAgain) {
    Seen seen;
    SocketServer server([&](Connection& peer, unsigned number) {
        seen.add(peer.request());
        if (number > 0)
            peer.answer(200, "{}");
    });
    const auto response = make_http_client()->send(request_to(server.url(), "PUT"));
    ASSERT_TRUE(response) << response.error().text;
    EXPECT_EQ(seen.all().size(), 2U);
}

TEST(HttpCpprest, AnIdempotentRequestIsSentTwiceAtMost) {
    SocketServer server([](Connection& peer, unsigned) { peer.request(); });
    const auto response = make_http_client()->send(request_to(server.url()));
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code, Code::Unavailable);
    EXPECT_EQ(server.connections(), 2U);
}

TEST(HttpCpprest, APostThatMayHaveBeenProcessedIsNotSentAgain) {
    SocketServer server([](Connection& peer, unsigned) { peer.request(); });
    const auto http = make_http_client();
    const auto response = http->send(request_to(server.url("/v2.0/ports?x=secret"), "POST"));
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code, Code::Unavailable);
    EXPECT_THAT(response.error().text, HasSubstr("POST " + server.url("/v2.0/ports")));
    EXPECT_THAT(response.error().text, testing::Not(HasSubstr("secret")));
    EXPECT_EQ(server.connections(), 1U);
}

TEST(HttpCpprest, APostThatCouldNotBeWrittenIsSentAgain) {
    Seen seen;
    SocketServer server([&](Connection& peer, unsigned number) {
        if (number == 0) {
            peer.read_some();
            return peer.reset(); // far less than the body was taken
        }
        seen.add(peer.request());
        peer.answer(200, "{}");
    });
    auto request = request_to(server.url(), "POST");
    request.body.assign(30U << 20U, ' '); // more than socket buffers hold
    const auto response = make_http_client()->send(request);
    ASSERT_TRUE(response) << response.error().text;
    EXPECT_EQ(seen.all().size(), 1U);
}

TEST(HttpCpprest, NobodyListening) {
    std::string url;
    {
        SocketServer server([](Connection&, unsigned) {});
        url = server.url("/v3");
    }
    const auto response = make_http_client()->send(request_to(url));
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code, Code::Unavailable);
    EXPECT_THAT(response.error().text, HasSubstr("GET " + url));
    EXPECT_THAT(response.error().text, HasSubstr("is the service running there?"));
}

TEST(HttpCpprest, TheTimeoutIsForTheWholeAnswer) {
    // Each byte comes soon after the other, but the answer never ends.
    SocketServer server([](Connection& peer, unsigned) {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while (peer.send("1\r\n \r\n")) {
        }
    });
    auto request = request_to(server.url());
    request.timeout = Milliseconds(200);
    const auto response = make_http_client()->send(request);
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code, Code::Timeout) << response.error().text;
    EXPECT_THAT(response.error().text, HasSubstr("200 ms"));
}

TEST(HttpCpprest, ASilentDownloadEnds) {
    SocketServer server([](Connection& peer, unsigned) {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        peer.request(); // until the client has gone
    });
    auto request = request_to(server.url());
    request.timeout = Milliseconds(200);
    request.sink = [](std::string_view) { return Result<void>(); };
    const auto response = make_http_client()->send(request);
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code, Code::Timeout) << response.error().text;
}

TEST(HttpCpprest, ALongAnswerIsRefused) {
    SocketServer server([](Connection& peer, unsigned) {
        peer.request();
        peer.answer(200, std::string(2000000, 'x'));
    });
    auto request = request_to(server.url());
    request.max_body = 1000000;
    const auto response = make_http_client()->send(request);
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code, Code::Remote);
    EXPECT_THAT(response.error().text, HasSubstr("longer than 1000000 bytes"));
}

TEST(HttpCpprest, ARedirectIsAnAnswer) {
    Seen other_saw;
    SocketServer other([&](Connection& peer, unsigned) {
        other_saw.add(peer.request());
        peer.answer(200, "{}");
    });
    SocketServer server([&](Connection& peer, unsigned) {
        peer.request();
        peer.answer(302, "", "Location: " + other.url() + "\r\n");
    });
    auto request = request_to(server.url());
    request.headers["X-Auth-Token"] = "secret";
    const auto response = make_http_client()->send(request);
    ASSERT_TRUE(response) << response.error().text;
    EXPECT_EQ(response->status, 302);
    EXPECT_TRUE(other_saw.all().empty());
}

TEST(HttpCpprest, DownloadComesInOrderAndWhole) {
    std::string image(3U << 20U, ' ');
    for (std::size_t i = 0; i < image.size(); ++i)
        image[i] = static_cast<char>(i * 31 / 7);
    for (const bool chunked : {false, true}) {
        SocketServer server([&](Connection& peer, unsigned) {
            peer.request();
            if (!chunked) {
                peer.answer(200, image);
                return;
            }
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for (std::size_t at = 0; at < image.size(); at += 0x10000)
                peer.send("10000\r\n" + image.substr(at, 0x10000) + "\r\n");
            peer.send("0\r\n\r\n");
        });
        std::string got;
        auto request = request_to(server.url());
        request.max_body = 10; // of no meaning for a sink
        request.sink = [&](std::string_view piece) {
            got += piece;
            return Result<void>();
        };
        const auto response = make_http_client()->send(request);
        ASSERT_TRUE(response) << response.error().text;
        EXPECT_TRUE(got == image) << "chunked: " << chunked;
        EXPECT_TRUE(response->body.empty());
    }
}

TEST(HttpCpprest, ADownloadDoesNotRunAheadOfItsSink) {
    constexpr std::size_t size = 256U << 20U;
    std::atomic<std::size_t> sent{0};
    SocketServer server([&](Connection& peer, unsigned) {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n");
        const std::string piece(1U << 20U, 'x');
        while (sent < size && peer.send(piece))
            sent += piece.size();
    });
    std::size_t received = 0;
    std::size_t ahead = 0;
    auto request = request_to(server.url());
    request.sink = [&](std::string_view piece) -> Result<void> {
        received += piece.size();
        ahead = std::max(ahead, sent - std::min<std::size_t>(sent, received));
        return received > size / 2 ? fail(Code::ResourceExhausted, "the disk is full")
                                   : Result<void>();
    };
    const auto response = make_http_client()->send(request);
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code, Code::ResourceExhausted);
    EXPECT_EQ(response.error().text, "the disk is full");
    EXPECT_LT(ahead, 64U << 20U) << "only what socket buffers hold";
    EXPECT_LT(sent, size) << "the transfer ended with its sink";
}

TEST(HttpCpprest, ADownloadCutShortIsAnError) {
    SocketServer server([](Connection& peer, unsigned) {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    });
    auto request = request_to(server.url());
    request.sink = [](std::string_view) { return Result<void>(); };
    const auto response = make_http_client()->send(request);
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code, Code::Unavailable);
    EXPECT_EQ(server.connections(), 1U) << "pieces were given out: not sent again";
}

TEST(HttpCpprest, TheBodyOfAnErrorDoesNotReachTheSink) {
    SocketServer server([](Connection& peer, unsigned) {
        peer.request();
        peer.answer(404, "no such image");
    });
    auto request = request_to(server.url());
    bool called = false;
    request.sink = [&](std::string_view) {
        called = true;
        return Result<void>();
    };
    const auto response = make_http_client()->send(request);
    ASSERT_TRUE(response) << response.error().text;
    EXPECT_EQ(response->body, "no such image");
    EXPECT_FALSE(called);
}

TEST(HttpCpprest, BadRequestsAreRefusedBeforeTheNetwork) {
    const auto http = make_http_client();
    for (const char* url : {"/v2.0/ports", "ftp://host/", "http://", "https:///path"}) {
        const auto response = http->send(request_to(url));
        ASSERT_FALSE(response) << url;
        EXPECT_EQ(response.error().code, Code::InvalidArgument) << url;
    }
    auto request = request_to("http://127.0.0.1:1/");
    request.headers["X-Auth-Token"] = "a\r\nX-Roles: admin";
    const auto response = http->send(request);
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code, Code::InvalidArgument);
    EXPECT_THAT(response.error().text, HasSubstr("X-Auth-Token"));
    EXPECT_THAT(response.error().text, testing::Not(HasSubstr("X-Roles")));
}

TEST(HttpCpprest, AMissingAuthorityFileIsNamed) {
    auto request = request_to("https://127.0.0.1:1/");
    request.ca_file = "/nonexistent/ca.pem";
    const auto response = make_http_client()->send(request);
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code, Code::InvalidArgument);
    EXPECT_THAT(response.error().text, HasSubstr("/nonexistent/ca.pem"));
}

TEST(HttpCpprest, ManyThreadsShareTheClient) {
    SocketServer server([](Connection& peer, unsigned) {
        for (auto request = peer.request(); !request.empty(); request = peer.request())
            peer.answer(200, request.substr(0, request.find(" HTTP/")));
    });
    const auto http = make_http_client();
    std::vector<std::future<int>> workers;
    for (int worker = 0; worker < 8; ++worker)
        workers.push_back(std::async(std::launch::async, [&, worker] {
            int right = 0;
            for (int i = 0; i < 20; ++i) {
                const std::string path = "/" + std::to_string(worker) + "/" + std::to_string(i);
                const auto method = i % 3 == 0 ? "POST" : "GET";
                const auto response = http->send(request_to(server.url(path), method));
                right += response && response->body == std::string(method) + " " + path ? 1 : 0;
            }
            return right;
        }));
    for (auto& worker : workers)
        EXPECT_EQ(worker.get(), 20);
}

} // namespace
} // namespace novalet::clients
