#include "agent/core/uuid.hpp"

#include "agent/core/text.hpp"

#include <cctype>
#include <stdexcept>
#include <sys/random.h>

namespace novalet {

std::string random_bytes(std::size_t size) {
    std::string bytes(size, '\0');
    std::size_t done = 0;
    while (done < size) {
        const auto got = getrandom(bytes.data() + done, size - done, 0);
        if (got < 0)
            throw std::runtime_error("getrandom failed");
        done += static_cast<std::size_t>(got);
    }
    return bytes;
}

std::string new_uuid_hex() {
    std::string bytes = random_bytes(16);
    bytes[6] = static_cast<char>((static_cast<unsigned char>(bytes[6]) & 0x0FU) | 0x40U);
    bytes[8] = static_cast<char>((static_cast<unsigned char>(bytes[8]) & 0x3FU) | 0x80U);
    return hex(bytes);
}

std::string new_uuid() {
    std::string text = new_uuid_hex();
    for (const std::size_t dash : {8U, 13U, 18U, 23U})
        text.insert(dash, 1, '-');
    return text;
}

bool is_uuid(std::string_view text) noexcept {
    if (text.size() != 36)
        return false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : std::isxdigit(static_cast<unsigned char>(text[i])) == 0)
            return false;
    }
    return true;
}

} // namespace novalet
