#include "agent/core/result.hpp"

#include "agent/core/secret.hpp"

#include <gtest/gtest.h>
#include <ostream>
#include <set>
#include <sstream>

namespace novalet {
namespace {

Result<int> half(int value) {
    if (value % 2 != 0)
        return fail(Code::InvalidArgument, "odd");
    return value / 2;
}

Result<int> quarter(int value) {
    NOVALET_ASSIGN(const int first, half(value));
    NOVALET_TRY(half(first));
    return half(first);
}

TEST(Result, MacrosReturnTheFirstError) {
    EXPECT_EQ(quarter(8).value(), 2);
    EXPECT_EQ(quarter(7).error().text, "odd");
    EXPECT_EQ(quarter(6).error().text, "odd");
}

TEST(Result, AnErrorKeepsWhereItBegan) {
    const auto error = half(1).error();
    EXPECT_EQ(error.code, Code::InvalidArgument);
    EXPECT_NE(std::string(error.where.file_name()).find("result_test.cpp"), std::string::npos);
    EXPECT_EQ(error.in("halving").text, "halving: odd");
    EXPECT_EQ(error.in("halving").where.line(), error.where.line());
}

TEST(Result, OnlyUnavailableIsRetryableByItself) {
    EXPECT_TRUE(Result<int>(fail(Code::Unavailable, "x")).error().retryable);
    EXPECT_FALSE(Result<int>(fail(Code::Timeout, "x")).error().retryable);
}

TEST(Result, ExceptionsOfNovaCarryTheirModule) {
    const Result<int> result = fail_as("InstanceNotFound", Code::NotFound, "gone");
    EXPECT_EQ(result.error().exception, "InstanceNotFound");
    EXPECT_EQ(result.error().module, "nova.exception");
}

TEST(Code, NamesDiffer) {
    std::set<std::string> names;
    for (int i = 0; i <= static_cast<int>(Code::Internal); ++i)
        names.insert(name_of(static_cast<Code>(i)));
    EXPECT_EQ(names.size(), static_cast<std::size_t>(Code::Internal) + 1);
    EXPECT_EQ(names.count("unknown"), 0U);
}

template <class T>
concept printable = requires(std::ostream& out, const T& value) {
    out << value;
};
template <class T>
concept comparable = requires(const T& a, const T& b) {
    a == b;
};

TEST(Secret, CannotBePrintedOrCompared) {
    static_assert(!printable<Secret> && !comparable<Secret>);
    EXPECT_EQ(Secret("x").reveal(), "x");
    EXPECT_TRUE(Secret().empty());
}

} // namespace
} // namespace novalet
