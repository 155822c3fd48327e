#include "agent/objects/object.hpp"

#include <gtest/gtest.h>
#include <stdexcept>

namespace novalet::objects {
namespace {

Json parse(const char* text) {
    return Json::parse(text).value();
}

Json instance_primitive() {
    return parse(R"({
        "nova_object.name": "Instance", "nova_object.namespace": "nova",
        "nova_object.version": "2.7",
        "nova_object.data": {"id": 7, "uuid": "u-1", "task_state": null, "future": [1, 2],
          "system_metadata": {"a": null, "b": "c"},
          "flavor": {"nova_object.name": "Flavor", "nova_object.namespace": "nova",
                     "nova_object.version": "1.2", "nova_object.data": {"vcpus": 2}}}})");
}

std::string changed(const Object& object) {
    return object.to_primitive()["nova_object.changes"].dump();
}

TEST(Object, GoesBackAsItCame) {
    const auto primitive = instance_primitive();
    const auto object = Object::from_primitive(primitive);
    EXPECT_EQ(object.to_primitive().dump(), primitive.dump());
    EXPECT_FALSE(object.to_primitive().contains("nova_object.changes"));
    EXPECT_EQ(object.version(), "2.7");
}

TEST(Object, KeepsReceivedChanges) {
    auto primitive = instance_primitive();
    primitive.set("nova_object.changes", Json::Array{"task_state"});
    EXPECT_EQ(Object::from_primitive(primitive).to_primitive().dump(), primitive.dump());
}

TEST(Object, AnUnknownVersionAndUnknownFieldsSurvive) {
    auto primitive = instance_primitive();
    primitive.set("nova_object.version", "2.99");
    auto object = Object::parse(primitive, "Instance").value();
    object.set("task_state", "spawning");
    const auto sent = std::move(object).to_primitive();
    EXPECT_EQ(sent["nova_object.version"].as_string(), "2.99");
    EXPECT_EQ(sent["nova_object.data"]["future"].dump(), "[1,2]");
}

TEST(Object, UnsetIsNotNull) {
    const auto object = Object::from_primitive(instance_primitive());
    EXPECT_TRUE(object.is_set("task_state"));
    EXPECT_TRUE(object.get("task_state").is_null());
    EXPECT_FALSE(object.is_set("host"));
    EXPECT_EQ(object.text("host"), "");
}

TEST(Object, AssigningTheSameValueIsAChange) {
    auto object = Object::from_primitive(instance_primitive());
    object.set("task_state", nullptr);
    EXPECT_EQ(changed(object), R"(["task_state"])");
}

TEST(Object, ReadingAFieldIsNoChange) {
    auto object = Object::from_primitive(instance_primitive());
    object.set_unchanged("host", "c1");
    EXPECT_TRUE(object.changes().empty());
    EXPECT_EQ(object.text("host"), "c1");
}

TEST(Object, UnsetForgetsTheChange) {
    auto object = Object::from_primitive(instance_primitive());
    object.set("host", "c1");
    object.unset("host");
    EXPECT_FALSE(object.is_set("host"));
    EXPECT_TRUE(object.changes().empty());
}

TEST(Object, ADictItemSendsTheWholeDict) {
    auto object = Object::from_primitive(instance_primitive());
    object.set_item("system_metadata", "x", "y");
    EXPECT_EQ(changed(object), R"(["system_metadata"])");
    EXPECT_EQ(object.get("system_metadata").dump(), R"({"a":null,"b":"c","x":"y"})");
}

TEST(Object, AnItemThatIsSoAlreadyIsNoChange) {
    auto object = Object::from_primitive(instance_primitive());
    object.set_item("system_metadata", "b", "c");
    object.erase_item("system_metadata", "nothing");
    EXPECT_TRUE(object.changes().empty());
    object.set_item("system_metadata", "a", nullptr);
    EXPECT_TRUE(object.changes().empty()) << "null was there";
    object.set_item("system_metadata", "new", nullptr);
    EXPECT_EQ(changed(object), R"(["system_metadata"])") << "null was not there";
}

TEST(Object, ErasingAnItemIsAChange) {
    auto object = Object::from_primitive(instance_primitive());
    object.erase_item("system_metadata", "a");
    EXPECT_EQ(changed(object), R"(["system_metadata"])");
    EXPECT_EQ(object.get("system_metadata").dump(), R"({"b":"c"})");
}

TEST(Object, ADictThatWasNotLoadedIsNotTouched) {
    auto object = Object::from_primitive(instance_primitive());
    EXPECT_THROW(object.set_item("metadata", "x", "y"), std::logic_error);
    EXPECT_THROW(object.erase_item("metadata", "x"), std::logic_error);
    EXPECT_THROW(object.set("metadata", Json::object()), std::logic_error);
    object.set_unchanged("metadata", Json::object());
    EXPECT_NO_THROW(object.set_item("metadata", "x", "y"));
}

TEST(Object, OtherObjectsMaySetTheirDicts) {
    Object aggregate("Aggregate", "1.3");
    aggregate.set("metadata", Json::object());
    EXPECT_EQ(changed(aggregate), R"(["metadata"])");
}

TEST(Object, ANestedObjectIsReadByItsFields) {
    const auto object = Object::from_primitive(instance_primitive());
    EXPECT_EQ(object.child("flavor")["vcpus"].as_int(), 2);
    EXPECT_TRUE(object.child("old_flavor").is_null());
    EXPECT_TRUE(object.child("uuid").is_null());
    EXPECT_TRUE(object.child("system_metadata").is_null()) << "a dict is no object";
}

TEST(Object, ChangesOfANestedObjectAreTheFieldsToo) {
    auto object = Object::from_primitive(instance_primitive());
    auto flavor = Object::from_primitive(object.get("flavor"));
    flavor.set("vcpus", 4);
    object.set_unchanged("flavor", flavor.to_primitive());
    EXPECT_TRUE(object.changes().empty());
    EXPECT_EQ(changed(object), R"(["flavor"])");
    object.clear_changes();
    EXPECT_EQ(changed(object), "null");
    EXPECT_EQ(object.child("flavor")["vcpus"].as_int(), 4);
}

TEST(Object, ChangesOfListElementsAreTheListsOwn) {
    auto object = Object::from_primitive(instance_primitive());
    Object key("KeyPair", "1.4");
    key.set("name", "k");
    Object list("KeyPairList", "1.3");
    list.set_unchanged("objects", Json::Array{key.to_primitive()});
    object.set_unchanged("keypairs", list.to_primitive());
    EXPECT_EQ(changed(object), R"(["keypairs"])");
    object.clear_changes();
    EXPECT_EQ(changed(object), "null");
    EXPECT_EQ(object.child("keypairs")["objects"].size(), 1U);
}

TEST(Object, UpdatesReplaceFieldsAndSettleChanges) {
    auto object = Object::from_primitive(instance_primitive());
    object.set("task_state", "spawning");
    object.apply_updates(
        parse(R"({"updated_at": "2026-01-02T03:04:05Z", "obj_what_changed": ["flavor"]})"));
    EXPECT_EQ(object.text("updated_at"), "2026-01-02T03:04:05Z");
    EXPECT_EQ(object.text("task_state"), "spawning");
    EXPECT_EQ(changed(object), R"(["flavor"])");
    EXPECT_FALSE(object.is_set("obj_what_changed"));
}

TEST(Object, ParseNamesWhatIsWrong) {
    const auto wrong_class = Object::parse(instance_primitive(), "Service");
    ASSERT_FALSE(wrong_class);
    EXPECT_EQ(wrong_class.error().text, "expected an object of class Service, got Instance");

    const auto none = Object::parse(Json(), "Service");
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().text, "expected a versioned object of class Service, got null");

    auto foreign = instance_primitive();
    foreign.set("nova_object.namespace", "os_vif");
    EXPECT_FALSE(Object::parse(foreign));

    auto without_data = instance_primitive();
    without_data.set("nova_object.data", 3);
    const auto broken = Object::parse(without_data);
    ASSERT_FALSE(broken);
    EXPECT_EQ(broken.error().code, Code::InvalidArgument);
}

TEST(Object, ParseErrorsShowNoValues) {
    const auto result = Object::parse(parse(R"({"admin_pass": "hunter2"})"), "Instance");
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().text.find("hunter2"), std::string::npos);
}

TEST(Object, AnythingElseIsNotValid) {
    EXPECT_FALSE(Object::from_primitive(Json()).valid());
    EXPECT_FALSE(Object::from_primitive(Json("text")).valid());
    EXPECT_FALSE(Object::from_primitive(Json::object()).valid());
    EXPECT_TRUE(Object::from_primitive(instance_primitive()).valid());
}

} // namespace
} // namespace novalet::objects
