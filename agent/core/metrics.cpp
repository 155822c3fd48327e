#include "agent/core/metrics.hpp"

#include "agent/core/text.hpp"

#include <memory>
#include <mutex>

namespace novalet::metrics {
namespace {

struct Family {
    std::string help;
    const char* type = "counter";
    std::map<Labels, std::unique_ptr<Series>> series;
};

struct Registry {
    std::mutex mutex;
    std::map<std::string, Family> families;
};

Registry& registry() {
    static Registry one;
    return one;
}

Series& get(const std::string& name, const std::string& help, Labels labels, const char* type) {
    auto& all = registry();
    const std::lock_guard lock(all.mutex);
    auto& family = all.families[name];
    if (family.series.empty()) {
        family.help = help;
        family.type = type;
    }
    auto& series = family.series[std::move(labels)];
    if (!series)
        series = std::make_unique<Series>();
    return *series;
}

std::string escape(const std::string& text) {
    std::string out;
    for (const char c : text) {
        if (c == '\\' || c == '"')
            out += '\\';
        if (c == '\n')
            out += "\\n";
        else
            out += c;
    }
    return out;
}

} // namespace

void Series::add(double amount) noexcept {
    double old = value_.load(std::memory_order_relaxed);
    while (!value_.compare_exchange_weak(old, old + amount, std::memory_order_relaxed)) {
    }
}

Series& counter(const std::string& name, const std::string& help, Labels labels) {
    return get(name, help, std::move(labels), "counter");
}

Series& gauge(const std::string& name, const std::string& help, Labels labels) {
    return get(name, help, std::move(labels), "gauge");
}

std::string exposition() {
    auto& all = registry();
    const std::lock_guard lock(all.mutex);
    std::string out;
    for (const auto& [name, family] : all.families) {
        out += cat("# HELP ", name, ' ', family.help, "\n# TYPE ", name, ' ', family.type, '\n');
        for (const auto& [labels, series] : family.series) {
            std::string inside;
            for (const auto& [key, value] : labels)
                inside += cat(inside.empty() ? "" : ",", key, "=\"", escape(value), '"');
            out += name;
            if (!inside.empty())
                out += cat('{', inside, '}');
            out += cat(' ', series->value(), '\n');
        }
    }
    return out;
}

} // namespace novalet::metrics
