#include "agent/app/explain.hpp"

#include "agent/app/host_state.hpp"
#include "agent/core/file.hpp"
#include "agent/core/text.hpp"
#include "config/load/load.hpp"
#include "scheduler_hooks/model/cpu_set.hpp"
#include "scheduler_hooks/model/guest_topology.hpp"
#include "scheduler_hooks/model/page_size.hpp"
#include "scheduler_hooks/numa/explain.hpp"

#include <filesystem>
#include <istream>
#include <ostream>

namespace novalet::app {
namespace {

namespace model = scheduler_hooks::model;

constexpr int exit_fits = 0;
constexpr int exit_does_not = 1;
constexpr int exit_wrong_use = 2;

constexpr const char* usage =
    "usage: novalet explain --batch\n"
    "       novalet explain --flavor FILE|JSON [--image FILE|JSON] [--config FILE] [--root "
    "FOLDER]\n"
    "                       [--json]\n"
    "\n"
    "Would a guest of this flavor and image fit on this host now, where, and if not, why, and "
    "what\n"
    "is the largest guest of that shape that would? Nothing is claimed.\n"
    "  --flavor  {\"vcpus\": 4, \"memory_mb\": 4096, \"extra_specs\": {\"hw:cpu_policy\": …}}\n"
    "  --image   {\"properties\": {\"hw_numa_nodes\": \"2\"}}\n"
    "  --json    the answer as --batch gives it\n"
    "  --root    folder with another host's sys and proc instead of this one's\n"
    "Exit code: 0 it fits, 1 it does not, 2 the question cannot be answered.\n";

struct Words {
    bool batch = false;
    bool json = false;
    std::string flavor;
    std::string image;
    std::string config;
    std::filesystem::path root = "/";
};

Result<Words> read_words(const std::vector<std::string>& words) {
    Words out;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string& word = words[i];
        if (word == "--batch") {
            out.batch = true;
        } else if (word == "--json") {
            out.json = true;
        } else if (word == "--flavor" || word == "--image" || word == "--config" ||
                   word == "--root") {
            if (++i == words.size())
                return fail(Code::InvalidArgument, cat(word, " needs a value"));
            if (word == "--root")
                out.root = words[i];
            else
                (word == "--flavor"  ? out.flavor
                 : word == "--image" ? out.image
                                     : out.config) = words[i];
        } else {
            return fail(Code::InvalidArgument, cat("'", word, "' is not known"));
        }
    }
    if (out.batch ? words.size() != 1 : out.flavor.empty())
        return fail(Code::InvalidArgument,
                    out.batch ? "--batch stands alone" : "--flavor or --batch is needed");
    return out;
}

/// The word itself when it is a document, otherwise the file of that name.
Result<Json> document_of(const std::string& word, const char* option) {
    if (word.empty())
        return Json();
    std::string text = word;
    if (!trim(word).starts_with('{')) {
        NOVALET_ASSIGN(text, read_file(word, JsonLimits{}.max_bytes));
    }
    auto document = Json::parse(trim(text));
    if (!document)
        return fail(Code::InvalidArgument, cat(option, ": ", document.error().text));
    return document;
}

/// The operator's configuration; defaults when there is none in the usual place.
Result<config::Config> configuration(const std::string& file) {
    constexpr const char* usual = "/etc/novalet/novalet.yaml";
    const std::string wanted = file.empty() ? usual : file;
    std::error_code error;
    if (file.empty() && !std::filesystem::exists(usual, error))
        return config::Config();
    const auto loaded =
        config::load(wanted, config::process_environment(), config::host_identity());
    if (!loaded.ok())
        return fail(Code::InvalidArgument, config::check_report(loaded).text);
    return loaded.config;
}

Result<Json> question_of(const Words& words, const HostState& host, bool packing) {
    Json question = Json::object();
    question.set("host_topology", host.numa_topology);
    NOVALET_ASSIGN(Json flavor, document_of(words.flavor, "--flavor"));
    NOVALET_ASSIGN(Json image, document_of(words.image, "--image"));
    question.set("flavor", std::move(flavor));
    question.set("image", std::move(image));
    question.set("limits", host.limits);
    Json options = Json::object();
    options.set("packing", packing);
    options.set("largest", true);
    options.set("kernel_pages", host.kernel_pages);
    question.set("options", std::move(options));
    return question;
}

std::string pins_text(const model::GuestCell& cell) {
    std::vector<std::string> pins;
    for (const model::CpuPin& pin : *cell.pins)
        pins.push_back(cat(pin.vcpu, " on CPU ", pin.cpu));
    return join(pins, ", ");
}

void print_place(std::ostream& out, const Json& topology) {
    const auto guest = model::guest_topology_from_json(topology);
    if (!guest || !*guest) {
        out << "  it asks for no cells, pages or CPUs of its own; its vCPUs float, and Placement "
               "counts its amounts\n";
        return;
    }
    for (std::size_t i = 0; i < (*guest)->cells.size(); ++i) {
        const model::GuestCell& cell = (*guest)->cells[i];
        out << "  guest cell " << i << " on host cell " << cell.id << ": " << cell.memory_mib
            << " MiB";
        if (cell.page_size_kib > 0)
            out << " in pages of " << model::page_size_text(cell.page_size_kib);
        if (!cell.cpuset.empty())
            out << "; vCPUs " << cell.cpuset.str() << " float";
        if (cell.pins && !cell.pins->empty())
            out << "; vCPU " << pins_text(cell);
        if (cell.reserved && !cell.reserved->empty())
            out << "; emulator on CPU " << cell.reserved->str();
        out << '\n';
    }
}

void print(std::ostream& out, const Json& answer, const HostState& host) {
    if (answer["fits"].as_bool()) {
        out << "fits\n";
        print_place(out, answer["topology"]);
    } else {
        out << "does not fit: " << answer["error"]["class"].as_string() << '\n';
        for (const Json& reason : answer["reasons"].items())
            out << "  " << reason.as_string() << '\n';
        const Json& largest = answer["largest"];
        if (largest.is_object())
            out << "largest guest of this shape that fits: " << largest["vcpus"].as_int()
                << " vCPUs, " << largest["memory_mb"].as_int() << " MiB\n";
        else if (answer.contains("largest"))
            out << "no smaller guest of this shape fits either\n";
    }
    out << "host: " << host.source << '\n';
}

Result<int> explain_here(const Words& words, std::ostream& out) {
    NOVALET_ASSIGN(const config::Config config, configuration(words.config));
    NOVALET_ASSIGN(const HostState host, host_state(config, words.root));
    NOVALET_ASSIGN(
        const Json question,
        question_of(words, host, config.compute.packing_host_numa_cells_allocation_strategy));
    const Json answer = scheduler_hooks::numa::explain(question);
    if (words.json)
        out << answer.dump() << '\n';
    else
        print(out, answer, host);
    if (answer["error"]["class"].as_string() == "InvalidInput")
        return exit_wrong_use;
    return answer["fits"].as_bool() ? exit_fits : exit_does_not;
}

} // namespace

int explain_command(const std::vector<std::string>& words,
                    std::istream& in,
                    std::ostream& out,
                    std::ostream& err) {
    if (words == std::vector<std::string>{"--help"}) {
        out << usage;
        return exit_fits;
    }
    const auto read = read_words(words);
    if (!read) {
        err << "novalet explain: " << read.error().text << '\n' << usage;
        return exit_wrong_use;
    }
    if (read->batch)
        return explain_batch(in, out) ? exit_fits : exit_does_not;
    const auto code = explain_here(*read, out);
    if (!code) {
        err << "novalet explain: " << code.error().text << '\n';
        return exit_wrong_use;
    }
    return *code;
}

} // namespace novalet::app
