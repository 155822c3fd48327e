#include "agent/app/explain.hpp"
#include "agent/core/json.hpp"
#include "scheduler_hooks/numa/explain.hpp"

#include <istream>
#include <ostream>
#include <streambuf>

namespace novalet::app {
namespace {

/// One line, of which at most `max_bytes` + 1 bytes are kept: enough to see that it is too long.
/// False at the end of the input.
bool read_line(std::streambuf& in, std::string& line, std::size_t max_bytes) {
    using Traits = std::streambuf::traits_type;
    line.clear();
    bool something = false;
    for (;;) {
        const auto next = in.sbumpc();
        if (Traits::eq_int_type(next, Traits::eof()))
            return something;
        something = true;
        const char c = Traits::to_char_type(next);
        if (c == '\n')
            return true;
        if (line.size() <= max_bytes)
            line.push_back(c);
    }
}

} // namespace

bool explain_batch(std::istream& in, std::ostream& out) {
    std::string line;
    while (out && read_line(*in.rdbuf(), line, JsonLimits{}.max_bytes))
        out << scheduler_hooks::numa::explain_line(line) << '\n' << std::flush;
    return static_cast<bool>(out);
}

} // namespace novalet::app
