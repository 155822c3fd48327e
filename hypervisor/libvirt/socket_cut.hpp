#pragma once
// The one way to make libvirt's client let go of a call.
//
// virConnectOpen waits for its answer without end. When keepalives stay unanswered, libvirt 9.0
// fails one of the calls under way on a connection and lets the others wait in poll for a socket
// that stays silent (src/rpc/virnetclient.c, virNetClientIOEventLoop: who takes over the dispatch
// does not look whether the client is to be closed). A socket that is shut down wakes them all.
#include <cstddef>
#include <string>

namespace novalet::hypervisor::libvirt {

/// Shuts down every connection of this process to the local libvirtd of that URI, also one that
/// libvirt is opening now. How many there were. Looks at each descriptor of the process; safe while
/// other threads open and close theirs. libvirt may write to them still: the process ignores
/// SIGPIPE. A libvirtd reached over the network has none.
std::size_t cut_sockets(const std::string& uri);

} // namespace novalet::hypervisor::libvirt
