#pragma once
// An HTTPS server of the loopback with a certificate of its own for 127.0.0.1, or another name.
#include "tests/support/socket_server.hpp"

#include <memory>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

namespace novalet::tests {

/// A self-signed certificate and its key.
class Certificate {
  public:
    /// `name` as in a subjectAltName: "IP:127.0.0.1", "DNS:host".
    explicit Certificate(const std::string& name)
        : key_(EVP_EC_gen("P-256"), EVP_PKEY_free), x509_(X509_new(), X509_free) {
        X509_set_version(x509_.get(), 2);
        ASN1_INTEGER_set(X509_get_serialNumber(x509_.get()), 1);
        X509_gmtime_adj(X509_getm_notBefore(x509_.get()), -3600);
        X509_gmtime_adj(X509_getm_notAfter(x509_.get()), 3600);
        X509_set_pubkey(x509_.get(), key_.get());
        auto* subject = X509_get_subject_name(x509_.get());
        X509_NAME_add_entry_by_txt(subject,
                                   "CN",
                                   MBSTRING_ASC,
                                   reinterpret_cast<const unsigned char*>("novalet test"),
                                   -1,
                                   -1,
                                   0);
        X509_set_issuer_name(x509_.get(), subject);
        auto* names = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, name.c_str());
        X509_add_ext(x509_.get(), names, -1);
        X509_EXTENSION_free(names);
        if (X509_sign(x509_.get(), key_.get(), EVP_sha256()) == 0)
            throw std::runtime_error("the certificate of the test cannot be signed");
    }
    [[nodiscard]] X509* x509() const { return x509_.get(); }
    [[nodiscard]] EVP_PKEY* key() const { return key_.get(); }
    /// As a file of authorities.
    void write(const std::string& path) const {
        const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_file(path.c_str(), "w"),
                                                            BIO_free);
        if (!bio || PEM_write_bio_X509(bio.get(), x509_.get()) != 1)
            throw std::runtime_error("cannot write " + path);
    }

  private:
    std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key_;
    std::unique_ptr<X509, decltype(&X509_free)> x509_;
};

/// Answers each request of each connection with 200 and `{}`.
class TlsServer {
  public:
    explicit TlsServer(const Certificate& certificate)
        : context_(SSL_CTX_new(TLS_server_method()), SSL_CTX_free) {
        SSL_CTX_use_certificate(context_.get(), certificate.x509());
        SSL_CTX_use_PrivateKey(context_.get(), certificate.key());
    }
    [[nodiscard]] std::string url() const { return "https" + server_.url().substr(4); }
    /// Requests that came through a handshake.
    [[nodiscard]] unsigned requests() const { return requests_; }

  private:
    void play(int fd) {
        const std::unique_ptr<SSL, decltype(&SSL_free)> tls(SSL_new(context_.get()), SSL_free);
        SSL_set_fd(tls.get(), fd);
        if (SSL_accept(tls.get()) != 1)
            return;
        std::string input;
        char piece[4096];
        for (int got = 0; (got = SSL_read(tls.get(), piece, sizeof piece)) > 0;) {
            input.append(piece, static_cast<std::size_t>(got));
            if (input.find("\r\n\r\n") == std::string::npos)
                continue;
            input.clear();
            ++requests_;
            const std::string answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            SSL_write(tls.get(), answer.data(), static_cast<int>(answer.size()));
        }
    }
    std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_;
    std::atomic<unsigned> requests_{0};
    SocketServer server_{[this](Connection& peer, unsigned) { play(peer.fd()); }};
};

} // namespace novalet::tests
