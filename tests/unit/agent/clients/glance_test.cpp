#include "agent/clients/glance.hpp"

#include "agent/core/digest.hpp"
#include "agent/core/file.hpp"
#include "tests/support/fake_http.hpp"
#include "tests/support/temporary_folder.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>

namespace novalet::clients {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using tests::FakeHttp;
using tests::json;

constexpr const char* id = "73f72b94-40e6-4bc5-b94b-f8420ff70355";
const std::string path = std::string("/v2/images/") + id;
const std::string data = "the bytes of an image";

std::string digest_of(const char* algorithm, const std::string& text) {
    auto digest = Digest::create(algorithm);
    digest->update(text);
    return digest->finish();
}

class GlanceTest : public testing::Test {
  protected:
    ServiceClient service() {
        ServiceOptions options;
        options.types = {"image"};
        options.endpoint_override = "http://one/v2,http://two";
        options.pause = [this](Milliseconds span) { pauses.push_back(span.count()); };
        return {http, account, options, nullptr};
    }
    static Image image() {
        Image out;
        out.id = id;
        out.status = "active";
        out.size = data.size();
        out.hash_algorithm = "sha512";
        out.hash_value = digest_of("sha512", data);
        return out;
    }
    static FakeHttp::Answer gives(int status, const std::string& body) {
        return [status, body](const HttpRequest&) { return HttpResponse{status, {}, body}; };
    }
    static FakeHttp::Answer breaks() {
        return [](const HttpRequest&) -> Result<HttpResponse> {
            return fail(Code::Unavailable, "connection lost");
        };
    }
    Result<void> download(const Image& what) {
        fd = Fd(open((folder / "image").c_str(), O_CREAT | O_RDWR, 0600));
        return glance.download(context, what, fd.get());
    }
    std::string file() { return *read_file(folder / "image"); }

    tests::TemporaryFolder folder;
    Fd fd;
    FakeHttp http;
    std::vector<long> pauses;
    Keystone account{http, tests::test_account()};
    Glance glance{service(), 2};
    rpc::Context context{json(R"({"request_id":"req-1","auth_token":"user"})")};
};

TEST_F(GlanceTest, TheRecordOfAnImage) {
    http.on("GET",
            path,
            200,
            R"({"status":"active","disk_format":"qcow2","container_format":"bare","size":7,
                "checksum":"md5","os_hash_algo":"sha512","os_hash_value":"abc"})");
    const auto found = glance.image(context, id);
    ASSERT_TRUE(found) << found.error().text;
    EXPECT_EQ(found->id, id);
    EXPECT_EQ(found->disk_format, "qcow2");
    EXPECT_EQ(found->size, 7U);
    EXPECT_EQ(found->hash_value, "abc");
    const auto request = http.only("GET", path);
    EXPECT_EQ(request.url, "http://one" + path);
    EXPECT_EQ(request.headers.at("X-Auth-Token"), "user");
}

TEST_F(GlanceTest, AnImageThatIsBeingMadeHasNoSize) {
    http.on("GET", path, 200, R"({"status":"queued","size":null})");
    EXPECT_EQ(glance.image(context, id)->size, 0U);
}

TEST_F(GlanceTest, RefusalsHaveNovasNames) {
    const std::pair<int, const char*> cases[] = {
        {404, "ImageNotFound"}, {403, "ImageNotAuthorized"}, {401, "ImageNotAuthorized"}};
    for (const auto& [status, exception] : cases) {
        http.forget("GET", path);
        http.on("GET", path, status);
        EXPECT_EQ(glance.image(context, id).error().exception, exception) << status;
    }
    EXPECT_EQ(glance.image(context, "../secret").error().exception, "ImageNotFound");
    EXPECT_TRUE(pauses.empty());
}

TEST_F(GlanceTest, TheNextEndpointIsAsked) {
    http.on("GET", path, breaks()).on("GET", path, gives(503, "")).on("GET", path, 200, json("{}"));
    ASSERT_TRUE(glance.image(context, id));
    std::vector<std::string> urls;
    for (const auto& request : http.requests())
        urls.push_back(request.url);
    EXPECT_THAT(urls, ElementsAre("http://one" + path, "http://two" + path, "http://one" + path));
    EXPECT_THAT(pauses, ElementsAre(1000, 1000));
}

TEST_F(GlanceTest, RetriesHaveAnEnd) {
    http.on("GET", path, breaks());
    const auto failed = glance.image(context, id);
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().exception, "GlanceConnectionFailed");
    EXPECT_THAT(failed.error().text, HasSubstr("connection lost"));
    EXPECT_EQ(http.requests().size(), 3U);
}

TEST_F(GlanceTest, AnImageIsDeletedAsTheUser) {
    http.on("DELETE", path, 204);
    ASSERT_TRUE(glance.delete_image(context, id));
    const auto request = http.only("DELETE", path);
    EXPECT_EQ(request.url, "http://one" + path);
    EXPECT_EQ(request.headers.at("X-Auth-Token"), "user");
}

TEST_F(GlanceTest, RefusedDeletionsHaveNovasNames) {
    const std::pair<int, const char*> cases[] = {{404, "ImageNotFound"},
                                                 {403, "ImageNotAuthorized"},
                                                 {409, "ImageDeleteConflict"},
                                                 {400, ""}};
    for (const auto& [status, exception] : cases) {
        http.forget("DELETE", path);
        http.on("DELETE", path, status);
        const auto refused = glance.delete_image(context, id);
        ASSERT_FALSE(refused) << status;
        EXPECT_EQ(refused.error().exception, exception) << status;
    }
    EXPECT_EQ(glance.delete_image(context, "../secret").error().exception, "ImageNotFound");
    EXPECT_EQ(http.requests().size(), 4U);
}

TEST_F(GlanceTest, ADeletionWhoseAnswerWasLostFindsNoImage) {
    http.on("DELETE", path, breaks()).on("DELETE", path, gives(503, "")).on("DELETE", path, 404);
    EXPECT_EQ(glance.delete_image(context, id).error().exception, "ImageNotFound");
    std::vector<std::string> urls;
    for (const auto& request : http.requests())
        urls.push_back(request.url);
    EXPECT_THAT(urls, ElementsAre("http://one" + path, "http://two" + path, "http://one" + path));
    http.forget("DELETE", path);
    http.on("DELETE", path, breaks());
    EXPECT_EQ(glance.delete_image(context, id).error().exception, "GlanceConnectionFailed");
}

TEST_F(GlanceTest, BytesAreWrittenAndVerified) {
    http.on("GET", path + "/file", gives(200, data));
    const auto done = download(image());
    ASSERT_TRUE(done) << done.error().text;
    EXPECT_EQ(file(), data);
}

TEST_F(GlanceTest, ABrokenTransferStartsAnewAtTheNextEndpoint) {
    http.on("GET", path + "/file", gives(200, data.substr(0, 9)))
        .on("GET", path + "/file", breaks())
        .on("GET", path + "/file", gives(200, data));
    const auto done = download(image());
    ASSERT_TRUE(done) << done.error().text;
    EXPECT_EQ(file(), data);
    EXPECT_EQ(http.requests()[1].url, "http://two" + path + "/file");
}

TEST_F(GlanceTest, OtherBytesThanPromisedAreRefused) {
    std::string other = data;
    other.back() = '?';
    http.on("GET", path + "/file", gives(200, other));
    const auto done = download(image());
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Code::DataLoss);
    EXPECT_THAT(done.error().text, HasSubstr(digest_of("sha512", data)));

    http.forget("GET", path + "/file");
    http.on("GET", path + "/file", gives(200, data + "more"));
    EXPECT_EQ(download(image()).error().code, Code::DataLoss);
}

TEST_F(GlanceTest, Md5WhereTheHashIsMissingOrUnknown) {
    auto record = image();
    record.checksum = digest_of("md5", data);
    for (const char* algorithm : {"", "whirl-o-matic"}) {
        record.hash_algorithm = algorithm;
        record.hash_value = *algorithm == '\0' ? "" : "something";
        http.forget("GET", path + "/file");
        http.on("GET", path + "/file", gives(200, data));
        EXPECT_TRUE(download(record)) << algorithm;
        std::string other = data;
        other.back() = '?';
        http.forget("GET", path + "/file");
        http.on("GET", path + "/file", gives(200, other));
        EXPECT_EQ(download(record).error().code, Code::DataLoss) << algorithm;
    }
}

TEST_F(GlanceTest, WithoutAnyPromiseTheSizeStillCounts) {
    auto record = image();
    record.hash_value.clear();
    http.on("GET", path + "/file", gives(200, data));
    EXPECT_TRUE(download(record));
    http.forget("GET", path + "/file");
    http.on("GET", path + "/file", gives(200, data.substr(1)));
    EXPECT_FALSE(download(record));
}

TEST_F(GlanceTest, OnlyActiveImagesWithDataAreRead) {
    auto record = image();
    record.status = "queued";
    EXPECT_EQ(download(record).error().exception, "ImageNotActive");
    EXPECT_TRUE(http.requests().empty());
    http.on("GET", path + "/file", gives(204, ""));
    EXPECT_EQ(download(image()).error().code, Code::NotFound);
    EXPECT_EQ(http.requests().size(), 1U);
}

TEST_F(GlanceTest, AFileThatCannotBeWrittenIsNotGlancesFault) {
    http.on("GET", path + "/file", gives(200, data));
    const Fd sealed(memfd_create("image", MFD_ALLOW_SEALING));
    ASSERT_TRUE(sealed);
    ASSERT_EQ(fcntl(sealed.get(), F_ADD_SEALS, F_SEAL_GROW), 0); // each write fails
    const auto done = glance.download(context, image(), sealed.get());
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Code::Internal);
    EXPECT_THAT(done.error().text, HasSubstr("write of the image"));
    EXPECT_EQ(done.error().exception, "");
    EXPECT_EQ(http.requests().size(), 1U) << "not tried again";
}

} // namespace
} // namespace novalet::clients
