#pragma once
// `novalet explain`: would this guest fit on the host, where, and if not, why. A dry run: nothing
// is claimed, and a running agent does not notice.
#include <iosfwd>
#include <string>
#include <vector>

namespace novalet::app {

/// `words` are what stands behind "explain". Exit code: 0 the guest fits (with --batch: every line
/// was answered), 1 it does not fit, or the answers cannot be written, 2 wrong use or bad input.
[[nodiscard]] int explain_command(const std::vector<std::string>& words,
                                  std::istream& in,
                                  std::ostream& out,
                                  std::ostream& err);

/// One JSON document a line from `in`, one answer for each to `out`, written at once so that a
/// program at the other end may wait for it. Nothing in a line ends the process: a line that is no
/// question, or longer than 32 MiB, is answered with an error document. False: `out` failed.
[[nodiscard]] bool explain_batch(std::istream& in, std::ostream& out);

} // namespace novalet::app
