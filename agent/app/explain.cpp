#include "agent/app/explain.hpp"

#include <istream>
#include <ostream>

namespace novalet::app {
namespace {

constexpr int exit_fits = 0;
constexpr int exit_does_not = 1;
constexpr int exit_wrong_use = 2;

} // namespace

int explain_command(const std::vector<std::string>& words,
                    std::istream& in,
                    std::ostream& out,
                    std::ostream& err) {
    if (words == std::vector<std::string>{"--batch"})
        return explain_batch(in, out) ? exit_fits : exit_does_not;
    err << "novalet explain: '--batch' expected; see novalet --help\n";
    return exit_wrong_use;
}

} // namespace novalet::app
