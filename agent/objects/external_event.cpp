#include "agent/objects/external_event.hpp"

#include "agent/core/text.hpp"
#include "agent/objects/object.hpp"

namespace novalet::objects {

std::string ExternalEvent::key() const {
    return tag.empty() ? name : cat(name, '-', tag);
}

Result<std::vector<ExternalEvent>> parse_external_events(const Json& events) {
    if (!events.is_array())
        return fail(Code::InvalidArgument, "external events: expected a list of objects");
    std::vector<ExternalEvent> out;
    out.reserve(events.size());
    for (const auto& primitive : events.items()) {
        const auto& fields = data_of(primitive);
        for (const char* field : {"instance_uuid", "name"})
            if (fields[field].as_string().empty())
                return fail(Code::InvalidArgument,
                            cat("external event ",
                                out.size(),
                                " has no ",
                                field,
                                "; expected an InstanceExternalEvent"));
        ExternalEvent event;
        event.instance_uuid = fields["instance_uuid"].as_string();
        event.name = fields["name"].as_string();
        event.status = fields["status"].as_string("completed");
        event.tag = fields["tag"].as_string();
        if (fields["data"].is_object())
            event.data = fields["data"];
        out.push_back(std::move(event));
    }
    return out;
}

} // namespace novalet::objects
