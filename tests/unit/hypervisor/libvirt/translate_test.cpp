#include "hypervisor/libvirt/translate.hpp"

#include <gtest/gtest.h>
#include <libvirt/virterror.h>

namespace novalet::hypervisor::libvirt {
namespace {

constexpr bool alive = true;

Error error_of(int code, int domain, const char* text, bool link_alive) {
    return failure_of(Reason{code, domain, text}, "start domain x", link_alive).value();
}

// What a connection that breaks leaves behind, as libvirt 9.0 words it.
TEST(Translate, BrokenConnection_IsALostLink) {
    const Reason broken[] = {
        {VIR_ERR_SYSTEM_ERROR, VIR_FROM_RPC, "Cannot recv data: Connection reset by peer"},
        {VIR_ERR_SYSTEM_ERROR, VIR_FROM_RPC, "End of file while reading data: Input/output error"},
        {VIR_ERR_SYSTEM_ERROR, VIR_FROM_RPC, "Cannot write data: Broken pipe"},
        {VIR_ERR_INTERNAL_ERROR, VIR_FROM_RPC, "internal error: client socket is closed"},
        {VIR_ERR_INTERNAL_ERROR, VIR_FROM_RPC, "internal error: received hangup event on socket"},
        {VIR_ERR_INTERNAL_ERROR,
         VIR_FROM_RPC,
         "internal error: connection closed due to keepalive timeout"},
        {VIR_ERR_RPC, VIR_FROM_RPC, "packet 1 bytes received from server too small, want 28"},
        {VIR_ERR_RPC, VIR_FROM_REMOTE, "an answer that cannot be read"},
        {VIR_ERR_OK, VIR_FROM_NONE, "libvirt gives no reason"},
        {VIR_ERR_NO_CONNECT, VIR_FROM_NONE, "no connection driver available"},
        {VIR_ERR_INVALID_CONN, VIR_FROM_NONE, "invalid connection pointer in"},
    };
    for (const auto& reason : broken) {
        const auto error = failure_of(reason, "start domain x", !alive).value();
        EXPECT_TRUE(link_lost(error)) << reason.text;
        EXPECT_EQ(error.code, Code::Unavailable) << reason.text;
        EXPECT_TRUE(error.retryable) << reason.text;
        EXPECT_EQ(error.exception, "HypervisorUnavailable");
        EXPECT_EQ(error.module, "nova.exception");
        EXPECT_NE(error.text.find("start domain x"), std::string::npos);
        EXPECT_NE(error.text.find(reason.text), std::string::npos);
    }
}

// The same numbers from a connection that stands: libvirtd's own peers, or QEMU.
TEST(Translate, OrdinaryFailure_IsNoLostLink) {
    const Reason ordinary[] = {
        {VIR_ERR_SYSTEM_ERROR, VIR_FROM_RPC, "Cannot recv data: Connection reset by peer"},
        {VIR_ERR_INTERNAL_ERROR, VIR_FROM_RPC, "internal error: client socket is closed"},
        {VIR_ERR_RPC, VIR_FROM_RPC, "Unable to encode message payload"},
        {VIR_ERR_RPC, VIR_FROM_REMOTE, "Too many domains '20000' for limit '16384'"},
        {VIR_ERR_SYSTEM_ERROR, VIR_FROM_QEMU, "unable to set user and group: Permission denied"},
        {VIR_ERR_INTERNAL_ERROR, VIR_FROM_QEMU, "process exited while connecting to monitor"},
        {VIR_ERR_AGENT_UNRESPONSIVE, VIR_FROM_QEMU, "Guest agent is not responding"},
        {VIR_ERR_OPERATION_TIMEOUT, VIR_FROM_QEMU, "cannot acquire state change lock"},
        {VIR_ERR_OK, VIR_FROM_NONE, "libvirt gives no reason"},
    };
    for (const auto& reason : ordinary) {
        const auto error = failure_of(reason, "start domain x", alive).value();
        EXPECT_FALSE(link_lost(error)) << reason.text;
        EXPECT_EQ(error.exception, "libvirtError") << reason.text;
        EXPECT_EQ(error.module, "libvirt");
    }
}

/// The answer came, and the connection broke right after it.
TEST(Translate, AnswerOfQemuOverAConnectionThatBrokeSince_IsTheAnswer) {
    EXPECT_EQ(error_of(VIR_ERR_OPERATION_INVALID, VIR_FROM_QEMU, "domain is running", !alive).code,
              Code::Conflict);
    const auto gone = error_of(VIR_ERR_NO_DOMAIN, VIR_FROM_QEMU, "Domain not found", !alive);
    EXPECT_EQ(gone.exception, "InstanceNotFound");
    EXPECT_EQ(gone.code, Code::NotFound);
    EXPECT_FALSE(link_lost(gone));
}

TEST(Translate, LinkLost_StaysWhatItIsUnderACallersWords) {
    const auto error = error_of(VIR_ERR_SYSTEM_ERROR, VIR_FROM_RPC, "Cannot recv data", !alive);
    EXPECT_TRUE(link_lost(error.in("build of instance x")));
}

} // namespace
} // namespace novalet::hypervisor::libvirt
