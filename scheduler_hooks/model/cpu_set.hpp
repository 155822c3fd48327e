#pragma once
// A set of CPU numbers: host CPUs or guest vCPUs. A plain value, any thread.
#include "agent/core/result.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace novalet::scheduler_hooks::model {

class CpuSet {
  public:
    using Word = std::uint64_t;
    static constexpr unsigned word_bits = 64;
    /// Largest CPU number a text may name; more is an error of the text, not a huge allocation.
    static constexpr unsigned max_cpu = 65535;

    CpuSet() = default;
    CpuSet(std::initializer_list<unsigned> cpus) {
        for (const unsigned cpu : cpus)
            insert(cpu);
    }
    /// first … last, both included; empty when last < first.
    [[nodiscard]] static CpuSet range(unsigned first, unsigned last);
    /// Nova's syntax (reference 08 §1.1): "0-3,^2,7"; exclusions apply after all inclusions.
    /// Exception Invalid with Nova's texts for a malformed item.
    [[nodiscard]] static Result<CpuSet> parse(std::string_view text);

    void insert(unsigned cpu);
    void erase(unsigned cpu) noexcept;
    [[nodiscard]] bool contains(unsigned cpu) const noexcept {
        const std::size_t at = cpu / word_bits;
        return at < words_.size() && ((words_[at] >> (cpu % word_bits)) & 1U) != 0;
    }
    [[nodiscard]] bool empty() const noexcept { return words_.empty(); }
    [[nodiscard]] std::size_t size() const noexcept;
    /// Smallest and largest member; 0 when empty.
    [[nodiscard]] unsigned front() const noexcept;
    [[nodiscard]] unsigned back() const noexcept;
    [[nodiscard]] bool intersects(const CpuSet& other) const noexcept;
    [[nodiscard]] bool is_subset_of(const CpuSet& other) const noexcept;

    CpuSet& operator|=(const CpuSet& other);
    CpuSet& operator&=(const CpuSet& other) noexcept;
    CpuSet& operator-=(const CpuSet& other) noexcept;
    [[nodiscard]] friend CpuSet operator|(CpuSet a, const CpuSet& b) { return a |= b; }
    [[nodiscard]] friend CpuSet operator&(CpuSet a, const CpuSet& b) { return a &= b; }
    [[nodiscard]] friend CpuSet operator-(CpuSet a, const CpuSet& b) { return a -= b; }
    [[nodiscard]] bool operator==(const CpuSet& other) const = default;

    /// Calls f(cpu) in ascending order.
    template <class F> void for_each(F&& f) const {
        for (std::size_t at = 0; at < words_.size(); ++at)
            for (Word word = words_[at]; word != 0; word &= word - 1)
                f(static_cast<unsigned>(at * word_bits) +
                  static_cast<unsigned>(std::countr_zero(word)));
    }
    [[nodiscard]] std::vector<unsigned> to_vector() const;
    /// Ascending, ranges folded: "1,3-4,6"; empty text for the empty set.
    [[nodiscard]] std::string str() const;
    /// Bit i of word w is CPU 64·w+i; the last word is never zero.
    [[nodiscard]] const std::vector<Word>& words() const noexcept { return words_; }

  private:
    void shrink() noexcept;
    std::vector<Word> words_;
};

} // namespace novalet::scheduler_hooks::model
