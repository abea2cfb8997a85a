// Expectations of errors with their messages.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace glow {

// Expects `action` to throw an Expected whose message contains every one of `parts`.
template <class Expected, class Action>
void expect_throw(Action&& action, const std::vector<std::string>& parts) {
    try {
        action();
    } catch (const Expected& error) {
        for (const std::string& part : parts)
            EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
                << "\"" << part << "\" is missing in: " << error.what();
        return;
    }
    ADD_FAILURE() << "nothing was thrown";
}

}  // namespace glow
