#include "scheduler_hooks/model/primitive.hpp"

#include "agent/core/text.hpp"

namespace novalet::scheduler_hooks::model {
namespace {

Failure wrong(const std::string& place, std::string_view what, const Json& found) {
    return fail(Code::InvalidArgument,
                cat(place, ": ", what, " expected, found ", cut_utf8(found.dump(), 80)));
}

} // namespace

Json envelope(const char* name, const char* version, Json data) {
    Json changes = Json::array();
    for (const auto& [field, value] : data.members())
        changes.push_back(field);
    Json out = Json::object();
    out.set("nova_object.name", name);
    out.set("nova_object.namespace", "nova");
    out.set("nova_object.version", version);
    out.set("nova_object.data", std::move(data));
    out.set("nova_object.changes", std::move(changes));
    return out;
}

Result<const Json*> data_of(const Json& document, std::string_view name) {
    if (!document.is_object())
        return wrong(std::string(name), "an object", document);
    if (!document.contains("nova_object.name"))
        return &document;
    const std::string& found = document["nova_object.name"].as_string();
    if (found != name)
        return fail(Code::InvalidArgument,
                    cat("object of class ", name, " expected, found '", found, "'"));
    const Json& data = document["nova_object.data"];
    if (!data.is_object())
        return wrong(cat(name, ": nova_object.data"), "an object", data);
    return &data;
}

Result<std::int64_t>
int_member(const Json& data, const char* key, std::int64_t fallback, const std::string& place) {
    const Json& value = data[key];
    if (value.is_null())
        return fallback;
    if (value.is_integer())
        return value.as_int();
    // Python stored a page count as a float in some records; whole numbers are what they mean.
    if (value.is_number() && value.as_double() > -9e15 && value.as_double() < 9e15)
        return static_cast<std::int64_t>(value.as_double());
    return wrong(cat(place, ": ", key), "an integer", value);
}

Result<std::int64_t> required_int(const Json& data, const char* key, const std::string& place) {
    if (data[key].is_null())
        return wrong(cat(place, ": ", key), "an integer", data[key]);
    return int_member(data, key, 0, place);
}

Result<double>
double_member(const Json& data, const char* key, double fallback, const std::string& place) {
    const Json& value = data[key];
    if (value.is_null())
        return fallback;
    if (value.is_number())
        return value.as_double();
    return wrong(cat(place, ": ", key), "a number", value);
}

Result<std::optional<std::string>>
text_member(const Json& data, const char* key, const std::string& place) {
    const Json& value = data[key];
    if (value.is_null())
        return std::optional<std::string>();
    if (!value.is_string())
        return wrong(cat(place, ": ", key), "text", value);
    return std::optional<std::string>(value.as_string());
}

Json to_json(const CpuSet& cpus) {
    Json list = Json::array();
    cpus.for_each([&](unsigned cpu) { list.push_back(cpu); });
    return list;
}

Result<CpuSet> cpu_set_from_json(const Json& list, const std::string& place) {
    CpuSet cpus;
    if (list.is_null())
        return cpus;
    if (!list.is_array())
        return wrong(place, "a list of CPU numbers", list);
    for (const Json& item : list.items()) {
        if (!item.is_integer() || item.as_int() < 0 || item.as_int() > CpuSet::max_cpu)
            return wrong(place, cat("a CPU number from 0 to ", CpuSet::max_cpu), item);
        cpus.insert(static_cast<unsigned>(item.as_int()));
    }
    return cpus;
}

} // namespace novalet::scheduler_hooks::model
