#include "scheduler_hooks/model/cpu_set.hpp"

#include "agent/core/text.hpp"

#include <algorithm>
#include <optional>

namespace novalet::scheduler_hooks::model {
namespace {

struct Range {
    unsigned first = 0;
    unsigned last = 0;
};

std::optional<unsigned> cpu_number(std::string_view text) {
    const auto number = to_number<unsigned>(trim(text));
    if (!number || *number > CpuSet::max_cpu)
        return std::nullopt;
    return number;
}

/// One item without its "^": "7" or "3-5".
Result<Range> parse_item(std::string_view item, const char* kind) {
    const auto dash = item.find('-');
    if (dash == std::string_view::npos) {
        const auto number = cpu_number(item);
        if (!number)
            return fail_as("Invalid",
                           Code::InvalidArgument,
                           cat("Invalid ", kind, " expression '", item, "'"));
        return Range{*number, *number};
    }
    const auto first = cpu_number(item.substr(0, dash));
    const auto last = cpu_number(item.substr(dash + 1));
    if (!first || !last || *first > *last)
        return fail_as(
            "Invalid", Code::InvalidArgument, cat("Invalid range expression '", item, "'"));
    return Range{*first, *last};
}

} // namespace

CpuSet CpuSet::range(unsigned first, unsigned last) {
    CpuSet set;
    if (last < first)
        return set;
    set.words_.resize(last / word_bits + 1);
    for (unsigned cpu = first; cpu <= last; ++cpu)
        set.words_[cpu / word_bits] |= Word{1} << (cpu % word_bits);
    return set;
}

Result<CpuSet> CpuSet::parse(std::string_view text) {
    CpuSet included;
    CpuSet excluded;
    for (const std::string& part : split(text, ',')) {
        std::string_view item = trim(part);
        if (item.empty())
            continue;
        const bool exclude = item.front() == '^';
        if (exclude)
            item.remove_prefix(1);
        NOVALET_ASSIGN(const Range span, parse_item(item, exclude ? "exclusion" : "inclusion"));
        (exclude ? excluded : included) |= range(span.first, span.last);
    }
    return included - excluded;
}

void CpuSet::insert(unsigned cpu) {
    const std::size_t at = cpu / word_bits;
    if (at >= words_.size())
        words_.resize(at + 1);
    words_[at] |= Word{1} << (cpu % word_bits);
}

void CpuSet::erase(unsigned cpu) noexcept {
    const std::size_t at = cpu / word_bits;
    if (at >= words_.size())
        return;
    words_[at] &= ~(Word{1} << (cpu % word_bits));
    shrink();
}

std::size_t CpuSet::size() const noexcept {
    std::size_t count = 0;
    for (const Word word : words_)
        count += static_cast<std::size_t>(std::popcount(word));
    return count;
}

unsigned CpuSet::front() const noexcept {
    for (std::size_t at = 0; at < words_.size(); ++at)
        if (words_[at] != 0)
            return static_cast<unsigned>(at * word_bits) +
                   static_cast<unsigned>(std::countr_zero(words_[at]));
    return 0;
}

unsigned CpuSet::back() const noexcept {
    if (words_.empty())
        return 0;
    return static_cast<unsigned>((words_.size() - 1) * word_bits) +
           (word_bits - 1 - static_cast<unsigned>(std::countl_zero(words_.back())));
}

bool CpuSet::intersects(const CpuSet& other) const noexcept {
    const std::size_t both = std::min(words_.size(), other.words_.size());
    for (std::size_t at = 0; at < both; ++at)
        if ((words_[at] & other.words_[at]) != 0)
            return true;
    return false;
}

bool CpuSet::is_subset_of(const CpuSet& other) const noexcept {
    if (words_.size() > other.words_.size())
        return false;
    for (std::size_t at = 0; at < words_.size(); ++at)
        if ((words_[at] & ~other.words_[at]) != 0)
            return false;
    return true;
}

CpuSet& CpuSet::operator|=(const CpuSet& other) {
    if (other.words_.size() > words_.size())
        words_.resize(other.words_.size());
    for (std::size_t at = 0; at < other.words_.size(); ++at)
        words_[at] |= other.words_[at];
    return *this;
}

CpuSet& CpuSet::operator&=(const CpuSet& other) noexcept {
    if (words_.size() > other.words_.size())
        words_.resize(other.words_.size());
    for (std::size_t at = 0; at < words_.size(); ++at)
        words_[at] &= other.words_[at];
    shrink();
    return *this;
}

CpuSet& CpuSet::operator-=(const CpuSet& other) noexcept {
    const std::size_t both = std::min(words_.size(), other.words_.size());
    for (std::size_t at = 0; at < both; ++at)
        words_[at] &= ~other.words_[at];
    shrink();
    return *this;
}

std::vector<unsigned> CpuSet::to_vector() const {
    std::vector<unsigned> cpus;
    cpus.reserve(size());
    for_each([&](unsigned cpu) { cpus.push_back(cpu); });
    return cpus;
}

std::string CpuSet::str() const {
    std::string out;
    const std::vector<unsigned> cpus = to_vector();
    for (std::size_t i = 0; i < cpus.size();) {
        std::size_t last = i;
        while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1)
            ++last;
        if (!out.empty())
            out += ',';
        out += last == i ? cat(cpus[i]) : cat(cpus[i], '-', cpus[last]);
        i = last + 1;
    }
    return out;
}

void CpuSet::shrink() noexcept {
    while (!words_.empty() && words_.back() == 0)
        words_.pop_back();
}

} // namespace novalet::scheduler_hooks::model
