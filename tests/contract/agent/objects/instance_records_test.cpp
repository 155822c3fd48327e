// The records of a boot and a delete as a real nova-compute of Zed kept them.
#include "agent/objects/block_device.hpp"
#include "agent/objects/conductor.hpp"
#include "agent/objects/image_meta.hpp"
#include "agent/objects/instance.hpp"
#include "tests/contract/agent/objects/recording.hpp"

namespace novalet::objects::tests {
namespace {

using novalet::tests::FakeCaller;

class InstanceRecords : public ::testing::Test {
  protected:
    FakeCaller bus;
    Conductor conductor{bus, release_by_name("zed").value(), Milliseconds(60000)};
    rpc::Context context = rpc::Context::admin();
    const Recording boot{"boot"};
    const Recording deletion{"delete"};
};

/// Expected states of the recorded save; one text is the same as a list of it.
ExpectedStates expected_of(const Json& kwargs, const char* name) {
    ExpectedStates out;
    if (kwargs[name].is_string())
        out.emplace_back(kwargs[name].as_string());
    for (const auto& state : kwargs[name].items())
        out.push_back(state.is_null() ? std::nullopt : std::make_optional(state.as_string()));
    return out;
}

/// The same exchange with expected states in the list form.
Json with_listed_states(Json exchange) {
    auto& kwargs = exchange.member("args").member("kwargs");
    for (const char* name : {"expected_task_state", "expected_vm_state"})
        if (kwargs[name].is_string())
            kwargs.set(name, Json::Array{kwargs[name].as_string()});
    return exchange;
}

/// Brings `instance` from the state after one save to the one before the next: fields that were
/// loaded or refreshed in between appear, changed ones are assigned.
void advance(Object& instance, const Json& recorded) {
    std::set<std::string> changed;
    for (const auto& field : recorded["nova_object.changes"].items())
        changed.insert(field.as_string());
    for (const auto& [field, value] : recorded["nova_object.data"].members()) {
        // A nested object that reports changes is listed without having been assigned.
        if (changed.count(field) != 0 && !value.contains("nova_object.changes"))
            instance.set(field, value);
        else if (!instance.is_set(field) || value.contains("nova_object.name"))
            instance.set_unchanged(field, value);
    }
}

TEST_F(InstanceRecords, EverySaveOfABootIsTheRecordedOne) {
    const auto saves = boot.all("Instance#save");
    ASSERT_GE(saves.size(), 7U);
    auto instance = Object::parse((*saves.front())["args"]["objinst"], "Instance").value();
    for (const Json* save : saves) {
        const auto& recorded = (*save)["args"]["objinst"];
        advance(instance, recorded);
        replay(bus, *save);
        const auto& kwargs = (*save)["args"]["kwargs"];
        ASSERT_TRUE(conductor.save_instance(
            instance,
            {expected_of(kwargs, "expected_task_state"), expected_of(kwargs, "expected_vm_state")},
            context));
        expect_same_request(bus.last(), with_listed_states(*save));
        EXPECT_EQ(instance.version(), "2.7");
    }
    EXPECT_EQ(InstanceView(instance).vm_state(), "active");
    EXPECT_EQ(InstanceView(instance).task_state(), "");
    EXPECT_EQ(InstanceView(instance).power_state(), 1);
}

TEST_F(InstanceRecords, TheStateAfterASaveIsWhatTheConductorAnswered) {
    for (const auto* recording : {&boot, &deletion})
        for (const Json* save : recording->all("Instance#save")) {
            auto instance = Object::parse((*save)["args"]["objinst"], "Instance").value();
            Json state = instance.data();
            for (const auto& [field, value] : (*save)["result"].at(0).members())
                if (field != "obj_what_changed")
                    state.set(field, value);
            replay(bus, *save);
            ASSERT_TRUE(conductor.save_instance(instance, {}, context));
            Object::Fields left;
            for (const auto& field : (*save)["result"].at(0)["obj_what_changed"].items())
                left.insert(field.as_string());
            EXPECT_EQ(instance.changes(), left);
            for (const auto& [field, value] : state.members()) {
                if (value.contains("nova_object.name"))
                    EXPECT_EQ(instance.child(field).members().size(),
                              data_of(value).members().size())
                        << field;
                else
                    EXPECT_EQ(instance.get(field).dump(), value.dump()) << field;
            }
            EXPECT_EQ(instance.data().size(), state.size());
        }
}

TEST_F(InstanceRecords, ActionEventsAreNovas) {
    const auto& start = boot.find("InstanceActionEvent.event_start");
    const std::string uuid = start["args"]["args"].at(0).as_string();
    replay(bus, start);
    ASSERT_TRUE(
        conductor.start_event(uuid, "compute__do_build_and_run_instance", "ref-compute", context));
    expect_same_request(bus.last(), start);

    const auto& finish = boot.find("InstanceActionEvent.event_finish_with_failure");
    replay(bus, finish);
    ASSERT_TRUE(
        conductor.finish_event(uuid, "compute__do_build_and_run_instance", std::nullopt, context));
    expect_same_request(bus.last(), finish);
}

TEST_F(InstanceRecords, BlockDevicesAreReadAndNamedAsNovaDoesIt) {
    const auto& list = boot.find("BlockDeviceMappingList.get_by_instance_uuid");
    replay(bus, list);
    auto mappings = conductor.block_devices(list["args"]["args"].at(0).as_string(), context);
    ASSERT_TRUE(mappings);
    expect_same_request(bus.last(), list);
    ASSERT_EQ(mappings->size(), 1U);
    EXPECT_TRUE(BlockDeviceView(mappings->front()).is_root());
    EXPECT_FALSE(BlockDeviceView(mappings->front()).is_volume());

    for (const Json* save : boot.all("BlockDeviceMapping#save")) {
        const auto& recorded = (*save)["args"]["objinst"];
        auto& mapping = mappings->front();
        for (const auto& field : recorded["nova_object.changes"].items())
            mapping.set(field.as_string(), recorded["nova_object.data"][field.as_string()]);
        replay(bus, *save);
        ASSERT_TRUE(conductor.save_block_device(mapping, context));
        expect_same_request(bus.last(), *save);
    }
    EXPECT_EQ(BlockDeviceView(mappings->front()).device_name(), "/dev/vda");
}

TEST_F(InstanceRecords, NetworksAreRecordedAsNovaDoesIt) {
    const auto& create = boot.find("VirtualInterface#create");
    const auto& data = create["args"]["objinst"]["nova_object.data"];
    const auto& address = data["address"].as_string();
    replay(bus, create);
    ASSERT_TRUE(conductor.create_virtual_interface(data["instance_uuid"].as_string(),
                                                   data["uuid"].as_string(),
                                                   address.substr(0, address.find('/')),
                                                   data["tag"],
                                                   context));
    expect_same_request(bus.last(), create);

    const auto& save = boot.find("InstanceInfoCache#save");
    const auto& cache = save["args"]["objinst"]["nova_object.data"];
    Object instance("Instance", "2.7");
    instance.set_unchanged("uuid", cache["instance_uuid"]);
    const auto network_info = Json::parse(cache["network_info"].as_string()).value();
    replay(bus, save);
    ASSERT_TRUE(conductor.save_network_info(instance, network_info, context));
    // The text's key order and spaces are of no meaning.
    auto sent = bus.last();
    auto& sent_data = sent.args.member("objinst").member("nova_object.data");
    EXPECT_EQ(Json::parse(sent_data["network_info"].as_string()).value(), network_info);
    sent_data.set("network_info", cache["network_info"]);
    for (const auto& [field, value] : cache.members())
        if (!sent_data.contains(field))
            sent_data.set(field, value);
    expect_same_request(sent, save);
    EXPECT_EQ(InstanceView(instance).network_info().value(), network_info);
    EXPECT_TRUE(instance.all_changes().empty());
}

TEST_F(InstanceRecords, TheSchedulersAreToldWhatNovaTells) {
    const auto& told = boot.find("update_instance_info");
    const auto& list = told["args"]["instance_info"]["nova_object.data"]["objects"];
    ASSERT_EQ(list.size(), 1U);
    const auto instance = Object::parse(list.at(0), "Instance").value();
    ASSERT_TRUE(conductor.tell_scheduler_instance("ref-compute", instance, context));
    expect_same_request(bus.last(), told);

    const auto& gone = deletion.find("delete_instance_info");
    ASSERT_TRUE(conductor.tell_scheduler_deleted(
        "ref-compute", gone["args"]["instance_uuid"].as_string(), context));
    expect_same_request(bus.last(), gone);
}

TEST_F(InstanceRecords, ADeleteLeavesWhatNovaLeaves) {
    const auto& interfaces = deletion.find("VirtualInterface.delete_by_instance_uuid");
    const std::string uuid = interfaces["args"]["args"].at(0).as_string();
    replay(bus, interfaces);
    ASSERT_TRUE(conductor.delete_virtual_interfaces(uuid, context));
    expect_same_request(bus.last(), interfaces);

    const auto& tokens = deletion.find("ConsoleAuthToken.clean_console_auths_for_instance");
    replay(bus, tokens);
    ASSERT_TRUE(conductor.clean_console_tokens(uuid, context));
    expect_same_request(bus.last(), tokens);

    const auto& destroy = deletion.find("Instance#destroy");
    auto instance = Object::parse(destroy["args"]["objinst"], "Instance").value();
    replay(bus, destroy);
    ASSERT_TRUE(conductor.destroy_instance(instance, context));
    expect_same_request(bus.last(), destroy);
    EXPECT_TRUE(InstanceView(instance).deleted());
}

TEST_F(InstanceRecords, ARefreshedInstanceHasTheRecordsState) {
    const auto& refresh = boot.find("Instance#refresh");
    auto instance = Object::parse(refresh["args"]["objinst"], "Instance").value();
    replay(bus, refresh);
    ASSERT_TRUE(conductor.refresh_instance(instance, context));
    expect_same_request(bus.last(), refresh);
}

TEST_F(InstanceRecords, AFaultIsRecordedAsNovaDoesIt) {
    const Recording failed("failed_build");
    const auto& create = failed.find("InstanceFault#create");
    const auto& data = create["args"]["objinst"]["nova_object.data"];
    replay(bus, create);
    ASSERT_TRUE(conductor.create_fault(data["instance_uuid"].as_string(),
                                       static_cast<int>(data["code"].as_int()),
                                       data["message"].as_string(),
                                       data["details"].as_string(),
                                       data["host"].as_string(),
                                       context));
    expect_same_request(bus.last(), create);
}

TEST_F(InstanceRecords, AConsoleIsAuthorizedAsNovaDoesIt) {
    const Recording console("console");
    const auto& authorize = console.find("ConsoleAuthToken#authorize");
    auto token = conductor.make("ConsoleAuthToken");
    EXPECT_EQ(token.version(), "1.1");
    for (const auto& [field, value] : authorize["args"]["objinst"]["nova_object.data"].members())
        token.set(field, value);
    replay(bus, authorize);
    const auto text = conductor.authorize_console(token, Seconds(600), context);
    ASSERT_TRUE(text);
    EXPECT_EQ(*text, authorize["result"].at(1).as_string());
    expect_same_request(bus.last(), authorize);
}

TEST_F(InstanceRecords, TheRecordedInstanceReadsAsWhatItIs) {
    const auto saves = boot.all("Instance#save");
    const auto instance = Object::parse((*saves.back())["args"]["objinst"], "Instance").value();
    const InstanceView view(instance);
    EXPECT_EQ(view.flavor().vcpus(), 1);
    EXPECT_EQ(view.flavor().memory_mib(), 128);
    const auto name = view.name("instance-%08x");
    ASSERT_TRUE(name);
    EXPECT_EQ(name->size(), std::string("instance-00000001").size());
    const auto image = ImageMeta::from_system_metadata(view.system_metadata(), view.image_ref());
    EXPECT_EQ(image.id, view.image_ref());
    EXPECT_EQ(image.disk_format, "qcow2");
    EXPECT_EQ(image.text("hw_disk_bus"), "virtio");
    EXPECT_TRUE(view.network_info());
}

} // namespace
} // namespace novalet::objects::tests
